//! What a torrent remembers over a restart: one file of lines in the state folder, appended to while pieces are written
//! and replaced as a whole when the torrent opens or rests.
//!
//! ```text
//! kinswarm-resume 1 INFO-HASH     the torrent
//! have HEX                        pieces that were verified
//! file NUMBER SIZE MTIME          a file as it was then
//! parts SIZE MTIME                the file for what lies aside
//! name NUMBER HEX                 a file that was given another path
//! moved HEX HEX                   from which folder the files were moved, and where to
//! made FIRST-LAST …               files that this program made, and may delete
//! d PIECE                         verified once, and to be hashed again before it is believed
//! m FILE                          made since
//! w PIECE                         about to be written: its files' facts above hold no more
//! p PIECE                         verified and written
//! ```
//! A piece with `w` and without `p` was under way when the program died; it is hashed at the next start. A last line that
//! was torn off means nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use shared::bitfield::Bitfield;
use shared::geometry::{Geometry, PieceIndex};
use shared::id::InfoHash;

use super::places::stays_below;
use super::stamp::Stamp;
use super::storage::{Storage, StorageError};

/// The longest file that is read: a bitfield of the longest torrent, every piece written twice over, and room for files.
const LENGTH_MAX: u64 = 128 << 20;

/// What a resume file said.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) have: Bitfield,
    /// Pieces that were being written.
    pub(super) pending: BTreeSet<PieceIndex>,
    pub(super) made: BTreeSet<usize>,
    /// Files that were written since their facts, or never had any, are `None`.
    pub(super) facts: Vec<Option<Stamp>>,
    /// When the record was last written to, by the clock that also stamps the torrent's files.
    pub(super) touched: i64,
    pub(super) parts: Option<Stamp>,
    pub(super) renamed: BTreeMap<usize, PathBuf>,
    /// A move that may have come half the way.
    pub(super) moved: Option<(PathBuf, PathBuf)>,
}

/// What is written down as a whole.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) have: Bitfield,
    /// Pieces that are to be hashed before they are believed.
    pub(super) doubted: Vec<PieceIndex>,
    pub(super) made: BTreeSet<usize>,
    /// Of files at rest. Those of files that are about to be written say nothing, and are left out.
    pub(super) stamps: Vec<Option<Stamp>>,
    pub(super) parts: Option<Stamp>,
    pub(super) renamed: BTreeMap<usize, PathBuf>,
    pub(super) moved: Option<(PathBuf, PathBuf)>,
}

