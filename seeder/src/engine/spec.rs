//! What one torrent is, whether it sleeps or not: small, because ten thousand of them lie in memory, and shared by the table and
//! the driver that may be at work on it.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use shared::geometry::Geometry;
use shared::id::{InfoHash, InfoHashV2};
use shared::magnet::{Magnet, Selection};
use shared::metainfo::{FileKind, Info};

use super::api::{Mode, Options, TorrentKey};
use crate::clock::Clock;
use crate::discovery::trackers::Tiers;
use crate::metrics::Counters;
use crate::net::throttle::Gate;
use crate::torrent::goals::Copies;
use crate::torrent::{Identity, Priority, Status, Wishes};

/// One torrent.
#[derive(Debug)]
pub(crate) struct Spec {
    /// The metadata, where they came without the piece layers that are needed to check anything.
    pub(crate) bare: Option<Arc<Info>>,
    /// The files that a magnet link selects.
    pub(crate) only: Option<Selection>,
    /// The metadata, once they are here in full.
    info: OnceLock<Arc<Info>>,
    /// The same with piece layers that peers gave later: a hybrid can be checked without them, and needs them to give them on.
    layered: OnceLock<Arc<Info>>,
    pub(crate) key: TorrentKey,
    /// As its source names it.
    named: Identity,
    /// The name, or the hash of a nameless magnet.
    pub(crate) label: String,
    pub(crate) mode: Mode,
    /// Peers known beforehand.
    pub(crate) peers: Vec<SocketAddr>,
    hash_v1: Option<InfoHash>,
    hash_v2: Option<InfoHashV2>,
    /// All that is wanted was there once.
    done: AtomicBool,
    /// Others changed what was done: nothing is written over it before somebody has it checked.
    hands_off: AtomicBool,
    /// Of this run of the program, as trackers hear it.
    pub(crate) counters: Arc<Counters>,
    /// Payload given and taken before this run.
    pub(crate) before: Sums,
    /// Seconds since 1970.
    pub(crate) added: i64,
    pub(crate) about: Option<Box<About>>,
    treated: Mutex<Treated>,
    live: Mutex<Option<Box<Live>>>,
    copies: Mutex<Copies>,
    /// What its own connections pay; made when the first one comes.
    gate: OnceLock<Box<Gate>>,
}

/// What is known of what a torrent is; each comes after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Knows {
    Name,
    Metadata,
    /// Piece layers that were missing too.
    LateLayers,
}

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) uploaded: u64,
    pub(crate) downloaded: u64,
}

/// What its maker wrote beside the content.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct About {
    pub(crate) comment: Option<String>,
    pub(crate) created_by: Option<String>,
    pub(crate) creation_date: Option<i64>,
    pub(crate) web_seeds: Vec<String>,
}

/// How it is treated, which may change. Torrents that are treated alike share the parts.
#[derive(Clone, Debug)]
pub(crate) struct Treated {
    pub(crate) root: Arc<Path>,
    pub(crate) options: Arc<Options>,
    pub(crate) trackers: Tiers,
}

/// What its driver knows, at most a second old. Nothing of a torrent that sleeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    pub(crate) status: Status,
    pub(crate) why: Option<String>,
}

/// What the table needs to make one.
pub(super) struct Known {
    pub(super) key: TorrentKey,
    pub(super) name: Option<String>,
    pub(super) hash_v1: Option<InfoHash>,
    pub(super) hash_v2: Option<InfoHashV2>,
    pub(super) about: About,
    pub(super) bare: Option<Arc<Info>>,
    pub(super) only: Option<Selection>,
    pub(super) info: Option<Arc<Info>>,
}

impl Known {
    pub(super) fn of_info(key: TorrentKey, info: Arc<Info>, about: About) -> Self {
        let whole = info.has_layers();
        Self {
            key,
            name: Some(info.name().to_owned()),
            hash_v1: info.info_hash_v1(),
            hash_v2: info.info_hash_v2(),
            about,
            bare: (!whole).then(|| Arc::clone(&info)),
            only: None,
            info: whole.then_some(info),
        }
    }

    pub(super) fn of_magnet(key: TorrentKey, magnet: &Magnet) -> Self {
        Self {
            key,
            name: magnet.name.clone(),
            hash_v1: magnet.info_hash_v1,
            hash_v2: magnet.info_hash_v2,
            about: About {
                web_seeds: magnet.web_seeds.clone(),
                ..About::default()
            },
            bare: None,
            only: magnet.only.clone(),
            info: None,
        }
    }
}

