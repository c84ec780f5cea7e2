//! One torrent's files. It knows which pieces were hashed since their files last changed, and gives out no byte of any other:
//! a file that was edited, cut short or swapped is noticed by its size and time, and its pieces are hashed again before
//! they are served. Every method may wait for a disk, except those that say otherwise.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, Metadata};
use std::io::{self, IoSlice};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shared::bitfield::Bitfield;
use shared::geometry::{Block, Geometry, PieceIndex};
use shared::metainfo::{FileKind, Info};

use super::devices::{Device, Devices};
use super::layout::{Layout, Place};
use super::os;
use super::pool::{FilePool, OpenFile};
use super::writer::DiskNews;
use crate::library;
use crate::library::progress::Progress;
use crate::library::verify::path_in;
use crate::torrent::Priority;

/// A file could not be read or written; the path says which.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: cut short, byte {missing} is gone", path.display())]
    Short { path: PathBuf, missing: u64 },
    #[error("{}: changed while it was read", path.display())]
    Changed { path: PathBuf },
}

impl StorageError {
    /// The file in trouble.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. } | Self::Short { path, .. } | Self::Changed { path } => path,
        }
    }

    /// What is wrong with it, without its name.
    pub fn reason(&self) -> String {
        match self {
            Self::Io { source, .. } => source.to_string(),
            Self::Short { missing, .. } => format!("cut short, byte {missing} is gone"),
            Self::Changed { .. } => "changed while it was read".to_owned(),
        }
    }
}

/// The facts by which a file is taken for unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    /// Nanoseconds since 1970, as the file system says.
    pub(super) modified: i128,
}

impl Stamp {
    pub(super) fn of(facts: &Metadata) -> Self {
        Self {
            size: facts.size(),
            modified: nanos(facts.mtime(), facts.mtime_nsec()),
        }
    }
}

fn nanos(seconds: i64, rest: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(rest)
}

/// Numbers for [`FilePool`] slots; never used twice in a process.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The files of one torrent.
#[derive(Debug)]
pub struct Storage {
    number: u64,
    info: Arc<Info>,
    root: PathBuf,
    layout: Layout,
    pool: Arc<FilePool>,
    devices: Arc<Devices>,
    /// Set once nothing will be written any more; then files are opened for reading only and watched for changes.
    sealed: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// Pieces whose hash agreed with what the files hold now.
    trusted: Bitfield,
    /// Pieces whose hash did not agree. They are not hashed again for everyone who asks.
    wrong: BTreeSet<PieceIndex>,
    /// The files as they were when that was found. `None` is missing.
    stamps: Vec<Option<Stamp>>,
}

