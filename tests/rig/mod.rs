//! The rig: real programs on ports that the system picks, in folders that vanish, on hosts that are network namespaces.
//! Nothing here waits for a time to pass; everything waits for an event, with a deadline. A rig that breaks panics.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a broken rig should stop the test and say why"
)]

mod content;
mod deadline;
mod disk;
mod fuse;
mod http;
mod lab;
mod program;

pub use content::{Digests, digests, fill, fill_folder, sha256};
pub use deadline::{Deadline, ask_until, spin};
pub use disk::SmallDisk;
pub use fuse::{Mood, MoodyDisk};
pub use http::{HttpAnswer, HttpRequest};
pub use lab::{Family, Home, Host, Lab};
pub use program::{Finished, OURS_ARE_BUILT, Program, Running, Stream};
