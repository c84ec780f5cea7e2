//! Open, read, write, verify. Nothing that may wait for a disk runs on an async thread.

mod devices;
mod gather;
mod layout;
mod opening;
mod os;
mod pool;
mod resume;
mod storage;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

pub(crate) use devices::{Credit, Devices};
pub use opening::Allocation;
pub(crate) use opening::{Opened, Opening};
pub use pool::FilePool;
pub use resume::Journal;
pub use storage::{Storage, StorageError};
pub(crate) use writer::{DiskNews, Writer};
