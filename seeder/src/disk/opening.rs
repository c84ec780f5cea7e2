//! Finds out what of a torrent is on disk already, hashing as little as was asked for. May take as long as the disk needs, and
//! stops early when asked to.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use shared::bitfield::Bitfield;
use shared::geometry::PieceIndex;
use shared::metainfo::{FileKind, Info};
use tokio_util::sync::CancellationToken;

use super::devices::Devices;
use super::opened::Opened;
use super::places::parts_path;
use super::pool::FilePool;
use super::resume::{Facts, Journal, Record};
use super::stamp::Stamp;
use super::storage::{Storage, StorageError, Tools};
use crate::engine::Check;
use crate::library::hash::run_length;
use crate::library::progress::Progress;
use crate::library::verify::each_piece;
use crate::torrent::Priority;

/// A file that was last written so much later than the record was written to by somebody else. The program writes a
/// line before each write, so its own lie within the time that one write takes to begin.
const SLACK_NANOS: i64 = 2_000_000_000;

/// Missing files are named one by one up to here.
const TROUBLES_MAX: usize = 20;

/// How files that are fetched get their room on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// As bytes come.
    #[default]
    Sparse,
    /// All of it before the first byte, so that a disk that is too small is known at once.
    Full,
}

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
    /// Bytes hashed of bytes to hash. Whoever cancels it gets what was found so far.
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
}

impl Opening {
    /// Opens it, on threads that may wait. `None` if that failed for a fault of ours.
    pub(crate) async fn open(self) -> Option<Opened> {
        let device = self.devices.of(&self.root);
        let turn = device.job().await?;
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let found = self.look();
            // Most torrents need no more than that; ten thousand of them should not cost a second thread's turn each.
            if found.doubtful.is_empty() {
                Ok(found.settle())
            } else {
                Err(Box::new(found))
            }
        });
        let found = match looked.await.ok()? {
            Ok(opened) => return Some(opened),
            Err(found) => found,
        };
        let turn = device.check().await;
        let settled = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            found.settle()
        });
        settled.await.ok()
    }

    /// Looks at sizes and times, and at what is remembered.
    pub(super) fn look(self) -> Found {
        let tools = Tools {
            pool: Arc::clone(&self.pool),
            devices: Arc::clone(&self.devices),
            writes: self.writes,
            allocation: self.allocation,
            parts: self
                .data
                .as_ref()
                .map(|data| parts_path(data, self.info.wire_hash())),
        };
        let storage = Arc::new(Storage::new(Arc::clone(&self.info), self.root.clone(), tools));
        let data = self.data.as_deref();
        let record = data.and_then(|data| Record::load(data, self.info.wire_hash(), &storage));
        let mut troubles = Vec::new();
        if let Some(record) = &record {
            storage.change_places(|places| places.renamed.clone_from(&record.renamed));
            troubles.extend(self.go_on_moving(&storage, record).err());
        }
        let mut found = Found {
            opening: self,
            storage,
            claimed: None,
            doubtful: BTreeSet::new(),
            unhashed: Vec::new(),
            samples: BTreeSet::new(),
            troubles,
        };
        if found.opening.writes {
            found.look_to_write(record.as_ref());
        } else {
            found.look_to_read(record.as_ref());
        }
        if let Some(record) = &record {
            found.storage.recall_made(still_ours(&found.storage, record));
        }
        found
    }

    /// A move that was cut off is brought to its end.
    fn go_on_moving(&self, storage: &Storage, record: &Record) -> Result<(), StorageError> {
        match &record.moved {
            Some((from, to)) if self.writes && (*from == self.root || *to == self.root) => {
                storage.look_in(from);
                storage.survey();
                storage.move_to(to, true, &Progress::default())
            }
            _ => Ok(()),
        }
    }
}

/// A torrent whose files were looked at.
#[derive(Debug)]
pub(super) struct Found {
    opening: Opening,
    storage: Arc<Storage>,
    /// What is claimed, where that is more than what was hashed.
    claimed: Option<Bitfield>,
    /// Pieces to be hashed.
    doubtful: BTreeSet<PieceIndex>,
    /// Those that were not hashed, because the check was called off.
    unhashed: Vec<PieceIndex>,
    /// Those of them that stand for their files.
    samples: BTreeSet<PieceIndex>,
    troubles: Vec<StorageError>,
}

impl Found {
    fn look_to_write(&mut self, record: Option<&Record>) {
        let storage = &self.storage;
        storage.survey();
        storage.recall_aside();
        let record = record.filter(|_| self.opening.check != Check::Full);
        self.doubtful = match record {
            Some(record) => recall(storage, record),
            None => present(storage).collect(),
        };
        self.sample(&storage.trusted());
    }

