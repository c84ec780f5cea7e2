//! Open, read, write, verify. Nothing that may wait for a disk runs on an async thread.

mod aside;
mod devices;
mod files;
mod gather;
mod hands;
mod job;
mod layout;
mod moving;
mod opened;
mod opening;
mod os;
mod places;
mod pool;
mod removal;
mod resume;
mod stamp;
mod storage;
#[cfg(test)]
pub(crate) mod tests;
mod waits;
mod watch;
mod writer;

pub(crate) use devices::{Credit, Devices};
pub(crate) use opened::Opened;
pub use opening::Allocation;
pub(crate) use opening::Opening;
pub use pool::FilePool;
pub(crate) use removal::{Leftovers, forget};
pub use resume::Journal;
pub use storage::{Storage, StorageError};
pub(crate) use waits::SILENCE;
pub(crate) use writer::{DiskNews, Writer};
