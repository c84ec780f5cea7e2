//! What is left behind of a torrent that goes: its record, the parts that were kept aside, and where its files are.

use std::path::{Path, PathBuf};

use shared::id::InfoHash;
use shared::metainfo::FileKind;

use super::Opened;

impl Opened {
    /// The files with content, wherever they are now.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let files = self.storage.info().files().iter().enumerate();
        let regular = files.filter(|(_, file)| file.kind == FileKind::Regular);
        regular.map(|(number, _)| self.storage.path(number)).collect()
    }
}

/// Forgets what was remembered of this torrent. May wait.
pub(crate) fn forget(data: &Path, hash: InfoHash) {
    // What is not there, or cannot go, does no harm: it is checked against the files before it is believed.
    _ = std::fs::remove_file(super::resume::path(data, hash));
    _ = std::fs::remove_dir_all(data.join("parts").join(hash.to_string()));
}