impl Storage {
    /// The files of a torrent below `root`, nothing known of them yet. Touches no disk.
    pub(crate) fn new(info: Arc<Info>, root: PathBuf, pool: Arc<FilePool>, devices: Arc<Devices>) -> Self {
        let places = info.files().iter().map(|file| Place {
            start: file.offset,
            length: file.length,
            padding: file.kind == FileKind::Padding,
        });
        let layout = Layout::new(places.collect());
        let known = Known {
            trusted: Bitfield::none(info.geometry()),
            wrong: BTreeSet::new(),
            stamps: vec![None; layout.places().len()],
        };
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            info,
            root,
            layout,
            pool,
            devices,
            sealed: AtomicBool::new(false),
            known: Mutex::new(known),
        }
    }

    /// The disk on which it lies.
    pub(crate) fn device(&self) -> Arc<Device> {
        self.devices.of(&self.root)
    }

    /// What the torrent is.
    pub fn info(&self) -> &Arc<Info> {
        &self.info
    }

    /// How its bytes are cut.
    pub fn geometry(&self) -> &Geometry {
        self.info.geometry()
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where this file lies.
    pub(super) fn path(&self, file: usize) -> PathBuf {
        self.root.join(self.relative(file))
    }

    /// What is only read may lie under names that we would not have chosen; what we write lies under safe ones.
    fn relative(&self, file: usize) -> PathBuf {
        let Some(file) = self.info.files().get(file) else {
            return PathBuf::new();
        };
        if self.sealed.load(Ordering::Acquire) {
            path_in(&self.info, file, &self.root)
        } else {
            self.info.disk_path(file)
        }
    }

    /// Was this piece hashed since its files changed? Does not wait.
    pub fn is_trusted(&self, piece: PieceIndex) -> bool {
        self.known().trusted.has(piece)
    }

    /// Every piece that was. Does not wait.
    pub fn trusted(&self) -> Bitfield {
        self.known().trusted.clone()
    }

    /// Says that a piece on disk is right. Does not wait.
    pub(super) fn trust(&self, piece: PieceIndex) {
        self.known().trusted.set(piece);
    }

    pub(super) fn stamps(&self) -> Vec<Option<Stamp>> {
        self.known().stamps.clone()
    }

    /// Looks at size and time of every file.
    pub(super) fn survey(&self) {
        let stamps = (0..self.layout.places().len())
            .map(|file| self.stat(file))
            .collect();
        self.known().stamps = stamps;
    }

    fn stat(&self, file: usize) -> Option<Stamp> {
        let facts = std::fs::metadata(self.path(file))
            .ok()
            .filter(Metadata::is_file)?;
        Some(Stamp::of(&facts))
    }

    /// When anything was last done to this file: written, or put in the place of another with the times of its own.
    pub(super) fn touched(&self, file: usize) -> Option<i128> {
        let facts = std::fs::metadata(self.path(file)).ok()?;
        let changed = nanos(facts.ctime(), facts.ctime_nsec());
        Some(changed.max(nanos(facts.mtime(), facts.mtime_nsec())))
    }

    /// From now on nothing is written; files that change by another's hand are noticed. Does the survey that this needs.
    pub fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
        self.pool.close_all(self.number);
        self.survey();
    }

    /// Gives every file its right length, makes those that no piece covers, and seals them.
    pub fn finish(&self) -> Result<(), StorageError> {
        self.prepare()?;
        self.survey();
        for (number, stamp) in self.stamps().into_iter().enumerate() {
            let addresses = self.layout.addresses(number);
            // Opening a file to write it cuts off what is too long.
            if stamp.is_some_and(|stamp| stamp.size > addresses.end - addresses.start) {
                self.open_to_write(number)?;
            }
        }
        self.seal();
        Ok(())
    }

    /// The facts by which the files will be known again.
    pub(super) fn facts(&self) -> Vec<Option<Stamp>> {
        if !self.sealed.load(Ordering::Acquire) {
            self.survey();
        }
        self.stamps()
    }

    /// The first file of a piece, for messages.
    pub(crate) fn path_of(&self, piece: PieceIndex) -> PathBuf {
        let (start, length) = self.extent(piece);
        self.layout
            .files(start, length)
            .next()
            .map_or_else(|| self.root.clone(), |file| self.path(file))
    }

    /// Closes every file; the next read opens them again.
    pub fn rest(&self) {
        self.pool.close_all(self.number);
    }

    /// Makes the target folder and the files that no piece covers, so that trouble with the target is known at once.
    pub fn prepare(&self) -> Result<(), StorageError> {
        let io = |path: &Path, source| StorageError::Io {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(&self.root).map_err(|source| io(&self.root, source))?;
        for (number, file) in self.info.files().iter().enumerate() {
            if file.length == 0 && file.kind == FileKind::Regular {
                self.open_to_write(number)?;
            }
        }
        Ok(())
    }

    /// Has other files fetched from now on.
    pub(super) fn want(&self, _wishes: &[Priority]) -> Result<(), StorageError> {
        Ok(())
    }

    pub(super) fn relocate(&self, _root: &Path, _progress: &Progress) -> Result<(), StorageError> {
        Ok(())
    }

    pub(super) fn rename(&self, _file: usize, _to: &Path) -> Result<(), StorageError> {
        Ok(())
    }

    pub(super) fn look(&self) -> Vec<DiskNews> {
        Vec::new()
    }

    /// The address of a block in the space in which files have their places. Does not wait.
    pub(crate) fn address(&self, block: Block) -> u64 {
        self.geometry().start_of(block.piece()) + u64::from(block.begin())
    }

    /// Reads from the page cache alone, and only what is open, trusted to be unchanged and there in full. Does not wait.
    pub(crate) fn read_without_waiting(&self, address: u64, into: &mut [u8]) -> bool {
        let mut rest = into;
        for stretch in self.layout.stretches(address, rest.len() as u64) {
            let Some((part, tail)) = split(rest, stretch.length) else {
                return false;
            };
            rest = tail;
            let Some(number) = stretch.file else {
                part.fill(0);
                continue;
            };
            let Some(open) = self.pool.get((self.number, number)) else {
                return false;
            };
            if !self.is_unchanged(number, &open.file)
                || !os::read_without_waiting(&open.file, part, stretch.offset)
            {
                return false;
            }
        }
        rest.fill(0);
        true
    }

    /// Reads bytes of trusted pieces. A file that changed since is an error, and its pieces are trusted no more.
    pub(crate) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let mut rest = into;
        for stretch in self.layout.stretches(address, rest.len() as u64) {
            let Some((part, tail)) = split(rest, stretch.length) else {
                return Ok(());
            };
            rest = tail;
            match stretch.file {
                None => part.fill(0),
                Some(file) => self.read_file(file, part, stretch.offset)?,
            }
        }
        // Only the gap behind a v2 file is left.
        rest.fill(0);
        Ok(())
    }

    fn read_file(&self, file: usize, into: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let open = self.open_to_read(file)?;
        if !self.is_unchanged(file, &open.file) {
            self.forget(file, &open.file);
            return Err(StorageError::Changed {
                path: self.path(file),
            });
        }
        let read = os::read_at(&open.file, into, offset);
        let read = read.map_err(|source| StorageError::Io {
            path: self.path(file),
            source,
        })?;
        if read < into.len() {
            self.pool.close((self.number, file));
            return Err(StorageError::Short {
                path: self.path(file),
                missing: offset + read as u64,
            });
        }
        Ok(())
    }

    /// Asks the system to fetch a whole piece, because its first block was asked for.
    pub(crate) fn read_ahead(&self, piece: PieceIndex) {
        let (start, length) = self.extent(piece);
        for stretch in self.layout.stretches(start, length) {
            if let Some(Ok(open)) = stretch.file.map(|file| self.open_to_read(file)) {
                os::read_ahead(&open.file, stretch.offset, stretch.length);
            }
        }
    }

    fn extent(&self, piece: PieceIndex) -> (u64, u64) {
        (
            self.geometry().start_of(piece),
            u64::from(self.geometry().length_of(piece)),
        )
    }

    /// Hashes a piece as it stands on disk; from then on it is trusted, or not.
    pub fn check(&self, piece: PieceIndex) -> Result<bool, StorageError> {
        let (start, length) = self.extent(piece);
        if self.known().wrong.contains(&piece) && self.are_unchanged(start, length)? {
            return Ok(false);
        }
        let mut content = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = self.read(start, &mut content).or_else(|error| match error {
            // The change is known now, so the second look is at the file as it is.
            StorageError::Changed { .. } => self.read(start, &mut content),
            other => Err(other),
        });
        let good = read.map(|()| self.info.check_piece(piece, &content));
        let mut known = self.known();
        if matches!(good, Ok(true)) {
            known.trusted.set(piece);
            known.wrong.remove(&piece);
        } else {
            known.trusted.unset(piece);
        }
        if matches!(good, Ok(false)) && self.sealed.load(Ordering::Acquire) {
            known.wrong.insert(piece);
        }
        good
    }

    fn are_unchanged(&self, address: u64, length: u64) -> Result<bool, StorageError> {
        for file in self.layout.files(address, length) {
            if !self.is_unchanged(file, &self.open_to_read(file)?.file) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes parts that follow one another from `address`, padding left out.
    pub(super) fn write(&self, address: u64, parts: &[Bytes]) -> Result<(), StorageError> {
        let length = parts.iter().map(|part| part.len() as u64).sum();
        let mut source: VecDeque<&[u8]> = parts.iter().map(Bytes::as_ref).collect();
        for stretch in self.layout.stretches(address, length) {
            let mut some = take(&mut source, stretch.length);
            let Some(file) = stretch.file else { continue };
            let open = self.open_to_write(file)?;
            let written = os::write_at(&open.file, &mut some, stretch.offset);
            written.map_err(|source| StorageError::Io {
                path: self.path(file),
                source,
            })?;
        }
        Ok(())
    }

    fn is_unchanged(&self, file: usize, open: &File) -> bool {
        if !self.sealed.load(Ordering::Acquire) {
            return true;
        }
        let now = open.metadata().ok().map(|facts| Stamp::of(&facts));
        now.is_some() && self.known().stamps.get(file).copied().flatten() == now
    }

    /// Takes note of how a changed file is now, and trusts none of its pieces until they are hashed again.
    fn forget(&self, file: usize, open: &File) {
        let stamp = open.metadata().ok().map(|facts| Stamp::of(&facts));
        let pieces = self.pieces_of(file);
        let mut known = self.known();
        if let Some(known) = known.stamps.get_mut(file) {
            *known = stamp;
        }
        for piece in pieces {
            known.trusted.unset(piece);
            known.wrong.remove(&piece);
        }
    }

    /// The pieces that hold some byte of this file.
    pub(super) fn pieces_of(&self, file: usize) -> Vec<PieceIndex> {
        let addresses = self.layout.addresses(file);
        let length = u64::from(self.geometry().piece_length());
        let numbers = addresses.start / length..addresses.end.div_ceil(length);
        numbers
            .filter_map(|number| self.geometry().piece(u32::try_from(number).ok()?))
            .collect()
    }

    fn open_to_read(&self, file: usize) -> Result<Arc<OpenFile>, StorageError> {
        if let Some(open) = self.pool.get((self.number, file)) {
            return Ok(open);
        }
        let opened = if self.sealed.load(Ordering::Acquire) {
            library::os::open_source(&self.path(file))
        } else {
            os::open_written(&self.root, &self.relative(file))
        };
        let opened = opened.map_err(|source| StorageError::Io {
            path: self.path(file),
            source,
        })?;
        Ok(self.keep(
            file,
            OpenFile {
                file: opened,
                writable: false,
            },
        ))
    }

    fn open_to_write(&self, file: usize) -> Result<Arc<OpenFile>, StorageError> {
        if let Some(open) = self.pool.get((self.number, file)).filter(|open| open.writable) {
            return Ok(open);
        }
        let io = |source| StorageError::Io {
            path: self.path(file),
            source,
        };
        let executable = self.info.files().get(file).is_some_and(|file| file.executable);
        let opened = os::open_target(&self.root, &self.relative(file), executable).map_err(io)?;
        let length = self.layout.addresses(file);
        // A longer file of an earlier time would keep its tail and never agree with the torrent.
        if opened.metadata().map_err(io)?.len() > length.end - length.start {
            opened.set_len(length.end - length.start).map_err(io)?;
        }
        Ok(self.keep(
            file,
            OpenFile {
                file: opened,
                writable: true,
            },
        ))
    }

    fn keep(&self, file: usize, open: OpenFile) -> Arc<OpenFile> {
        let open = Arc::new(open);
        self.pool.keep((self.number, file), &open);
        open
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.pool.close_all(self.number);
    }
}

fn split(bytes: &mut [u8], at: u64) -> Option<(&mut [u8], &mut [u8])> {
    bytes.split_at_mut_checked(usize::try_from(at).ok()?)
}

/// Takes the next `length` bytes off the front.
fn take<'a>(source: &mut VecDeque<&'a [u8]>, length: u64) -> Vec<IoSlice<'a>> {
    let mut left = usize::try_from(length).unwrap_or(usize::MAX);
    let mut taken = Vec::new();
    while left > 0
        && let Some(part) = source.pop_front()
    {
        let (now, later) = part.split_at(left.min(part.len()));
        left -= now.len();
        if !later.is_empty() {
            source.push_front(later);
        }
        taken.push(IoSlice::new(now));
    }
    taken
}
