//! Open files of the whole process, and no more of them than a bound: the one used longest ago is closed first. Closing a
//! file may wait for its disk, so it happens outside of the lock, and not on a thread that works for another disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use super::devices::Device;

/// A file of a torrent: the storage's number, and the file's number in it.
pub(super) type Slot = (u64, usize);

/// A file that stands open. Whoever reads it holds it, so closing never pulls it away under a read.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) writable: bool,
    pub(super) device: Arc<Device>,
}

/// Closes files on a thread of their own.
fn close_elsewhere(files: Vec<Arc<OpenFile>>) {
    if !files.is_empty() {
        std::thread::spawn(move || drop(files));
    }
}

/// All open files.
#[derive(Debug)]
pub struct FilePool {
    limit: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: BTreeMap<Slot, (u64, Arc<OpenFile>)>,
    uses: u64,
}

impl FilePool {
    /// Keeps at most so many files open.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            open: Mutex::default(),
        }
    }

    /// How many stand open.
    pub(crate) fn count(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.files.len()
    }

    /// The file, if it stands open.
    pub(super) fn get(&self, slot: Slot) -> Option<Arc<OpenFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let now = open.uses;
        let (used, file) = open.files.get_mut(&slot)?;
        *used = now;
        Some(Arc::clone(file))
    }

    /// Keeps a file that was just opened, in place of an earlier one of the same slot.
    pub(super) fn keep(&self, slot: Slot, file: &Arc<OpenFile>) {
        let mut closed = Vec::new();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let now = open.uses;
        closed.extend(open.files.insert(slot, (now, Arc::clone(file))));
        while open.files.len() > self.limit {
            let oldest = open.files.iter().min_by_key(|(_, (used, _))| *used);
            let Some(oldest) = oldest.map(|(slot, _)| *slot) else {
                break;
            };
            closed.extend(open.files.remove(&oldest));
        }
        drop(open);
        let theirs = closed.into_iter().map(|(_, file)| file);
        let (_ours, others): (Vec<_>, Vec<_>) =
            theirs.partition(|closed| Arc::ptr_eq(&closed.device, &file.device));
        close_elsewhere(others);
    }

    /// Closes one file. May wait for its disk.
    pub(super) fn close(&self, slot: Slot) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = open.files.remove(&slot);
        drop(open);
        drop(closed);
    }

    /// Closes every file of one storage. Does not wait.
    pub(super) fn close_all(&self, storage: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = open.files.range((storage, 0)..=(storage, usize::MAX));
        let theirs: Vec<Slot> = theirs.map(|(slot, _)| *slot).collect();
        let closed = theirs.iter().filter_map(|slot| open.files.remove(slot));
        let closed = closed.map(|(_, file)| file).collect();
        drop(open);
        close_elsewhere(closed);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_file_used_longest_ago_is_closed_first() {
        let pool = FilePool::new(2);
        let file = Arc::new(OpenFile {
            file: tempfile::tempfile().unwrap(),
            writable: false,
            device: crate::disk::tests::devices().of(Path::new("/")),
        });
        pool.keep((1, 0), &file);
        pool.keep((1, 1), &file);
        assert!(pool.get((1, 0)).is_some());
        pool.keep((2, 0), &file);
        assert!(pool.get((1, 1)).is_none());
        pool.close_all(1);
        assert!(pool.get((1, 0)).is_none() && pool.get((2, 0)).is_some());
    }
}
