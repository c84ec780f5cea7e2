//! The API: every change and every question except announces. It is reached in three ways with the same rules: below `/api/v1` on the
//! public port with a token or a passkey, over `control.sock` with the owner's rights, and in process by the command line.

pub mod auth;
pub mod bodies;
pub mod client;
pub mod control;
mod guesses;
pub mod problem;
pub mod scope;
pub mod table;
