//! What all torrents of the process have in common: bounds, tools, and the way out for events.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use shared::id::{InfoHash, PeerId};
use shared::magnet::Selection;
use shared::metainfo::Info;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::api::{Allocation, Check, EngineConfig, EngineError, Event, Mode, TorrentKey};
use super::bans::Bans;
use crate::clock::Clock;
use crate::discovery::trackers::{self, TrackerEvent, Trackers};
use crate::disk::{Devices, FilePool, Opened, Opening};
use crate::driver::CREDIT_UNIT;
use crate::metrics::Counters;
use crate::net::dialer::Dialer;
use crate::net::encryption::Secrecy;
use crate::net::places::{Place, Places};
use crate::net::throttle::{Gate, Gates};
use crate::net::uploader::Readers;
use crate::torrent::{Identity, PeerKey};

/// Events that a slow listener may be behind.
const EVENTS_MAX: usize = 4_096;

/// What all torrents share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) peer_id: PeerId,
    pub(crate) listen_port: u16,
    pub(crate) data: Option<PathBuf>,
    pub(crate) pool: Arc<FilePool>,
    pub(crate) readers: Arc<Readers>,
    /// What all connections must pass.
    pub(crate) gates: Gates,
    pub(crate) secrecy: Arc<Secrecy>,
    pub(crate) dialer: Dialer,
    /// Places for connections.
    pub(crate) places: Places,
    /// Who may wait for which disk, and bytes between socket and disk in units of [`CREDIT_UNIT`].
    pub(crate) devices: Arc<Devices>,
    allocation: Allocation,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) trackers: Trackers,
    pub(crate) stop: CancellationToken,
    bans: Bans,
    peers: AtomicU64,
}

/// What one torrent is, whether it sleeps or not.
#[derive(Debug)]
pub(crate) struct Spec {
    /// The metadata, where they came without the piece layers that are needed to check anything.
    pub(crate) bare: Option<Arc<Info>>,
    /// The files that a magnet link selects.
    pub(crate) only: Option<Selection>,
    pub(crate) key: TorrentKey,
    pub(crate) identity: Identity,
    /// For logs: the name, or the hash of a nameless magnet.
    pub(crate) label: String,
    pub(crate) root: PathBuf,
    pub(crate) mode: Mode,
    /// Peers known beforehand.
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) info_hashes: Vec<InfoHash>,
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) counters: Arc<Counters>,
    /// What its connections must pass before those of the process.
    pub(crate) gate: Gate,
}

impl Spec {
    /// Is this the torrent, by every hash that is known of it?
    pub(crate) fn is_of(&self, info: &Info) -> bool {
        let Identity {
            info_hash,
            info_hash_v2,
            ..
        } = self.identity;
        let cut = info_hash_v2.map(|hash| hash.truncated());
        let v1 = cut == Some(info_hash) || info.info_hash_v1() == Some(info_hash);
        v1 && (info_hash_v2.is_none() || info_hash_v2 == info.info_hash_v2())
    }
}

impl Shared {
    /// Makes the common tools, and starts the task that announces.
    pub(super) fn start(
        config: &EngineConfig,
        listen: &[SocketAddr],
    ) -> Result<(Self, mpsc::Receiver<TrackerEvent>), EngineError> {
        let clock = Clock::start();
        let settings = trackers::Settings {
            peer_id: config.peer_id,
            listen: listen.to_vec(),
            clock,
            crypto: config.encryption.announced(),
        };
        let (trackers, answers) = Trackers::start(settings)?;
        let limits = &config.limits;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let secrecy = Arc::new(Secrecy::new(config.encryption, cores));
        let shared = Self {
            clock,
            peer_id: config.peer_id,
            listen_port: listen.first().map_or(0, SocketAddr::port),
            data: config.data.clone(),
            pool: Arc::new(FilePool::new(limits.open_files)),
            readers: Arc::new(Readers::default()),
            dialer: Dialer::new(limits.half_open, Arc::clone(&secrecy)),
            secrecy,
            gates: Gates::new(clock, []),
            places: Places::new(limits.connections, limits.connections_per_address),
            devices: Arc::new(Devices::new(clock, limits.disk_buffers / CREDIT_UNIT)),
            allocation: config.allocation,
            events: broadcast::Sender::new(EVENTS_MAX),
            trackers,
            stop: CancellationToken::new(),
            bans: Bans::new(limits.bans),
            peers: AtomicU64::new(0),
        };
        Ok((shared, answers))
    }

    /// A number for a new connection.
    pub(crate) fn next_peer(&self) -> PeerKey {
        PeerKey(self.peers.fetch_add(1, Ordering::Relaxed))
    }

    /// A place for a connection with this address, if there is one and the address is welcome.
    pub(crate) fn place(&self, address: IpAddr) -> Option<Place> {
        if self.is_banned(address) {
            return None;
        }
        self.places.take(address)
    }

    pub(crate) fn ban(&self, address: IpAddr) {
        self.bans.ban(address, self.clock.now());
    }

    pub(super) fn is_banned(&self, address: IpAddr) -> bool {
        self.bans.is_banned(address, self.clock.now())
    }

    /// Opens a torrent's files on a thread that may wait.
    pub(crate) fn opening(
        self: &Arc<Self>,
        spec: &Spec,
        info: Arc<Info>,
    ) -> impl Future<Output = Option<Opened>> + Send + use<> {
        let opening = Opening {
            info,
            root: spec.root.clone(),
            writes: spec.mode == Mode::Get,
            data: self.data.clone(),
            pool: Arc::clone(&self.pool),
            devices: Arc::clone(&self.devices),
            check: Check::default(),
            wishes: Arc::default(),
            allocation: self.allocation,
            progress: Arc::default(),
            stop: self.stop.clone(),
        };
        opening.open()
    }

    /// Tells everyone what was found on disk.
    pub(crate) fn report_opened(&self, spec: &Spec, opened: &Opened) {
        let (key, have) = (spec.key, &opened.have);
        let geometry = opened.storage.geometry();
        let missing = geometry.pieces().filter(|piece| !have.has(*piece));
        spec.counters
            .set_left(missing.map(|piece| u64::from(geometry.length_of(piece))).sum());
        for trouble in opened.troubles.iter() {
            warn!(torrent = %spec.label, "{trouble}");
            let (path, reason) = (trouble.path().to_owned(), trouble.reason());
            self.event(match spec.mode {
                Mode::Seed => Event::CannotServe { key, path, reason },
                Mode::Get => Event::DiskTrouble { key, path, reason },
            });
        }
        self.event(Event::Checked {
            key,
            have: have.count(),
            of: geometry.piece_count(),
        });
        if spec.mode == Mode::Get && have.is_complete() {
            self.event(Event::Finished { key });
        }
    }

    pub(crate) fn event(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}
