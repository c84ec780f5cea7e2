//! What is left behind of a torrent that goes: its record, the parts that were kept aside, and those of its files that this
//! program made.

use std::path::{Path, PathBuf};

use shared::id::InfoHash;
use shared::metainfo::FileKind;

use super::Opened;

/// The files of a torrent that goes, as far as they are there.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// This program made them, and nobody else changed them.
    pub(crate) ours: Vec<PathBuf>,
    /// They are somebody else's: they were there before, or were changed since.
    pub(crate) theirs: Vec<PathBuf>,
}

impl Opened {
    /// Tells what may be deleted from what may not. May wait.
    pub(crate) fn leftovers(&self) -> Leftovers {
        let (stamps, made) = (self.storage.stamps(), self.storage.made());
        let mut left = Leftovers::default();
        for (number, file) in self.storage.info().files().iter().enumerate() {
            let path = self.storage.path(number);
            if file.kind != FileKind::Regular || path.symlink_metadata().is_err() {
                continue;
            }
            let noted = stamps.get(number).copied().flatten();
            let same = self
                .storage
                .stat(number)
                .zip(noted)
                .is_some_and(|(now, noted)| now.agrees(&noted) && now.inode == noted.inode);
            if made.contains(&number) && same {
                left.ours.push(path);
            } else {
                left.theirs.push(path);
            }
        }
        left
    }
}

/// Forgets what was remembered of this torrent. May wait.
pub(crate) fn forget(data: &Path, hash: InfoHash) {
    // What is not there, or cannot go, does no harm: it is checked against the files before it is believed.
    _ = std::fs::remove_file(super::resume::path(data, hash));
    _ = std::fs::remove_file(super::places::parts_path(data, hash));
}
