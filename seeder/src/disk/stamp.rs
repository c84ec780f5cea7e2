//! The facts by which a file is taken for unchanged.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// A file as it was when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    /// Nanoseconds since 1970, as the file system says.
    pub(super) modified: i64,
    /// The same of the last change of anything, names and rights among them. Nobody can set it, so a file with another
    /// content and the old times is known by it, as long as the program runs: backups and moves change it too.
    pub(super) changed: i64,
    pub(super) inode: u64,
}

impl Stamp {
    pub(super) fn of(facts: &Metadata) -> Self {
        Self {
            size: facts.size(),
            modified: nanos(facts.mtime(), facts.mtime_nsec()),
            changed: nanos(facts.ctime(), facts.ctime_nsec()),
            inode: facts.ino(),
        }
    }

    /// The same by what lasts over a restart: size and time.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        (self.size, self.modified) == (other.size, other.modified)
    }

    /// When anything was last done to the file: written, or put in the place of another with the times of its own.
    pub(super) fn touched(&self) -> i64 {
        self.changed.max(self.modified)
    }
}

/// Good until the year 2262; what a broken clock stamps beyond it is cut.
pub(super) fn nanos(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}
