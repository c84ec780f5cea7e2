//! Finds out what of a torrent is on disk already, hashing as little as possible. May take as long as the disk needs, and
//! stops early when asked to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use shared::bitfield::Bitfield;
use shared::geometry::PieceIndex;
use shared::metainfo::{FileKind, Info};
use tokio_util::sync::CancellationToken;

use super::devices::Devices;
use super::pool::FilePool;
use super::resume::{Journal, Record};
use super::storage::{Stamp, Storage, StorageError};
use super::writer::DiskNews;
use crate::engine::Check;
use crate::library::progress::Progress;
use crate::torrent::Priority;

/// A file that was last written so much later than the record was written to by somebody else. The program writes a
/// line before each write, so its own lie within the time that one write takes to begin.
const SLACK_NANOS: i128 = 2_000_000_000;

/// Missing files are named one by one up to here.
const TROUBLES_MAX: usize = 20;

/// A torrent to be opened.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) info: Arc<Info>,
    pub(crate) root: PathBuf,
    /// Write what is missing; otherwise nothing is ever written.
    pub(crate) writes: bool,
    /// The state folder.
    pub(crate) data: Option<PathBuf>,
    pub(crate) pool: Arc<FilePool>,
    pub(crate) devices: Arc<Devices>,
    /// How much is hashed before it is believed.
    pub(crate) check: Check,
    /// Files beyond the end of the list are wanted.
    pub(crate) wishes: Arc<[Priority]>,
    pub(crate) allocation: Allocation,
    /// Bytes hashed of bytes to hash.
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
}

/// How files that are fetched get their room on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// As bytes come.
    #[default]
    Sparse,
    /// All of it before the first byte, so that a disk that is too small is known at once.
    Full,
}

/// An open torrent. Clones share the files.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) storage: Arc<Storage>,
    /// What is there. In a torrent that is only read, pieces that were never hashed are among them: they are hashed before
    /// their first byte leaves.
    pub(crate) have: Bitfield,
    /// Where each piece is noted when it is written.
    pub(super) journal: Option<Arc<Journal>>,
    data: Option<PathBuf>,
    /// What was found wrong, a bounded number of things.
    pub(crate) troubles: Arc<[StorageError]>,
}

impl Opened {
    /// Has other files fetched from now on. What is there of files that nobody wanted moves into place. May wait.
    pub(crate) fn want(&self, wishes: &[Priority]) -> Result<(), StorageError> {
        self.storage.want(wishes)
    }

    /// Moves what was fetched to another folder; what is only read is looked for there from now on. Where it fails, all is as
    /// it was. May wait.
    pub(crate) fn relocate(&self, root: &Path, progress: &Progress) -> Result<(), StorageError> {
        self.storage.relocate(root, progress)
    }

    /// Gives one file another name below the same folder; a file that is only read is looked for under it. May wait.
    pub(crate) fn rename(&self, file: usize, to: &Path) -> Result<(), StorageError> {
        self.storage.rename(file, to)
    }

    /// Looks whether files are still what they were. Few at a time, so that it may be called often. May wait.
    pub(crate) fn look(&self) -> Vec<DiskNews> {
        self.storage.look()
    }

    /// Writes down what was verified, and how the files looked. May wait.
    pub(crate) fn remember(&self) -> Result<(), StorageError> {
        let Some(data) = &self.data else { return Ok(()) };
        let hash = self.storage.info().wire_hash();
        Journal::begin(data, hash, &self.storage.trusted(), &self.storage.facts()).map(|_| ())
    }
}

impl Opening {
    /// Opens it, on threads that may wait. `None` if that failed for a fault of ours.
    pub(crate) async fn open(self) -> Option<Opened> {
        let device = self.devices.of(&self.root);
        let _turn = device.check().await?;
        tokio::task::spawn_blocking(move || self.open_waiting())
            .await
            .ok()
    }

    pub(super) fn open_waiting(self) -> Opened {
        let storage = Arc::new(Storage::new(
            Arc::clone(&self.info),
            self.root.clone(),
            Arc::clone(&self.pool),
            Arc::clone(&self.devices),
        ));
        let data = self.data.as_deref();
        let record = data.and_then(|data| Record::load(data, self.info.wire_hash(), &storage));
        if self.writes {
            self.open_to_write(storage, record)
        } else {
            self.open_to_read(storage, record)
        }
    }

