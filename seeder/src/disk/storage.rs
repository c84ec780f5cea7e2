//! One torrent's files. It knows which pieces were hashed since their files last changed, and gives out no byte of any other:
//! a file that was edited, cut short or swapped is noticed by its size and times, and its pieces are hashed again before
//! they are served. Every method may wait for a disk, except those that say otherwise.

use std::collections::{BTreeSet, VecDeque};
use std::fs::Metadata;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use shared::bitfield::Bitfield;
use shared::geometry::{Block, Geometry, PieceIndex};
use shared::metainfo::{File, FileKind, Info, PieceCheck};

use super::devices::{Device, Devices};
use super::hands::Hands;
use super::layout::{Layout, Stretch};
use super::opening::Allocation;
use super::os;
use super::places::Places;
use super::pool::{FilePool, OpenFile};
use super::stamp::Stamp;
use super::waits::Waits;

/// A piece is read for hashing in steps of so many bytes: long pieces need no more memory than short ones.
const STEP: u64 = 1 << 20;

/// A file could not be read or written; the path says which.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: cut short, byte {missing} is gone", path.display())]
    Short { path: PathBuf, missing: u64 },
    #[error("{}: changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("{}: it is being moved", path.display())]
    Moving { path: PathBuf },
}

impl StorageError {
    pub(super) fn io(path: PathBuf, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        Self::Io { path, source }
    }

    /// The same, for another who met the same trouble.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Io { path, source } => Self::Io {
                path: path.clone(),
                source: source
                    .raw_os_error()
                    .map_or_else(|| source.kind().into(), io::Error::from_raw_os_error),
            },
            Self::Short { path, missing } => Self::Short {
                path: path.clone(),
                missing: *missing,
            },
            Self::Changed { path } => Self::Changed { path: path.clone() },
            Self::Moving { path } => Self::Moving { path: path.clone() },
        }
    }

    /// The file in trouble.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::Short { path, .. }
            | Self::Changed { path }
            | Self::Moving { path } => path,
        }
    }

    /// What is wrong with it, without its name.
    pub fn reason(&self) -> String {
        match self {
            Self::Io { source, .. } => source.to_string(),
            Self::Short { missing, .. } => format!("cut short, byte {missing} is gone"),
            Self::Changed { .. } => "changed while it was read".to_owned(),
            Self::Moving { .. } => "it is being moved".to_owned(),
        }
    }
}

/// Numbers for [`FilePool`] slots; never used twice in a process.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// What a storage is made with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) pool: Arc<FilePool>,
    pub(crate) devices: Arc<Devices>,
    /// May files be written at all?
    pub(crate) writes: bool,
    pub(crate) allocation: Allocation,
    /// The file for what lies aside; without one, unwanted files are made.
    pub(crate) parts: Option<PathBuf>,
}

/// The files of one torrent.
#[derive(Debug)]
pub struct Storage {
    pub(super) number: u64,
    pub(super) info: Arc<Info>,
    pub(super) tools: Tools,
    pub(super) places: Mutex<Arc<Places>>,
    /// Set while nothing will be written; then files are opened for reading only and watched for changes.
    pub(super) sealed: AtomicBool,
    /// Held by whoever writes, and alone by whoever moves files.
    pub(super) gate: RwLock<()>,
    /// Held by whoever compares a file with what our last write left. May be held as long as the disk hangs.
    pub(super) turn: Mutex<()>,
    /// Who waits for the disk at this moment.
    pub(super) waits: Waits,
    known: Mutex<Known>,
}

#[derive(Debug)]
pub(super) struct Known {
    /// Pieces whose hash agreed with what the files hold now.
    pub(super) trusted: Bitfield,
    /// Pieces whose hash did not agree. They are not hashed again for everyone who asks.
    pub(super) wrong: BTreeSet<PieceIndex>,
    /// The files as they were when that was found. `None` is missing.
    pub(super) stamps: Box<[Option<Stamp>]>,
    pub(super) watch: super::watch::Watch,
    pub(super) hands: Hands,
}

