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

#[cfg(test)]
mod tests {
    use shared::metainfo::Metainfo;

    use super::*;

    fn info(content: &str) -> Info {
        let torrent = format!("d4:infod{content}12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee");
        Metainfo::read(torrent.as_bytes()).unwrap().info
    }

    #[test]
    fn a_file_is_found_by_the_makers_name_and_by_ours_and_padding_by_none() {
        let info = info(
            "5:filesld6:lengthi5e4:pathl5:aux.ceed4:attr1:p6:lengthi3e4:pathl4:.pad1:3eed6:lengthi4e4:pathl1:b1:ceee4:name1:n",
        );
        let shelf = Shelf::default();
        let ours = info.disk_path(info.files().first().unwrap());
        for (path, number) in [
            ("n/aux.c", Some(0)),
            (ours.to_str().unwrap(), Some(0)),
            ("n/b/c", Some(2)),
            ("n/.pad/3", None),
            ("n/b", None),
            ("b/c", None),
            ("n/../n/b/c", None),
            ("/n/b/c", None),
        ] {
            assert_eq!(shelf.find(&info, path), number, "{path}");
        }
    }

    #[test]
    fn the_last_few_torrents_are_kept_and_no_more() {
        let shelf = Shelf::default();
        for name in 10..40 {
            let info = info(&format!("6:lengthi5e4:name2:{name}"));
            assert_eq!(shelf.find(&info, &name.to_string()), Some(0));
        }
        assert_eq!(shelf.last.lock().unwrap().len(), KEPT);
    }
}