    fn look_to_read(&mut self, record: Option<&Record>) {
        let storage = &self.storage;
        storage.seal();
        let (mut claimed, missing, troubles) = plausible(storage);
        self.troubles.extend(troubles);
        storage.miss(missing);
        if self.opening.check == Check::Full {
            self.doubtful = storage
                .geometry()
                .pieces()
                .filter(|piece| claimed.has(*piece))
                .collect();
            self.doubtful.iter().for_each(|piece| _ = claimed.unset(*piece));
        } else if let Some(record) = record {
            let changed = changed(storage, record);
            let known = storage.geometry().pieces();
            let known = known.filter(|piece| record.have.has(*piece) && claimed.has(*piece));
            known
                .filter(|piece| !changed.contains(piece))
                .for_each(|piece| storage.trust(piece));
        }
        self.sample(&claimed);
        self.claimed = Some(claimed);
    }

    /// A quick check hashes one piece of every file, the middle one.
    fn sample(&mut self, claimed: &Bitfield) {
        if self.opening.check != Check::Quick {
            return;
        }
        for file in 0..self.storage.info().files().len() {
            let pieces: Vec<_> = self.storage.pieces_of(file).collect();
            let middle = pieces.get(pieces.len() / 2);
            self.samples
                .extend(middle.filter(|piece| claimed.has(**piece)).copied());
        }
        self.doubtful.extend(&self.samples);
    }

    /// Hashes what is in doubt. Reads as much as there is.
    pub(super) fn settle(mut self) -> Opened {
        let doubtful = std::mem::take(&mut self.doubtful);
        self.hash(&doubtful);
        let bad: Vec<PieceIndex> = self
            .samples
            .iter()
            .filter(|piece| !self.storage.is_trusted(**piece))
            .copied()
            .collect();
        // Where the sample is bad, its file is not believed.
        let suspects = bad.iter().flat_map(|piece| {
            let (start, length) = self.storage.extent(*piece);
            let files = self.storage.layout().files(start, length);
            files.flat_map(|file| self.storage.pieces_of(file))
        });
        let suspects: BTreeSet<PieceIndex> = suspects.filter(|piece| !doubtful.contains(piece)).collect();
        self.hash(&suspects);
        if self.opening.stop.is_cancelled() {
            let hashed = |piece: &&PieceIndex| !self.storage.is_trusted(**piece);
            self.unhashed = doubtful.iter().chain(&suspects).filter(hashed).copied().collect();
        }
        if let Some(claimed) = &mut self.claimed {
            let hashed = doubtful.iter().chain(&suspects);
            for piece in hashed {
                if self.storage.is_trusted(*piece) {
                    claimed.set(*piece);
                } else {
                    claimed.unset(*piece);
                    self.storage.lose(*piece);
                }
            }
        }
        self.end()
    }

    /// Hashes these pieces, with as many readers as their disk can bear.
    fn hash(&self, pieces: &BTreeSet<PieceIndex>) {
        let (storage, progress, stop) = (&self.storage, &self.opening.progress, &self.opening.stop);
        let pieces: Vec<PieceIndex> = pieces.iter().copied().collect();
        let geometry = storage.geometry();
        let length = |piece: &PieceIndex| u64::from(geometry.length_of(*piece));
        progress.expect(progress.total() + pieces.iter().map(length).sum::<u64>());
        let threads = NonZeroUsize::new(storage.device().readers()).unwrap_or(NonZeroUsize::MIN);
        let run = run_length(geometry.piece_length(), pieces.len(), threads);
        let check = |piece: PieceIndex, (): &mut ()| {
            if !stop.is_cancelled()
                && let Err(error) = storage.check(piece)
            {
                tracing::debug!(piece = piece.number(), %error, "not hashed");
            }
            progress.add(length(&piece));
        };
        if each_piece(&pieces, run, (threads, progress), || (), check).is_err() {
            tracing::info!(torrent = storage.info().name(), "the check was called off");
        }
    }

    /// What there is to work with.
    fn end(self) -> Opened {
        let Self {
            opening,
            storage,
            claimed,
            unhashed,
            mut troubles,
            ..
        } = self;
        // Who called it off does not mean to write.
        if opening.writes && !opening.stop.is_cancelled() {
            let wanted = storage.want(&opening.wishes);
            let made = wanted.and_then(|()| {
                if storage.trusted().is_complete() {
                    storage.finish()
                } else {
                    storage.prepare()
                }
            });
            troubles.extend(made.err());
        }
        let have = claimed.unwrap_or_else(|| storage.trusted());
        let hash = storage.info().wire_hash();
        let begun = opening.data.as_ref().filter(|_| opening.writes).map(|data| {
            // Exact facts are for files at rest; these are about to be written, and the record's own time tells.
            let facts = Facts::of(&storage, have.clone(), false);
            Journal::begin(
                data,
                hash,
                &Facts {
                    doubted: unhashed,
                    ..facts
                },
            )
        });
        let journal = begun.and_then(|begun| begun.map_err(|error| troubles.push(error)).ok());
        Opened {
            storage,
            have,
            journal: journal.map(Arc::new),
            data: opening.data,
            troubles: troubles.into(),
        }
    }
}

