//! Metainfo files, v1 (BEP 3), v2 and hybrid (BEP 52), with attributes and padding (BEP 47): read and checked in full, and
//! written. What is accepted is what libtorrent accepts; the few differences are listed in `tests/vectors/README.md`.
//! Info-hashes are taken over the bytes as they came: nothing is decoded and encoded again.

mod check;
mod error;
mod file_list;
mod file_tree;
mod hybrid;
mod info;
mod layers;
mod names;
mod outer;
pub mod write;

pub use check::PieceCheck;
pub use error::MetainfoError;
pub use info::{File, FileKind, Info};
pub use names::{SafePath, safe_component, safe_name};

use crate::bencode::{self, Limits};
use crate::magnet::Magnet;

/// A whole `.torrent` file.
#[derive(Clone, Debug)]
pub struct Metainfo {
    pub info: Info,
    /// Tiers of announce URLs (BEP 12), in the order of the file.
    pub trackers: Vec<Vec<String>>,
    /// Web seeds (BEP 19), each once.
    pub web_seeds: Vec<String>,
    pub comment: Option<String>,
    pub created_by: Option<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
}

impl Metainfo {
    /// Reads a file and checks all of it. A newline behind the last byte is tolerated: editors leave one.
    ///
    /// A v2 torrent without its piece layers is read, but cannot be checked piece by piece: see [`Info::has_layers`].
    pub fn read(bytes: &[u8]) -> Result<Self, MetainfoError> {
        let scan = bencode::scan_prefix(bytes, &Limits::TORRENT)?;
        let rest = bytes.get(scan.length()..).unwrap_or_default();
        if rest.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            return Err(bencode::ScanError::Trailing { at: scan.length() }.into());
        }
        let root = scan.root();
        if !root.is_dict() {
            return Err(MetainfoError::NotADictionary);
        }
        let info = root
            .get("info")
            .filter(bencode::Value::is_dict)
            .ok_or(MetainfoError::NoInfo)?;
        Ok(Self {
            info: Info::parse(&info, root.get("piece layers"))?,
            trackers: outer::trackers(&root),
            web_seeds: outer::web_seeds(&root),
            comment: outer::text(&root, "comment.utf-8").or_else(|| outer::text(&root, "comment")),
            created_by: outer::line(&root, "created by.utf-8").or_else(|| outer::line(&root, "created by")),
            creation_date: root
                .get("creation date")
                .and_then(|date| date.int())
                .filter(|date| *date >= 0),
        })
    }

    /// A magnet link to this torrent, with its trackers and web seeds.
    pub fn magnet(&self) -> Magnet {
        Magnet {
            info_hash_v1: self.info.info_hash_v1(),
            info_hash_v2: self.info.info_hash_v2(),
            name: Some(self.info.name().to_owned()),
            trackers: self.trackers.concat(),
            peers: Vec::new(),
            web_seeds: self.web_seeds.clone(),
            exact_length: Some(self.info.content_size()),
            only: None,
        }
    }
}

#[cfg(test)]
mod tests;
