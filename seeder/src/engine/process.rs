//! What all torrents of the process have in common: bounds, tools, and the way out for events.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use shared::id::PeerId;
use shared::metainfo::Info;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::api::{Allocation, Check, EngineConfig, EngineError, Event, Mode, TorrentKey};
use super::bans::Bans;
use super::change::Rates;
use super::descriptors::Descriptors;
use super::learning::Learned;
use super::spec::Spec;
use crate::clock::Clock;
use crate::discovery::trackers::{self, TrackerEvent, Trackers};
use crate::disk::{Devices, FilePool, Opened, Opening};
use crate::driver::{CREDIT_UNIT, lacks};
use crate::library::progress::Progress;
use crate::metrics::Tally;
use crate::net::dialer::Dialer;
use crate::net::encryption::Secrecy;
use crate::net::home;
use crate::net::places::{Place, Places};
use crate::net::throttle::Gates;
use crate::net::uploader::Readers;
use crate::net::web_seed::WebClient;
use crate::torrent::PeerKey;

/// Events that a slow listener may be behind.
const EVENTS_MAX: usize = 4_096;

/// Metadata that may wait for the table.
const LEARNED_MAX: usize = 64;

/// What reaches the table by itself.
pub(super) type News = (mpsc::Receiver<TrackerEvent>, mpsc::Receiver<Learned>);

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
    /// Made when the first web seed is asked.
    web_client: OnceLock<Result<WebClient, String>>,
    /// Places for connections.
    pub(crate) places: Places,
    /// Who may wait for which disk, and bytes between socket and disk in units of [`CREDIT_UNIT`].
    pub(crate) devices: Arc<Devices>,
    allocation: Allocation,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) trackers: Trackers,
    /// Metadata that drivers have, on their way to the table.
    learned: mpsc::Sender<Learned>,
    /// Connections of all torrents, where nobody says otherwise.
    pub(super) connections: usize,
    /// Connections that a torrent may have, where it has no bound of its own.
    pub(crate) connections_per_torrent: AtomicUsize,
    /// Payload that was thrown away by torrents that sleep again.
    pub(crate) wasted: AtomicU64,
    /// Payload given to web clients.
    pub(crate) web_given: AtomicU64,
    pub(crate) tally: Tally,
    pub(crate) stop: CancellationToken,
    pub(super) descriptors: Descriptors,
    /// Files that may stand open.
    pub(super) open_files: usize,
    bans: Bans,
    peers: AtomicU64,
}

impl Shared {
    /// Makes the common tools, and starts the task that announces.
    pub(super) fn start(config: &EngineConfig, listen: &[SocketAddr]) -> Result<(Self, News), EngineError> {
        let clock = Clock::start();
        let settings = trackers::Settings {
            peer_id: config.peer_id,
            listen: listen.to_vec(),
            clock,
            crypto: config.encryption.announced(),
        };
        let (trackers, answers) = Trackers::start(settings)?;
        let limits = &config.limits;
        let descriptors = Descriptors::raise();
        let open_files = limits.open_files.min(descriptors.all / 8).max(4);
        let connections = descriptors.bound(config.rates.connections.unwrap_or(limits.connections));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let secrecy = Arc::new(Secrecy::new(config.encryption, cores));
        let (learned, learning) = mpsc::channel(LEARNED_MAX);
        let shared = Self {
            clock,
            learned,
            connections: limits.connections,
            peer_id: config.peer_id,
            listen_port: listen.first().map_or(0, SocketAddr::port),
            data: config.data.clone(),
            pool: Arc::new(FilePool::new(open_files)),
            readers: Arc::new(Readers::default()),
            dialer: Dialer::new(limits.half_open, Arc::clone(&secrecy)),
            secrecy,
            web_client: OnceLock::new(),
            gates: Gates::new(clock, home::networks()),
            places: Places::new(connections, limits.connections_per_address),
            devices: Arc::new(Devices::new(clock, limits.disk_buffers / CREDIT_UNIT)),
            allocation: config.allocation,
            events: broadcast::Sender::new(EVENTS_MAX),
            trackers,
            connections_per_torrent: AtomicUsize::new(connections_per_torrent(&config.rates)),
            wasted: AtomicU64::new(0),
            web_given: AtomicU64::new(0),
            tally: Tally::default(),
            stop: CancellationToken::new(),
            descriptors,
            open_files,
            bans: Bans::new(limits.bans),
            peers: AtomicU64::new(0),
        };
        Ok((shared, (answers, learning)))
    }

    /// A number for a new connection.
    pub(crate) fn next_peer(&self) -> PeerKey {
        PeerKey(self.peers.fetch_add(1, Ordering::Relaxed))
    }

    /// What web seeds are asked with.
    pub(crate) fn web_client(&self) -> Result<&WebClient, &str> {
        let made = self
            .web_client
            .get_or_init(|| WebClient::new().map_err(|error| error.to_string()));
        made.as_ref().map_err(String::as_str)
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
        how: (Check, Arc<Progress>, CancellationToken),
    ) -> impl Future<Output = Option<Opened>> + Send + use<> {
        let (check, progress, stop) = how;
        let opening = Opening {
            progress,
            stop,
            ..self.opening_of(spec, info, check)
        };
        opening.open()
    }

    fn opening_of(&self, spec: &Spec, info: Arc<Info>, check: Check) -> Opening {
        Opening {
            info,
            root: spec.root().to_path_buf(),
            writes: spec.mode == Mode::Get,
            data: self.data.clone(),
            pool: Arc::clone(&self.pool),
            devices: Arc::clone(&self.devices),
            check,
            wishes: Arc::clone(&spec.options().wishes.files),
            allocation: self.allocation,
            progress: Arc::default(),
            stop: self.stop.clone(),
        }
    }

    /// The files of a torrent that nobody works on, without hashing anything.
    pub(super) fn files(
        &self,
        spec: &Spec,
        info: Arc<Info>,
    ) -> impl Future<Output = Option<Opened>> + Send + use<> {
        let mut opening = self.opening_of(spec, info, Check::Lazy);
        opening.stop = CancellationToken::new();
        opening.stop.cancel();
        opening.open()
    }

    /// Tells everyone what was found on disk.
    pub(crate) fn report_opened(&self, spec: &Spec, opened: &Opened) {
        let (key, have) = (spec.key, &opened.have);
        let geometry = opened.storage.geometry();
        let missing = geometry.pieces().filter(|piece| !have.has(*piece));
        let left = missing.map(|piece| u64::from(geometry.length_of(piece))).sum();
        spec.counters.set_left(left);
        let done = spec.mode == Mode::Get && !lacks(spec, opened);
        spec.counters.set_partial(done && left > 0);
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
        if done && !spec.is_hands_off() {
            self.event(Event::Finished { key });
        }
    }

    /// Says what a torrent is, now that its metadata are here, and hears whether it may be that.
    pub(crate) fn learned(
        &self,
        key: TorrentKey,
        info: Arc<Info>,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let learned = self.learned.clone();
        async move {
            let gone = || "the engine has stopped".to_owned();
            let sent = learned.send(Learned { key, info, answer }).await;
            sent.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        }
    }

    /// How many addresses are refused at the moment.
    pub(super) fn bans(&self) -> usize {
        self.bans.count()
    }

    pub(crate) fn event(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}

/// Connections of one torrent, where nobody says otherwise.
pub(super) fn connections_per_torrent(rates: &Rates) -> usize {
    let usual = crate::torrent::Settings::default().connections_max;
    rates.connections_per_torrent.unwrap_or(usual)
}