/// What it goes on from, and what it is for.
pub(super) struct Standing {
    pub(super) mode: Mode,
    pub(super) peers: Vec<SocketAddr>,
    pub(super) before: Sums,
    pub(super) added: i64,
    pub(super) copies: Copies,
    pub(super) treated: Treated,
    /// All that is wanted was there in an earlier run.
    pub(super) done: bool,
}

impl Spec {
    /// `left` is what trackers hear until the files were looked at.
    pub(super) fn new(known: Known, standing: Standing, identity: Identity, left: u64) -> Self {
        let (v1, v2) = (known.hash_v1, known.hash_v2);
        let info_hash = v1.or(v2.map(|hash| hash.truncated()));
        let info_hash = info_hash.unwrap_or(InfoHash([0; 20]));
        Self {
            key: known.key,
            named: Identity {
                info_hash,
                info_hash_v2: v2,
                ..identity
            },
            layered: OnceLock::new(),
            bare: known.bare,
            only: known.only,
            info: known.info.map(OnceLock::from).unwrap_or_default(),
            label: known.name.unwrap_or_else(|| info_hash.to_string()),
            mode: standing.mode,
            peers: standing.peers,
            hash_v1: v1,
            hash_v2: v2,
            done: AtomicBool::new(standing.done),
            hands_off: AtomicBool::new(false),
            counters: Arc::new(Counters::new(left)),
            before: standing.before,
            added: standing.added,
            about: (known.about != About::default()).then(|| Box::new(known.about)),
            treated: Mutex::new(standing.treated),
            live: Mutex::new(None),
            copies: Mutex::new(standing.copies),
            gate: OnceLock::new(),
        }
    }

    /// Is this the torrent, by every hash that is known of it?
    pub(crate) fn is_of(&self, info: &Info) -> bool {
        let Identity {
            info_hash,
            info_hash_v2,
            ..
        } = self.named;
        let cut = info_hash_v2.map(|hash| hash.truncated());
        let v1 = cut == Some(info_hash) || info.info_hash_v1() == Some(info_hash);
        v1 && (info_hash_v2.is_none() || info_hash_v2 == info.info_hash_v2())
    }

    /// The metadata, once they are here in full.
    pub(crate) fn info(&self) -> Option<&Arc<Info>> {
        self.info.get()
    }

    /// The hash by which it is known to most, whatever else was learned of it.
    pub(crate) fn info_hash(&self) -> InfoHash {
        self.named.info_hash
    }

    /// By what its state on disk goes: what a link named may be another of its hashes.
    pub(crate) fn record_hash(&self) -> InfoHash {
        self.info().map_or(self.named.info_hash, |info| info.wire_hash())
    }

