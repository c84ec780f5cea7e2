//! A .torrent on a disk: read for commands and for the API alike, and bounded before a byte of it is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use indicatif::BinaryBytes;
use shared::bencode::Limits;
use shared::metainfo::{Metainfo, MetainfoError};

/// A file that is no torrent, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: larger than {}, which no torrent is", path.display(), BinaryBytes(*limit))]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{}: {source}", path.display())]
    Refused { path: PathBuf, source: MetainfoError },
}

/// Reads and checks a `.torrent`.
pub fn read_torrent(path: &Path) -> Result<Metainfo, ReadError> {
    let limit = Limits::TORRENT.bytes as u64;
    let bytes = read(path, limit).map_err(|source| ReadError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let Some(bytes) = bytes else {
        let path = path.to_owned();
        return Err(ReadError::TooLarge { path, limit });
    };
    Metainfo::read(&bytes).map_err(|source| ReadError::Refused {
        path: path.to_owned(),
        source,
    })
}

/// All of a file; none where it is longer than it may be.
fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    if file.metadata()?.len() > limit {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // Neither a pipe nor a file that grows says beforehand how long it is.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            read_torrent(folder.path())
                .unwrap_err()
                .to_string()
                .starts_with(&folder.path().display().to_string())
        );
        let missing = folder.path().join("no.torrent");
        assert!(
            read_torrent(&missing)
                .unwrap_err()
                .to_string()
                .contains("no.torrent")
        );
    }
}