/// The pieces whose files all have the right size, the other files, and what is wrong with them.
fn plausible(storage: &Storage) -> (Bitfield, Vec<usize>, Vec<StorageError>) {
    let (mut have, mut missing, mut troubles) = (Bitfield::all(storage.geometry()), Vec::new(), Vec::new());
    let stamps = storage.stamps();
    for (number, file) in storage.info().files().iter().enumerate() {
        let stamp = stamps.get(number).copied().flatten();
        if file.kind != FileKind::Regular || stamp.is_some_and(|stamp| stamp.size == file.length) {
            continue;
        }
        storage.pieces_of(number).for_each(|piece| _ = have.unset(piece));
        missing.push(number);
        if troubles.len() < TROUBLES_MAX {
            troubles.push(wrong_size(storage, number, file.length, stamp));
        }
    }
    (have, missing, troubles)
}

/// The pieces of files that are not as the record has them.
fn changed(storage: &Storage, record: &Record) -> BTreeSet<PieceIndex> {
    let stamps = storage.stamps();
    let files = stamps.iter().zip(&record.facts).enumerate();
    files
        .filter(|(_, (now, then))| !alike(now.as_ref(), then.as_ref()))
        .flat_map(|(file, _)| storage.pieces_of(file))
        .collect()
}

fn alike(now: Option<&Stamp>, then: Option<&Stamp>) -> bool {
    match (now, then) {
        (Some(now), Some(then)) => now.agrees(then),
        (now, then) => now.is_none() && then.is_none(),
    }
}

fn wrong_size(storage: &Storage, file: usize, length: u64, stamp: Option<Stamp>) -> StorageError {
    let reason = match stamp {
        None => "missing".to_owned(),
        Some(Stamp { size, .. }) => format!("{size} bytes long, where the torrent has {length}"),
    };
    StorageError::io(storage.path(file), std::io::Error::other(reason))
}

/// Trusts what the record says of files that nobody else touched; gives back the pieces that must be hashed.
fn recall(storage: &Storage, record: &Record) -> BTreeSet<PieceIndex> {
    let untouched = |now: Option<&Stamp>, then| now.is_none_or(|now| is_untouched(now, then, record));
    let (stamps, places) = (storage.stamps(), storage.places());
    let parts_untouched = untouched(storage.parts_stamp().as_ref(), record.parts.as_ref());
    let mut touched = BTreeSet::new();
    for (file, stamp) in stamps.iter().enumerate() {
        let fact = record.facts.get(file).and_then(Option::as_ref);
        let unchanged = if places.aside.contains(&file) {
            parts_untouched
        } else {
            untouched(stamp.as_ref(), fact)
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

/// Is a file as our last write left it?
fn is_untouched(now: &Stamp, then: Option<&Stamp>, record: &Record) -> bool {
    match then {
        Some(then) => now.agrees(then),
        None => now.touched() <= record.touched.saturating_add(SLACK_NANOS),
    }
}

/// The files that we made, except where another lies in their place by now.
fn still_ours(storage: &Storage, record: &Record) -> BTreeSet<usize> {
    let stamps = storage.stamps();
    let ours = record.made.iter().copied().filter(|file| {
        let then = record.facts.get(*file).and_then(Option::as_ref);
        let now = stamps.get(*file).and_then(Option::as_ref);
        now.is_some_and(|now| is_untouched(now, then, record))
    });
    ours.collect()
}

/// The pieces whose bytes all lie inside files as long as they are now.
fn present(storage: &Storage) -> impl Iterator<Item = PieceIndex> + '_ {
    let (stamps, places) = (storage.stamps(), storage.places());
    let parts = storage.parts_stamp().map_or(0, |stamp| stamp.size);
    storage.geometry().pieces().filter(move |piece| {
        let (start, length) = storage.extent(*piece);
        let mut stretches = storage.layout().stretches(start, length);
        stretches.all(|stretch| {
            let Some(file) = stretch.file else { return true };
            let end = stretch.offset + stretch.length;
            if places.aside.contains(&file) {
                return storage.address_of(file) + end <= parts;
            }
            let size = stamps.get(file).copied().flatten().map_or(0, |stamp| stamp.size);
            end <= size
        })
    })
}
