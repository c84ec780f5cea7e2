//! Where a torrent's files lie: below a root that may move, under names that may change, or, as far as they are unwanted
//! files' shares of wanted pieces, aside in one file of the state folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use shared::id::InfoHash;
use shared::metainfo::Info;

use super::devices::Device;
use crate::library::verify::path_in;

/// Where the files of one torrent lie.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) root: PathBuf,
    /// The disk below the root.
    pub(super) device: Arc<Device>,
    /// Files that were given other names, as paths below the root.
    pub(super) renamed: BTreeMap<usize, PathBuf>,
    /// Files that are not made, because nobody wants them: what pieces bring of them lies in the parts file.
    pub(super) aside: BTreeSet<usize>,
}

impl Places {
    /// A file's path below the root. What is only read may lie under a name that we would not have chosen, so the disk is
    /// asked; what we write lies under a safe one.
    pub(super) fn relative(&self, info: &Info, file: usize, reads: bool) -> PathBuf {
        if let Some(renamed) = self.renamed.get(&file) {
            return renamed.clone();
        }
        let Some(file) = info.files().get(file) else {
            return PathBuf::new();
        };
        if reads {
            path_in(info, file, &self.root)
        } else {
            info.disk_path(file)
        }
    }

    /// Its path for messages. Does not wait.
    pub(super) fn named(&self, info: &Info, file: usize) -> PathBuf {
        self.root.join(self.relative(info, file, false))
    }
}

/// The parts file of a torrent: what lies aside, each byte at its address in the torrent. It has holes where nothing does.
pub(super) fn parts_path(data: &Path, hash: InfoHash) -> PathBuf {
    data.join("parts").join(hash.to_string())
}

/// A path that stays below the folder it is joined to.
pub(super) fn stays_below(path: &Path) -> bool {
    path.file_name().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}
