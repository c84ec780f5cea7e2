//! What a torrent remembers over a restart: one file of lines in the state folder, appended to while pieces are written
//! and replaced as a whole when the torrent opens or rests.
//!
//! ```text
//! kinswarm-resume 1 INFO-HASH     the torrent
//! have HEX                        pieces that were verified
//! file NUMBER SIZE MTIME          a file as it was then
//! w PIECE                         about to be written: its files' facts above hold no more
//! p PIECE                         verified and written
//! ```
//! A piece with `w` and without `p` was under way when the program died; it is hashed at the next start. A last line that
//! was torn off means nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use shared::bitfield::Bitfield;
use shared::geometry::{Geometry, PieceIndex};
use shared::id::InfoHash;

use super::storage::{Stamp, Storage, StorageError};

/// The longest file that is read: a bitfield of the longest torrent, every piece written twice over, and room for files.
const LENGTH_MAX: u64 = 128 << 20;

/// What a resume file said.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) have: Bitfield,
    /// Pieces that were being written.
    pub(super) pending: BTreeSet<PieceIndex>,
    /// Files that were written since their facts, or never had any, are `None`.
    pub(super) facts: Vec<Option<Stamp>>,
    /// When the record was last written to, by the clock that also stamps the torrent's files.
    pub(super) touched: i128,
}

/// The record of one torrent, open to be added to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

/// Where the record of this torrent lies.
pub(super) fn path(data: &Path, hash: InfoHash) -> PathBuf {
    data.join("resume").join(hash.to_string())
}

impl Record {
    /// Reads a record; `None` where there is none of this torrent.
    pub(super) fn load(data: &Path, hash: InfoHash, storage: &Storage) -> Option<Self> {
        let file = File::open(path(data, hash)).ok()?;
        let touched = Stamp::of(&file.metadata().ok()?).modified;
        let mut text = Vec::new();
        file.take(LENGTH_MAX).read_to_end(&mut text).ok()?;
        Self::parse(&String::from_utf8_lossy(&text), hash, storage, touched)
    }

    fn parse(text: &str, hash: InfoHash, storage: &Storage, touched: i128) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != format!("kinswarm-resume 1 {hash}") {
            return None;
        }
        let geometry = storage.geometry();
        let mut record = Self {
            have: Bitfield::none(geometry),
            pending: BTreeSet::new(),
            facts: vec![None; storage.layout().places().len()],
            touched,
        };
        // Without its newline the last line may have lost its last digits.
        for line in text
            .split_inclusive('\n')
            .skip(1)
            .filter_map(|line| line.strip_suffix('\n'))
        {
            let _: Option<()> = record.take(line, geometry, storage);
        }
        Some(record)
    }

    fn take(&mut self, line: &str, geometry: &Geometry, storage: &Storage) -> Option<()> {
        let (word, rest) = line.split_once(' ')?;
        let piece = || geometry.piece(rest.parse().ok()?);
        match word {
            "have" => {
                self.have = Bitfield::from_bytes(geometry, &HEXLOWER.decode(rest.as_bytes()).ok()?).ok()?;
            }
            "file" => {
                let mut fields = rest.split(' ');
                let file = self.facts.get_mut(fields.next()?.parse::<usize>().ok()?)?;
                *file = Some(Stamp {
                    size: fields.next()?.parse().ok()?,
                    modified: fields.next()?.parse().ok()?,
                });
            }
            "w" => {
                let piece = piece()?;
                self.have.unset(piece);
                self.pending.insert(piece);
                let length = u64::from(geometry.length_of(piece));
                for file in storage.layout().files(geometry.start_of(piece), length) {
                    *self.facts.get_mut(file)? = None;
                }
            }
            "p" => {
                let piece = piece()?;
                self.pending.remove(&piece);
                self.have.set(piece);
            }
            _ => (),
        }
        Some(())
    }
}

impl Journal {
    /// Begins the record anew with what is known now; a program that dies in between leaves the old one.
    pub(super) fn begin(
        data: &Path,
        hash: InfoHash,
        have: &Bitfield,
        facts: &[Option<Stamp>],
    ) -> Result<Self, StorageError> {
        let path = path(data, hash);
        let file = replace(&path, hash, have, facts);
        let file = file.map_err(|source| StorageError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self { path, file })
    }

    /// These pieces are about to be written.
    pub(super) fn writing(&self, pieces: impl IntoIterator<Item = PieceIndex>) -> Result<(), StorageError> {
        self.append('w', pieces)
    }

    /// These pieces are verified and written.
    pub(super) fn written(&self, pieces: impl IntoIterator<Item = PieceIndex>) -> Result<(), StorageError> {
        self.append('p', pieces)
    }

    fn append(&self, word: char, pieces: impl IntoIterator<Item = PieceIndex>) -> Result<(), StorageError> {
        let mut lines = String::new();
        for piece in pieces {
            // Writing into a string cannot fail.
            let _ = writeln!(lines, "{word} {}", piece.number());
        }
        (&self.file)
            .write_all(lines.as_bytes())
            .map_err(|source| self.trouble(source))
    }

    fn trouble(&self, source: io::Error) -> StorageError {
        StorageError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

fn replace(path: &Path, hash: InfoHash, have: &Bitfield, facts: &[Option<Stamp>]) -> io::Result<File> {
    let mut text = format!(
        "kinswarm-resume 1 {hash}\nhave {}\n",
        HEXLOWER.encode(have.as_bytes())
    );
    for (number, stamp) in facts.iter().enumerate() {
        if let Some(Stamp { size, modified }) = stamp {
            let _ = writeln!(text, "file {number} {size} {modified}");
        }
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension("new");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)?;
    OpenOptions::new().append(true).open(path)
}