/// The record of one torrent, open to be added to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    hash: InfoHash,
    file: Mutex<File>,
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

    fn parse(text: &str, hash: InfoHash, storage: &Storage, touched: i64) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != format!("kinswarm-resume 1 {hash}") {
            return None;
        }
        let geometry = storage.geometry();
        let mut record = Self {
            have: Bitfield::none(geometry),
            pending: BTreeSet::new(),
            made: BTreeSet::new(),
            facts: vec![None; storage.info().files().len()],
            touched,
            parts: None,
            renamed: BTreeMap::new(),
            moved: None,
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
                *file = Some(stamp(&mut fields)?);
            }
            "parts" => self.parts = Some(stamp(&mut rest.split(' '))?),
            "name" => {
                let (file, name) = rest.split_once(' ')?;
                let file = file.parse().ok().filter(|file| *file < self.facts.len())?;
                let name = unhex(name).filter(|name| stays_below(name))?;
                self.renamed.insert(file, name);
            }
            "moved" => {
                let (from, to) = rest.split_once(' ')?;
                self.moved = Some((unhex(from)?, unhex(to)?));
            }
            "made" => {
                for run in rest.split(' ') {
                    let (first, last) = run.split_once('-')?;
                    let last = last.parse().ok().filter(|last| *last < self.facts.len())?;
                    self.made.extend(first.parse::<usize>().ok()?..=last);
                }
            }
            "m" => {
                let file = rest.parse().ok().filter(|file| *file < self.facts.len())?;
                self.made.insert(file);
            }
            "d" => _ = self.pending.insert(piece()?),
            "w" => {
                let piece = piece()?;
                self.have.unset(piece);
                self.pending.insert(piece);
                let length = u64::from(geometry.length_of(piece));
                for file in storage.layout().files(geometry.start_of(piece), length) {
                    *self.facts.get_mut(file)? = None;
                }
                self.parts = None;
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

/// Size and time; what else a stamp has does not last.
fn stamp<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<Stamp> {
    Some(Stamp {
        size: fields.next()?.parse().ok()?,
        modified: fields.next()?.parse().ok()?,
        changed: 0,
        inode: 0,
    })
}

fn unhex(text: &str) -> Option<PathBuf> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

fn hex(path: &Path) -> String {
    HEXLOWER.encode(path.as_os_str().as_bytes())
}

impl Journal {
    /// Begins the record anew with what is known now; a program that dies in between leaves the old one.
    pub(super) fn begin(data: &Path, hash: InfoHash, facts: &Facts) -> Result<Self, StorageError> {
        let path = path(data, hash);
        let file = replace(&path, hash, facts).map_err(|source| StorageError::io(path.clone(), source))?;
        let file = Mutex::new(file);
        Ok(Self { path, hash, file })
    }

    /// The same for a record that is being added to.
    pub(super) fn renew(&self, facts: &Facts) -> Result<(), StorageError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        *file = replace(&self.path, self.hash, facts).map_err(|source| self.trouble(source))?;
        Ok(())
    }

    /// These pieces are about to be written, or are lost.
    pub(super) fn writing(&self, pieces: impl IntoIterator<Item = PieceIndex>) -> Result<(), StorageError> {
        self.append('w', pieces)
    }

    /// These pieces are verified and written.
    pub(super) fn written(&self, pieces: impl IntoIterator<Item = PieceIndex>) -> Result<(), StorageError> {
        self.append('p', pieces)
    }

    /// These files were made.
    pub(super) fn made(&self, files: &[usize]) -> Result<(), StorageError> {
        self.lines('m', files.iter())
    }

    fn append(&self, word: char, pieces: impl IntoIterator<Item = PieceIndex>) -> Result<(), StorageError> {
        self.lines(word, pieces.into_iter().map(PieceIndex::number))
    }

    fn lines(&self, word: char, numbers: impl Iterator<Item = impl Display>) -> Result<(), StorageError> {
        let mut lines = String::new();
        for number in numbers {
            // Writing into a string cannot fail.
            let _ = writeln!(lines, "{word} {number}");
        }
        if lines.is_empty() {
            return Ok(());
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(lines.as_bytes())
            .map_err(|source| self.trouble(source))
    }

    fn trouble(&self, source: io::Error) -> StorageError {
        StorageError::io(self.path.clone(), source)
    }
}

fn replace(path: &Path, hash: InfoHash, facts: &Facts) -> io::Result<File> {
    let mut text = format!(
        "kinswarm-resume 1 {hash}\nhave {}\n",
        HEXLOWER.encode(facts.have.as_bytes())
    );
    for (number, stamp) in facts.stamps.iter().enumerate() {
        if let Some(Stamp { size, modified, .. }) = stamp {
            let _ = writeln!(text, "file {number} {size} {modified}");
        }
    }
    if let Some(Stamp { size, modified, .. }) = facts.parts {
        let _ = writeln!(text, "parts {size} {modified}");
    }
    for (number, name) in &facts.renamed {
        let _ = writeln!(text, "name {number} {}", hex(name));
    }
    if let Some((from, to)) = &facts.moved {
        let _ = writeln!(text, "moved {} {}", hex(from), hex(to));
    }
    if !facts.made.is_empty() {
        let made: Vec<usize> = facts.made.iter().copied().collect();
        text.push_str("made");
        for run in made.chunk_by(|file, next| file + 1 == *next) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                let _ = write!(text, " {first}-{last}");
            }
        }
        text.push('\n');
    }
    for piece in &facts.doubted {
        let _ = writeln!(text, "d {}", piece.number());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension("new");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)?;
    OpenOptions::new().append(true).open(path)
}
