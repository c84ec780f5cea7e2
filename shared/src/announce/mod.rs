//! One announce over HTTP, both directions: the query a client sends (read by the tracker, written by the seeder) and the
//! reply it gets (read by the seeder; the tracker writes its own by hand). BEP 3, 7, 21, 23, 24, 31.

pub(crate) mod query;
pub(crate) mod reply;
mod request;

pub use query::{QueryError, join_query};
pub use reply::{AnnounceReply, Answer, AnswerError, Failure, PEERS_MAX, RetryIn};
pub use request::{AnnounceRequest, Crypto, Event, Key};