    /// By what it knows itself and is known: a link with one hash may have led to a hybrid.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            info_hash_v2: self.hash_v2(),
            ..self.named
        }
    }

    pub(crate) fn hash_v1(&self) -> Option<InfoHash> {
        self.hash_v1.or_else(|| self.info()?.info_hash_v1())
    }

    pub(crate) fn hash_v2(&self) -> Option<InfoHashV2> {
        self.hash_v2.or_else(|| self.info()?.info_hash_v2())
    }

    /// Every hash by which peers and trackers may know it; a hybrid has two, v1 first.
    pub(crate) fn info_hashes(&self) -> Vec<InfoHash> {
        let second = self.hash_v2().map(|hash| hash.truncated());
        self.hash_v1().into_iter().chain(second).collect()
    }

    /// All that is wanted is there, or is looked for again.
    pub(crate) fn set_done(&self, done: bool) {
        self.done.store(done, Ordering::Relaxed);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// What is missing is left to whoever took it away, or is fetched again.
    pub(crate) fn set_hands_off(&self, hands_off: bool) {
        self.hands_off.store(hands_off, Ordering::Relaxed);
    }

    pub(crate) fn is_hands_off(&self) -> bool {
        self.hands_off.load(Ordering::Relaxed)
    }

    /// What is missing is to be fetched.
    pub(crate) fn fetches(&self) -> bool {
        self.mode == Mode::Get && !self.is_hands_off()
    }

    /// Piece layers have come after the metadata.
    pub(crate) fn learn_layers(&self, info: Arc<Info>) {
        // They come once; who comes second brings the same.
        let _ = self.layered.set(info);
    }

    /// How much is known of what it is.
    pub(super) fn knows(&self) -> Knows {
        match (self.info(), self.layered.get()) {
            (None, _) => Knows::Name,
            (Some(_), None) => Knows::Metadata,
            (Some(_), Some(_)) => Knows::LateLayers,
        }
    }

    /// The metadata with all piece layers that are known.
    pub(crate) fn layered(&self) -> Option<&Arc<Info>> {
        self.layered.get().or_else(|| self.info())
    }

    /// The metadata have come.
    pub(crate) fn learn(&self, info: &Arc<Info>) {
        // They come once; who comes second brings the same.
        let _ = self.info.set(Arc::clone(info));
    }

    fn treated(&self) -> MutexGuard<'_, Treated> {
        self.treated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder that holds the torrent's root.
    pub(crate) fn root(&self) -> Arc<Path> {
        Arc::clone(&self.treated().root)
    }

    pub(crate) fn options(&self) -> Arc<Options> {
        Arc::clone(&self.treated().options)
    }

    pub(crate) fn trackers(&self) -> Tiers {
        Arc::clone(&self.treated().trackers)
    }

    /// What its own connections pay, by the limits of the moment.
    pub(crate) fn gate(&self, clock: Clock) -> &Gate {
        let limits = self.options().limits;
        let gate = self.gate.get_or_init(|| Box::new(Gate::new(clock, None, None)));
        gate.set(limits.upload, limits.download);
        gate
    }

    pub(super) fn set_root(&self, root: Arc<Path>) {
        self.treated().root = root;
    }

    pub(crate) fn set_options(&self, options: Arc<Options>) {
        self.treated().options = options;
    }

    pub(super) fn set_trackers(&self, trackers: Tiers) {
        self.treated().trackers = trackers;
    }

    /// What its driver last told.
    pub(crate) fn live(&self) -> Option<Live> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.as_deref().cloned()
    }

    pub(crate) fn set_live(&self, told: Option<Live>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = told.map(Box::new);
    }

    /// Where other complete peers were seen.
    pub(crate) fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Payload given and taken over all runs.
    pub(crate) fn sums(&self) -> Sums {
        Sums {
            uploaded: self.before.uploaded + self.counters.uploaded(),
            downloaded: self.before.downloaded + self.counters.downloaded(),
        }
    }

    /// What somebody who sees the whole torrent would link to.
    pub(crate) fn magnet(&self) -> Magnet {
        Magnet {
            name: Some(self.label.clone()),
            trackers: self
                .trackers()
                .iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
            ..bare_magnet(self.hash_v1(), self.hash_v2())
        }
    }
}

fn bare_magnet(info_hash_v1: Option<InfoHash>, info_hash_v2: Option<InfoHashV2>) -> Magnet {
    Magnet {
        info_hash_v1,
        info_hash_v2,
        ..Magnet::default()
    }
}

/// What is wanted of a torrent, and what of it is missing: a piece is wanted if one of its files is.
pub(crate) fn wanted(info: &Info, wishes: &Wishes, mut has: impl FnMut(u32) -> bool) -> Wanted {
    let geometry = info.geometry();
    let mut is_wanted = vec![true; geometry.piece_count() as usize];
    let skipped = |number: usize| wishes.files.get(number) == Some(&Priority::Skip);
    if wishes.files.contains(&Priority::Skip) {
        let files = info.files().iter().enumerate();
        let content = files.filter(|(_, file)| file.kind == FileKind::Regular && file.length > 0);
        // A piece is wanted if one of its files is; one of padding alone makes a torrent whole.
        let (unwanted, wanted): (Vec<_>, Vec<_>) = content.partition(|(number, _)| skipped(*number));
        for (files, is) in [(unwanted, false), (wanted, true)] {
            for (_, file) in files {
                mark(
                    &mut is_wanted,
                    geometry,
                    file.offset..file.offset + file.length,
                    is,
                );
            }
        }
    }
    let mut sums = Wanted::default();
    for (piece, _) in geometry.pieces().zip(is_wanted).filter(|(_, wanted)| *wanted) {
        let length = u64::from(geometry.length_of(piece));
        sums.bytes += length;
        if !has(piece.number()) {
            sums.left += length;
        }
    }
    sums
}

fn mark(is_wanted: &mut [bool], geometry: &Geometry, bytes: Range<u64>, is: bool) {
    let piece = |address: u64| usize::try_from(address / u64::from(geometry.piece_length()));
    if let (Ok(first), Ok(last)) = (piece(bytes.start), piece(bytes.end.saturating_sub(1)))
        && let Some(of_file) = is_wanted.get_mut(first..=last)
    {
        of_file.fill(is);
    }
}

/// Bytes of the pieces that somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) bytes: u64,
    pub(crate) left: u64,
}