    fn open_to_write(self, storage: Arc<Storage>, record: Option<Record>) -> Opened {
        storage.survey();
        let doubtful = match record {
            Some(record) => recall(&storage, &record),
            None => present(&storage).collect(),
        };
        hash(&storage, doubtful.into_iter().collect(), &self.stop);
        let mut troubles = Vec::new();
        let have = storage.trusted();
        let made = if have.is_complete() {
            storage.finish()
        } else {
            storage.prepare()
        };
        troubles.extend(made.err());
        let journal = self.data.as_ref().and_then(|data| {
            // Exact facts are for files at rest; these are about to be written, and the record's own time tells.
            let begun = Journal::begin(data, self.info.wire_hash(), &have, &[]);
            begun.map(Arc::new).map_err(|error| troubles.push(error)).ok()
        });
        Opened {
            storage,
            have,
            journal,
            data: self.data,
            troubles: troubles.into(),
        }
    }

    fn open_to_read(self, storage: Arc<Storage>, record: Option<Record>) -> Opened {
        storage.seal();
        let (have, troubles) = plausible(&storage);
        if let Some(record) = record {
            let changed = changed(&storage, &record);
            let known = storage
                .geometry()
                .pieces()
                .filter(|piece| record.have.has(*piece) && have.has(*piece));
            known
                .filter(|piece| !changed.contains(piece))
                .for_each(|piece| storage.trust(piece));
        }
        Opened {
            storage,
            have,
            journal: None,
            data: self.data,
            troubles: troubles.into(),
        }
    }
}

/// The pieces whose files all have the right size, and what is wrong with the other files.
fn plausible(storage: &Storage) -> (Bitfield, Vec<StorageError>) {
    let (mut have, mut troubles) = (Bitfield::all(storage.geometry()), Vec::new());
    let stamps = storage.stamps();
    for (number, file) in storage.info().files().iter().enumerate() {
        let stamp = stamps.get(number).copied().flatten();
        if file.kind != FileKind::Regular || stamp.is_some_and(|stamp| stamp.size == file.length) {
            continue;
        }
        storage
            .pieces_of(number)
            .into_iter()
            .for_each(|piece| _ = have.unset(piece));
        if troubles.len() < TROUBLES_MAX {
            troubles.push(wrong_size(storage, number, file.length, stamp));
        }
    }
    (have, troubles)
}

/// The pieces of files that are not as the record has them.
fn changed(storage: &Storage, record: &Record) -> BTreeSet<PieceIndex> {
    let stamps = storage.stamps();
    let files = stamps.iter().zip(&record.facts).enumerate();
    files
        .filter(|(_, (now, then))| now != then)
        .flat_map(|(file, _)| storage.pieces_of(file))
        .collect()
}

fn wrong_size(storage: &Storage, file: usize, length: u64, stamp: Option<Stamp>) -> StorageError {
    let reason = match stamp {
        None => "missing".to_owned(),
        Some(Stamp { size, .. }) => format!("{size} bytes long, where the torrent has {length}"),
    };
    StorageError::Io {
        path: storage.path(file),
        source: std::io::Error::other(reason),
    }
}

/// Trusts what the record says of files that nobody else touched; gives back the pieces that must be hashed.
fn recall(storage: &Storage, record: &Record) -> BTreeSet<PieceIndex> {
    let (stamps, mut touched) = (storage.stamps(), BTreeSet::new());
    for (file, stamp) in stamps.iter().enumerate() {
        let fact = record.facts.get(file).copied().flatten();
        let unchanged = match (stamp, fact) {
            (Some(stamp), Some(fact)) => *stamp == fact,
            (Some(_), None) => storage
                .touched(file)
                .is_some_and(|touched| touched <= record.touched + SLACK_NANOS),
            (None, _) => true,
        };
        if !unchanged {
            touched.extend(storage.pieces_of(file));
        }
    }
    let mut doubtful = BTreeSet::new();
    for piece in present(storage) {
        if touched.contains(&piece) || record.pending.contains(&piece) {
            doubtful.insert(piece);
        } else if record.have.has(piece) {
            storage.trust(piece);
        }
    }
    doubtful
}

/// The pieces whose bytes all lie inside files as long as they are now.
fn present(storage: &Storage) -> impl Iterator<Item = PieceIndex> + '_ {
    let stamps = storage.stamps();
    storage.geometry().pieces().filter(move |piece| {
        let length = u64::from(storage.geometry().length_of(*piece));
        let mut stretches = storage
            .layout()
            .stretches(storage.geometry().start_of(*piece), length);
        stretches.all(|stretch| {
            let size = |file: usize| stamps.get(file).copied().flatten().map_or(0, |stamp| stamp.size);
            stretch
                .file
                .is_none_or(|file| stretch.offset + stretch.length <= size(file))
        })
    })
}

/// Hashes these pieces on all cores.
fn hash(storage: &Storage, pieces: Vec<PieceIndex>, stop: &CancellationToken) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed))
            && !stop.is_cancelled()
        {
            if let Err(error) = storage.check(*piece) {
                tracing::debug!(piece = piece.number(), %error, "not hashed");
            }
        }
    };
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(pieces.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
}
