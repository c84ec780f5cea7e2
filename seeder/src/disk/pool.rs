//! Open files of the whole process, and no more of them than a bound: the one used longest ago is closed first.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

/// A file of a torrent: the storage's number, and the file's number in it.
pub(super) type Slot = (u64, usize);

/// A file that stands open. Whoever reads it holds it, so closing never pulls it away under a read.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) writable: bool,
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
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let now = open.uses;
        open.files.insert(slot, (now, Arc::clone(file)));
        while open.files.len() > self.limit {
            let oldest = open
                .files
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(slot, _)| *slot);
            let Some(oldest) = oldest else { break };
            open.files.remove(&oldest);
        }
    }

    /// Closes one file.
    pub(super) fn close(&self, slot: Slot) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .files
            .remove(&slot);
    }

    /// Closes every file of one storage.
    pub(super) fn close_all(&self, storage: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.files.retain(|(owner, _), _| *owner != storage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_used_longest_ago_is_closed_first() {
        let pool = FilePool::new(2);
        let file = Arc::new(OpenFile {
            file: tempfile::tempfile().unwrap(),
            writable: false,
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