impl Storage {
    /// The files of a torrent below `root`, nothing known of them yet. Touches no disk.
    pub(crate) fn new(info: Arc<Info>, root: PathBuf, tools: Tools) -> Self {
        let known = Known {
            trusted: Bitfield::none(info.geometry()),
            wrong: BTreeSet::new(),
            stamps: vec![None; info.files().len()].into(),
            watch: super::watch::Watch::default(),
            hands: Hands::default(),
        };
        let places = Places {
            device: tools.devices.of(&root),
            root,
            renamed: std::collections::BTreeMap::new(),
            aside: BTreeSet::new(),
        };
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            info,
            tools,
            places: Mutex::new(Arc::new(places)),
            sealed: AtomicBool::new(false),
            gate: RwLock::new(()),
            turn: Mutex::default(),
            waits: Waits::default(),
            known: Mutex::new(known),
        }
    }

    /// The disk on which it lies. Does not wait.
    pub(crate) fn device(&self) -> Arc<Device> {
        Arc::clone(&self.places().device)
    }

    /// What the torrent is.
    pub fn info(&self) -> &Arc<Info> {
        &self.info
    }

    /// How its bytes are cut.
    pub fn geometry(&self) -> &Geometry {
        self.info.geometry()
    }

    pub(super) fn layout(&self) -> Layout<'_, File> {
        Layout::new(self.info.files())
    }

    pub(super) fn places(&self) -> Arc<Places> {
        Arc::clone(&self.places.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The folder that holds the torrent's root now. Does not wait.
    pub(crate) fn root(&self) -> PathBuf {
        self.places().root.clone()
    }

    /// Where this file lies.
    pub(super) fn path(&self, file: usize) -> PathBuf {
        let places = self.places();
        places
            .root
            .join(places.relative(&self.info, file, self.is_sealed()))
    }

    /// Nothing is written at present. Does not wait.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
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
        self.known().stamps.to_vec()
    }

    /// How this file was when it was last looked at.
    pub(super) fn stamp_of(&self, file: usize) -> Option<Stamp> {
        self.known().stamps.get(file).copied().flatten()
    }

    /// Looks at size and times of every file.
    pub(super) fn survey(&self) {
        let stamps = (0..self.info.files().len()).map(|file| self.stat(file));
        let stamps = stamps.collect();
        self.known().stamps = stamps;
    }

    /// How a file is now; `None` where there is none.
    pub(super) fn stat(&self, file: usize) -> Option<Stamp> {
        let kind = self.info.files().get(file)?.kind;
        if kind != FileKind::Regular {
            return None;
        }
        let places = self.places();
        let facts = std::fs::metadata(places.named(&self.info, file));
        // Only a file that is not where we would have put it may lie under a name of its maker's.
        let facts = match facts {
            Err(_) if self.is_sealed() => std::fs::metadata(self.path(file)),
            facts => facts,
        };
        Some(Stamp::of(&facts.ok().filter(Metadata::is_file)?))
    }

    /// From now on nothing is written; files that change by another's hand are noticed, also those that changed since our
    /// last write.
    pub fn seal(&self) {
        self.end_suspicion();
        self.rest();
        for (file, before) in self.stamps().into_iter().enumerate() {
            let now = self.stat(file);
            if now != before {
                self.forget(file, now);
            }
        }
    }

    /// From now on it is written again, where it may be.
    pub(crate) fn unseal(&self) {
        if self.tools.writes {
            self.sealed.store(false, Ordering::Release);
            self.rest();
        }
    }

    /// Gives every file its right length, makes those that no piece covers, and seals them.
    pub fn finish(&self) -> Result<(), StorageError> {
        self.prepare()?;
        for number in 0..self.info.files().len() {
            let addresses = self.layout().addresses(number);
            // Opening a file to write it cuts off what is too long.
            if self
                .stat(number)
                .is_some_and(|stamp| stamp.size > addresses.end - addresses.start)
            {
                self.open_to_write(number)?;
            }
        }
        self.seal();
        self.tidy_parts();
        Ok(())
    }

    /// A file of a piece, for messages: one at which somebody was, else the first. Does not wait.
    pub(crate) fn path_of(&self, piece: PieceIndex) -> PathBuf {
        let (start, length) = self.extent(piece);
        let places = self.places();
        let known = self.known();
        let changed = self
            .layout()
            .files(start, length)
            .find(|file| known.hands.is_changed(*file));
        drop(known);
        let file = changed.or_else(|| self.layout().files(start, length).next());
        file.map_or_else(|| places.root.clone(), |file| places.named(&self.info, file))
    }

    /// Closes every file; the next read opens them again. Does not wait.
    pub fn rest(&self) {
        self.tools.pool.close_all(self.number);
    }

    /// Makes the target folder and the files that no piece covers, where they are missing, and gives files their room if they
    /// are to have it at once, so that trouble with the target is known before anything is fetched.
    pub fn prepare(&self) -> Result<(), StorageError> {
        let places = self.places();
        std::fs::create_dir_all(&places.root)
            .map_err(|source| StorageError::io(places.root.clone(), source))?;
        let full = self.tools.allocation == Allocation::Full;
        for (number, file) in self.info.files().iter().enumerate() {
            let now = if file.length == 0 {
                self.stat(number).is_none()
            } else {
                full && !places.aside.contains(&number)
            };
            if file.kind == FileKind::Regular && now {
                self.open_to_write(number)?;
            }
        }
        Ok(())
    }

    /// The address of a block in the space in which files have their places. Does not wait.
    pub(crate) fn address(&self, block: Block) -> u64 {
        self.geometry().start_of(block.piece()) + u64::from(block.begin())
    }

    pub(super) fn extent(&self, piece: PieceIndex) -> (u64, u64) {
        let geometry = self.geometry();
        (geometry.start_of(piece), u64::from(geometry.length_of(piece)))
    }

    /// Reads from the page cache alone, and only what is open, trusted to be unchanged and there in full. Does not wait.
    pub(crate) fn read_without_waiting(&self, address: u64, into: &mut [u8]) -> bool {
        let length = into.len() as u64;
        let mut rest = into;
        let mut seen = Vec::new();
        for stretch in self.layout().stretches(address, length) {
            let Some((part, tail)) = split(rest, stretch.length) else {
                return false;
            };
            rest = tail;
            let Some(number) = stretch.file else {
                part.fill(0);
                continue;
            };
            // What lies aside has another slot, so it is never found here.
            let open = self.tools.pool.get((self.number, number));
            let Some(open) = open.filter(|open| os::read_without_waiting(&open.file, part, stretch.offset))
            else {
                return false;
            };
            match self.is_sealed().then(|| os::stamp_without_waiting(&open.file)) {
                None => (),
                Some(Some(stamp)) => seen.push((number, stamp)),
                Some(None) => return false,
            }
        }
        rest.fill(0);
        self.vouches(address, length, &seen)
    }

    /// Reads bytes of trusted pieces. A file that changed since is an error, and its pieces are trusted no more.
    pub(crate) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let length = into.len() as u64;
        let seen = self.read_raw(address, into)?;
        if self.vouches(address, length, &seen) {
            return Ok(());
        }
        for (file, stamp) in &seen {
            if self.stamp_of(*file) != Some(*stamp) {
                self.forget(*file, Some(*stamp));
            }
        }
        let file = seen.first().map(|(file, _)| *file);
        Err(StorageError::Changed {
            path: file.map_or_else(|| self.root(), |file| self.path(file)),
        })
    }

    /// Are these bytes, which were read before the stamps were taken, what was hashed?
    fn vouches(&self, address: u64, length: u64, seen: &[(usize, Stamp)]) -> bool {
        let known = self.known();
        let unchanged = |(file, stamp): &(usize, Stamp)| known.stamps.get(*file) == Some(&Some(*stamp));
        seen.iter().all(unchanged)
            && self
                .pieces_between(address, address + length)
                .all(|piece| known.trusted.has(piece))
    }

    /// Reads what is there, whatever it is; with the stamps of the files, as they were behind the read.
    fn read_raw(&self, address: u64, into: &mut [u8]) -> Result<Vec<(usize, Stamp)>, StorageError> {
        let mut seen = Vec::new();
        let length = into.len() as u64;
        let mut rest = into;
        for stretch in self.layout().stretches(address, length) {
            let Some((part, tail)) = split(rest, stretch.length) else {
                return Ok(seen);
            };
            rest = tail;
            match stretch.file {
                None => part.fill(0),
                Some(file) => seen.extend(self.read_file(file, &stretch, part)?),
            }
        }
        // Only the gap behind a v2 file is left.
        rest.fill(0);
        Ok(seen)
    }

    fn read_file(
        &self,
        file: usize,
        stretch: &Stretch,
        into: &mut [u8],
    ) -> Result<Option<(usize, Stamp)>, StorageError> {
        let (open, offset) = self.open_to_read(file, stretch.offset)?;
        let trouble = |source| StorageError::io(self.path(file), source);
        let read = os::read_at(&open.file, into, offset).map_err(trouble)?;
        if read < into.len() {
            self.tools.pool.close((self.number, file));
            return Err(StorageError::Short {
                path: self.path(file),
                missing: stretch.offset + read as u64,
            });
        }
        if !self.is_sealed() || self.places().aside.contains(&file) {
            return Ok(None);
        }
        let facts = open.file.metadata().map_err(trouble)?;
        Ok(Some((file, Stamp::of(&facts))))
    }

    /// Asks the system to fetch a whole piece, because its first block was asked for.
    pub(crate) fn read_ahead(&self, piece: PieceIndex) {
        let (start, length) = self.extent(piece);
        for stretch in self.layout().stretches(start, length) {
            if let Some(Ok((open, offset))) = stretch.file.map(|file| self.open_to_read(file, stretch.offset))
            {
                os::read_ahead(&open.file, offset, stretch.length);
            }
        }
    }

    /// Hashes a piece as it stands on disk; from then on it is trusted, or not. A file that changes while it is hashed is
    /// looked at once more; one that goes on changing is given up.
    pub fn check(&self, piece: PieceIndex) -> Result<bool, StorageError> {
        if self.known().wrong.contains(&piece) && self.is_as_known(piece) {
            return Ok(false);
        }
        for _look in 0..2 {
            let hashed = self.hash(piece);
            let mut known = self.known();
            let Ok((good, seen)) = hashed else {
                known.trusted.unset(piece);
                return hashed.map(|(good, _)| good);
            };
            let changed = |(file, stamp): &(usize, Stamp)| known.stamps.get(*file) != Some(&Some(*stamp));
            let changed: Vec<_> = seen.into_iter().filter(changed).collect();
            if changed.is_empty() {
                known.judge(piece, good, self.is_sealed());
                if !good {
                    let (start, length) = self.extent(piece);
                    self.layout()
                        .files(start, length)
                        .for_each(|file| known.hands.blame(file));
                }
                self.tools.devices.counts.hashed(good);
                return Ok(good);
            }
            drop(known);
            // The change is known now, so the second look is at the file as it is.
            for (file, stamp) in changed {
                self.forget(file, Some(stamp));
            }
        }
        self.known().trusted.unset(piece);
        Err(StorageError::Changed {
            path: self.path_of(piece),
        })
    }

    /// Is a piece right, and how were its files behind the read?
    fn hash(&self, piece: PieceIndex) -> Result<(bool, Vec<(usize, Stamp)>), StorageError> {
        let Some(mut check) = self.info.check(piece) else {
            return Ok((false, Vec::new()));
        };
        let seen = self.feed(&mut check, piece, self.extent(piece).1)?;
        Ok((self.info.agrees(check), seen))
    }

    /// Feeds a check from where it stands up to `end`, counted from the start of the piece, with what is on disk.
    pub(super) fn feed(
        &self,
        check: &mut PieceCheck,
        piece: PieceIndex,
        end: u64,
    ) -> Result<Vec<(usize, Stamp)>, StorageError> {
        let mut seen = Vec::new();
        let mut buffer = Vec::new();
        while check.fed() < end {
            let length = (end - check.fed()).min(STEP);
            buffer.resize(usize::try_from(length).unwrap_or(0), 0);
            let address = self.geometry().start_of(piece) + check.fed();
            seen.extend(self.read_raw(address, &mut buffer)?);
            check.feed(&buffer);
        }
        seen.dedup();
        Ok(seen)
    }

    /// Are the files of a piece as they were when it was hashed?
    fn is_as_known(&self, piece: PieceIndex) -> bool {
        let (start, length) = self.extent(piece);
        self.layout()
            .files(start, length)
            .all(|file| self.stamp_of(file) == self.stat(file))
    }

    /// Writes parts that follow one another from `address`, padding left out.
    pub(super) fn write(&self, address: u64, parts: &[Bytes]) -> Result<(), StorageError> {
        // Files that are being moved are left alone; whoever writes tries again.
        let Ok(_gate) = self.gate.try_read() else {
            return Err(StorageError::Moving { path: self.root() });
        };
        let length = parts.iter().map(|part| part.len() as u64).sum();
        let mut source: VecDeque<&[u8]> = parts.iter().map(Bytes::as_ref).collect();
        for stretch in self.layout().stretches(address, length) {
            let mut some = take(&mut source, stretch.length);
            let Some(file) = stretch.file else { continue };
            let trouble = |source| StorageError::io(self.path(file), source);
            if self.places().aside.contains(&file) {
                let at = self.address_of(file) + stretch.offset;
                os::write_at(&self.open_parts(true)?.file, &mut some, at).map_err(trouble)?;
            } else {
                self.with_hand(file, |open| {
                    os::write_at(&open.file, &mut some.clone(), stretch.offset).map_err(trouble)
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn address_of(&self, file: usize) -> u64 {
        self.layout().addresses(file).start
    }

    /// Takes note of how a changed file is now, and trusts none of its pieces until they are hashed again.
    pub(super) fn forget(&self, file: usize, stamp: Option<Stamp>) {
        let mut known = self.known();
        let before = known
            .stamps
            .get_mut(file)
            .and_then(|known| std::mem::replace(known, stamp));
        if let Some(before) = before.filter(|before| Some(*before) != stamp) {
            let another = stamp.is_none_or(|now| !before.agrees(&now) || before.inode != now.inode);
            known.hands.met(file, another);
        }
        for piece in self.pieces_of(file) {
            known.trusted.unset(piece);
            known.wrong.remove(&piece);
        }
    }

    /// The pieces that hold some byte of this file.
    pub(super) fn pieces_of(&self, file: usize) -> impl Iterator<Item = PieceIndex> + use<'_> {
        let addresses = self.layout().addresses(file);
        self.pieces_between(addresses.start, addresses.end)
    }

    fn pieces_between(&self, start: u64, end: u64) -> impl Iterator<Item = PieceIndex> + use<'_> {
        let length = u64::from(self.geometry().piece_length());
        let numbers = start / length..end.div_ceil(length);
        let numbers = if start < end { numbers } else { 0..0 };
        numbers.filter_map(|number| self.geometry().piece(u32::try_from(number).ok()?))
    }

    pub(super) fn keep(&self, slot: usize, open: OpenFile) -> Arc<OpenFile> {
        let open = Arc::new(open);
        self.tools.pool.keep((self.number, slot), &open);
        open
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn judge(&mut self, piece: PieceIndex, good: bool, sealed: bool) {
        if good {
            self.trusted.set(piece);
            self.wrong.remove(&piece);
        } else {
            self.trusted.unset(piece);
            if sealed {
                self.wrong.insert(piece);
            }
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.tools.pool.close_all(self.number);
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
