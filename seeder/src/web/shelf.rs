//! Which file of a torrent a path names. Torrents of many files are asked for one file after the other, so what was worked out
//! for the last few torrents is kept.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use shared::id::InfoHash;
use shared::metainfo::{FileKind, Info};

/// Torrents whose files are kept.
const KEPT: usize = 8;

type Files = Arc<BTreeMap<PathBuf, usize>>;

/// The files of the torrents that were asked for last, by their paths below the torrent's folder for downloads.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    last: Mutex<VecDeque<(InfoHash, Files)>>,
}

impl Shelf {
    /// The number of the file that lies at this path.
    pub(super) fn find(&self, info: &Info, path: &str) -> Option<usize> {
        self.files(info).get(&PathBuf::from(path)).copied()
    }

    fn files(&self, info: &Info) -> Files {
        let hash = info.wire_hash();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, files)) = last.iter().find(|(kept, _)| *kept == hash) {
            return Arc::clone(files);
        }
        let files = Arc::new(files(info));
        last.truncate(KEPT - 1);
        last.push_front((hash, Arc::clone(&files)));
        files
    }
}

/// Every file that can be asked for, by the path that the torrent's maker gave it and by the one that we would give it.
fn files(info: &Info) -> BTreeMap<PathBuf, usize> {
    let mut paths = BTreeMap::new();
    for (number, file) in info.files().iter().enumerate() {
        if file.kind == FileKind::Regular {
            paths.insert(info.disk_path(file), number);
        }
    }
    for (number, file) in info.files().iter().enumerate() {
        if let Some(path) = info
            .original_path(file)
            .filter(|_| file.kind == FileKind::Regular)
        {
            paths.insert(path, number);
        }
    }
    paths
}
