//! The table of all torrents, and the task that owns it. A torrent that is complete and has no peers sleeps here as a few
//! hundred bytes; a handshake or a tracker's answer wakes a driver for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::id::InfoHash;
use shared::metainfo::Info;
use shared::peer_wire::{Handshake, Reserved};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, info};

use super::api::{AddError, AddTorrent, Check, Event, Source, TorrentKey, TorrentStatus};
use super::change::{Change, ChangeError, Content, Rates};
use super::process::{Shared, Spec};
use super::view::{Details, EngineFacts, Summary};
use crate::discovery::trackers::{Outcome, Swarm, TrackerEvent};
use crate::disk::Opened;
use crate::driver::{Command, Driver, Rested, Visitor, status_of};
use crate::metrics::Counters;
use crate::net::encryption::{Mask, Secrecy};
use crate::net::line::Line;
use crate::net::listener::Reception;
use crate::net::throttle::Gate;
use crate::torrent::{Identity, Status};

/// Commands that may wait for a driver; more visitors at once are turned away.
const COMMANDS_MAX: usize = 64;

/// Drivers end within their own bounds; this one is for a driver that hangs.
const DRIVERS_STOP: Duration = Duration::from_millis(4_500);

/// What trackers hear as `left` while a magnet link's metadata are missing: anything but zero, which would mean a seeder.
const LEFT_UNKNOWN: u64 = 16 * 1024;

/// What the table is asked.
#[derive(Debug)]
pub(super) enum Request {
    Add(Box<AddTorrent>, oneshot::Sender<Result<TorrentKey, AddError>>),
    Status(TorrentKey, oneshot::Sender<Option<TorrentStatus>>),
    List(oneshot::Sender<Vec<Summary>>),
    Details(TorrentKey, oneshot::Sender<Option<Details>>),
    Facts(oneshot::Sender<EngineFacts>),
    Find(String, oneshot::Sender<Vec<TorrentKey>>),
    Order(TorrentKey, Order, oneshot::Sender<Result<(), ChangeError>>),
    SetRates(Box<Rates>, oneshot::Sender<Result<(), ChangeError>>),
    Rates(oneshot::Sender<Rates>),
    /// Somebody calls for this torrent: with what handshake is he answered?
    Route(InfoHash, Reserved, oneshot::Sender<Option<Handshake>>),
    /// Somebody calls for the torrent of this mask.
    Unmask(Mask, oneshot::Sender<Option<InfoHash>>),
    Visitor(Visitor),
    Stop(oneshot::Sender<()>),
}

/// What is to happen to a torrent.
#[derive(Debug)]
pub(super) enum Order {
    Remove(Content),
    Pause,
    Resume,
    Announce { force: bool },
    Recheck(Check),
    Change(Box<Change>),
    Relocate(PathBuf),
    Rename(usize, PathBuf),
    Peers(Vec<SocketAddr>),
}

#[derive(Debug)]
struct Entry {
    spec: Arc<Spec>,
    state: State,
}

#[derive(Debug)]
enum State {
    Opening,
    Awake(mpsc::Sender<Command>),
    Asleep(Opened),
    /// Its driver died of a fault of ours. It stays in the table, so that nobody adds it to the same end.
    Broken,
}

/// All torrents.
pub(super) struct Table {
    shared: Arc<Shared>,
    torrents: BTreeMap<TorrentKey, Entry>,
    by_hash: BTreeMap<InfoHash, TorrentKey>,
    /// What encrypted handshakes name instead of a hash.
    by_mask: BTreeMap<Mask, InfoHash>,
    openings: JoinSet<(TorrentKey, Option<Opened>)>,
    drivers: JoinSet<(TorrentKey, Result<Rested, JoinError>)>,
}

impl Table {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            torrents: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            by_mask: BTreeMap::new(),
            openings: JoinSet::new(),
            drivers: JoinSet::new(),
        }
    }

    /// The loop, until it is asked to stop or nobody is left to ask.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Request>,
        mut answers: mpsc::Receiver<TrackerEvent>,
    ) {
        let done = loop {
            tokio::select! {
                request = inbox.recv() => match request {
                    None => break None,
                    Some(Request::Stop(done)) => break Some(done),
                    Some(request) => self.serve(request).await,
                },
                Some(answer) = answers.recv() => self.hear_tracker(answer),
                Some(opened) = self.openings.join_next() => self.opened(opened).await,
                Some(rested) = self.drivers.join_next() => self.rested(rested),
            }
        };
        self.stop(answers).await;
        if let Some(done) = done {
            // Who asked may have gone.
            let _ = done.send(());
        }
    }

    async fn stop(mut self, mut answers: mpsc::Receiver<TrackerEvent>) {
        self.shared.stop.cancel();
        let drivers = async { while self.drivers.join_next().await.is_some() {} };
        // Trackers wait for their answers to be taken.
        let listen = async { while answers.recv().await.is_some() {} };
        let goodbyes = async {
            tokio::select! {
                () = self.shared.trackers.stop() => (),
                () = listen => (),
            }
        };
        let both = async { tokio::join!(drivers, goodbyes) };
        if tokio::time::timeout(DRIVERS_STOP, both).await.is_err() {
            error!("not everything ended in time");
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            // Whoever asked may have gone, here and below.
            Request::Add(torrent, answer) => _ = answer.send(self.add(*torrent).await),
            Request::Status(key, answer) => self.status(key, answer),
            Request::Route(hash, reserved, answer) => _ = answer.send(self.route(hash, reserved)),
            Request::Unmask(mask, answer) => _ = answer.send(self.by_mask.get(&mask).copied()),
            Request::Visitor(visitor) => self.take_visitor(visitor),
            Request::List(answer) => _ = answer.send(Vec::new()),
            Request::Details(_, answer) => _ = answer.send(None),
            Request::Facts(answer) => _ = answer.send(EngineFacts::default()),
            Request::Find(_, answer) => _ = answer.send(Vec::new()),
            Request::Order(_, _, answer) => _ = answer.send(Err(ChangeError::Unknown)),
            Request::SetRates(_, answer) => _ = answer.send(Ok(())),
            Request::Rates(answer) => _ = answer.send(Rates::default()),
            Request::Stop(_) => (),
        }
    }

    async fn add(&mut self, torrent: AddTorrent) -> Result<TorrentKey, AddError> {
        let key = TorrentKey(self.torrents.len() as u64);
        let spec = Arc::new(self.spec(key, &torrent));
        for hash in &spec.info_hashes {
            if self.by_hash.contains_key(hash) {
                return Err(AddError::Duplicate(*hash));
            }
        }
        self.by_hash
            .extend(spec.info_hashes.iter().map(|hash| (*hash, key)));
        self.by_mask
            .extend(spec.info_hashes.iter().map(|hash| (Mask::of(*hash), *hash)));
        info!(torrent = %spec.label, info_hash = %spec.identity.info_hash, "added");
        let state = match torrent.source {
            Source::Metainfo(metainfo) if metainfo.info.has_layers() => {
                self.open(&spec, Arc::new(metainfo.info.clone()));
                State::Opening
            }
            Source::Metainfo(_) | Source::Magnet(_) => {
                self.announce(&spec).await;
                self.wake(&spec, None, None)
            }
        };
        self.torrents.insert(key, Entry { spec, state });
        Ok(key)
    }

    fn spec(&self, key: TorrentKey, torrent: &AddTorrent) -> Spec {
        let (v1, v2, label) = match &torrent.source {
            Source::Metainfo(metainfo) => {
                let info = &metainfo.info;
                (
                    info.info_hash_v1(),
                    info.info_hash_v2(),
                    Some(info.name().to_owned()),
                )
            }
            Source::Magnet(magnet) => (magnet.info_hash_v1, magnet.info_hash_v2, magnet.name.clone()),
        };
        let info_hashes: Vec<_> = v1.into_iter().chain(v2.map(|hash| hash.truncated())).collect();
        let info_hash = info_hashes.first().copied().unwrap_or(InfoHash([0; 20]));
        let (bare, only) = match &torrent.source {
            Source::Metainfo(metainfo) => (Some(&metainfo.info).filter(|info| !info.has_layers()), None),
            Source::Magnet(magnet) => (None, magnet.only.clone()),
        };
        Spec {
            bare: bare.map(|info| Arc::new(info.clone())),
            only,
            key,
            identity: Identity {
                info_hash,
                info_hash_v2: v2,
                peer_id: self.shared.peer_id,
                listen_port: self.shared.listen_port,
            },
            label: label.unwrap_or_else(|| info_hash.to_string()),
            root: torrent.root.clone(),
            mode: torrent.mode,
            peers: torrent.peers.clone(),
            info_hashes,
            trackers: torrent.trackers.clone(),
            counters: Arc::new(Counters::new(LEFT_UNKNOWN)),
            gate: {
                let limits = torrent.options.limits;
                Gate::new(self.shared.clock, limits.upload, limits.download)
            },
        }
    }

    fn open(&mut self, spec: &Spec, info: Arc<Info>) {
        let (key, opening) = (spec.key, self.shared.opening(spec, info));
        self.openings.spawn(async move { (key, opening.await) });
    }

    async fn announce(&self, spec: &Spec) {
        if !spec.trackers.is_empty() {
            let swarm = Swarm {
                key: spec.key,
                info_hashes: spec.info_hashes.clone(),
                tiers: spec.trackers.clone(),
                counters: Arc::clone(&spec.counters),
            };
            self.shared.trackers.add(swarm).await;
        }
    }

    /// The files of a torrent were looked at.
    async fn opened(&mut self, opened: Result<(TorrentKey, Option<Opened>), JoinError>) {
        let Ok((key, opened)) = opened else { return };
        let Some(spec) = self.torrents.get(&key).map(|entry| Arc::clone(&entry.spec)) else {
            return;
        };
        let state = match opened {
            None => {
                error!(torrent = %spec.label, "its files could not be looked at");
                State::Broken
            }
            Some(opened) => {
                self.shared.report_opened(&spec, &opened);
                self.announce(&spec).await;
                if opened.have.is_complete() && spec.peers.is_empty() {
                    State::Asleep(opened)
                } else {
                    self.wake(&spec, Some(opened), None)
                }
            }
        };
        self.put(key, state);
    }

    fn put(&mut self, key: TorrentKey, state: State) {
        if let Some(entry) = self.torrents.get_mut(&key) {
            entry.state = state;
        }
    }

    /// Starts a driver.
    fn wake(&mut self, spec: &Arc<Spec>, opened: Option<Opened>, first: Option<Command>) -> State {
        debug!(torrent = %spec.label, "awake");
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        if let Some(first) = first {
            // The channel is new, so there is room.
            let _ = sender.try_send(first);
        }
        let driver = tokio::spawn(Driver::run(
            Arc::clone(&self.shared),
            Arc::clone(spec),
            opened,
            commands,
        ));
        let key = spec.key;
        self.drivers.spawn(async move { (key, driver.await) });
        State::Awake(sender)
    }

    /// A driver gave its torrent back.
    fn rested(&mut self, rested: Result<(TorrentKey, Result<Rested, JoinError>), JoinError>) {
        let Ok((key, rested)) = rested else { return };
        match rested {
            Ok(Rested {
                mut commands,
                opened: Some(opened),
            }) => {
                self.put(key, State::Asleep(opened));
                // Whoever came while it lay down wakes it again.
                while let Ok(command) = commands.try_recv() {
                    self.command(key, command);
                }
            }
            Ok(Rested { opened: None, .. }) => self.put(key, State::Broken),
            Err(fault) => {
                error!(?key, %fault, "a driver died");
                self.put(key, State::Broken);
            }
        }
    }

    /// Hands a command to a torrent's driver, waking one where it sleeps.
    fn command(&mut self, key: TorrentKey, command: Command) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        match std::mem::replace(&mut entry.state, State::Broken) {
            State::Awake(driver) => {
                // A driver with so much to do takes no more visitors for the moment.
                let _ = driver.try_send(command);
                entry.state = State::Awake(driver);
            }
            State::Asleep(opened) => {
                let spec = Arc::clone(&entry.spec);
                let awake = self.wake(&spec, Some(opened), Some(command));
                self.put(key, awake);
            }
            other => entry.state = other,
        }
    }

    fn route(&self, hash: InfoHash, reserved: Reserved) -> Option<Handshake> {
        let entry = self.torrents.get(self.by_hash.get(&hash)?)?;
        // BEP 52: who comes with a hybrid's first hash and speaks v2 is answered with the second. qBittorrent 4.5 without
        // metadata hangs up otherwise.
        let info_hash = match entry.spec.info_hashes.as_slice() {
            [_, second] if reserved.v2() => *second,
            _ => hash,
        };
        let reachable = matches!(entry.state, State::Awake(_) | State::Asleep(_));
        let peer_id = self.shared.peer_id;
        reachable.then_some(Handshake {
            reserved: Reserved::ours(entry.spec.identity.info_hash_v2.is_some()),
            info_hash,
            peer_id,
        })
    }

    fn take_visitor(&mut self, visitor: Visitor) {
        if let Some(key) = self.by_hash.get(&visitor.handshake.info_hash) {
            self.command(*key, Command::Visitor(visitor));
        }
    }

    fn status(&mut self, key: TorrentKey, answer: oneshot::Sender<Option<TorrentStatus>>) {
        let Some(entry) = self.torrents.get(&key) else {
            _ = answer.send(None);
            return;
        };
        match &entry.state {
            State::Awake(driver) => _ = driver.try_send(Command::Status(answer)),
            State::Asleep(opened) => {
                _ = answer.send(Some(status_of(&entry.spec, facts(&entry.spec, opened))));
            }
            State::Opening => _ = answer.send(Some(TorrentStatus::opening(entry.spec.identity.info_hash))),
            State::Broken => _ = answer.send(None),
        }
    }

    fn hear_tracker(&mut self, TrackerEvent { key, url, result, .. }: TrackerEvent) {
        match result {
            Outcome::Failed { reason } => self.shared.event(Event::TrackerFailed { key, url, reason }),
            Outcome::Answered {
                event,
                peers,
                seeders,
                leechers,
                warning,
                ..
            } => {
                let told = peers.len();
                self.shared.event(Event::TrackerAnswered {
                    key,
                    url,
                    event,
                    seeders,
                    leechers,
                    peers: told,
                    warning,
                });
                let asleep = self
                    .torrents
                    .get(&key)
                    .is_some_and(|entry| matches!(entry.state, State::Asleep(_)));
                // Seeders have no use for each other: nobody is woken for a swarm without leechers.
                if told > 0 && !(asleep && leechers == Some(0)) {
                    self.command(key, Command::Peers(peers));
                }
            }
        }
    }
}

/// What is known of a torrent that sleeps.
fn facts(spec: &Spec, opened: &Opened) -> Status {
    let geometry = opened.storage.geometry();
    Status {
        metadata: true,
        have_count: opened.have.count(),
        piece_count: geometry.piece_count(),
        have_bytes: geometry.total_length() - spec.counters.left(),
        total_bytes: geometry.total_length(),
        downloaded: spec.counters.downloaded(),
        uploaded: spec.counters.uploaded(),
        ..Status::default()
    }
}

/// Where visitors are received: a clone stands at every open connection until its handshake is done.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    shared: Arc<Shared>,
    requests: mpsc::WeakSender<Request>,
}

impl Desk {
    pub(super) fn new(shared: &Arc<Shared>, requests: mpsc::WeakSender<Request>) -> Self {
        Self {
            shared: Arc::clone(shared),
            requests,
        }
    }
}

impl Reception for Desk {
    fn admits(&self, address: IpAddr) -> bool {
        !self.shared.is_banned(address)
    }

    async fn answer(&self, hash: InfoHash, reserved: Reserved) -> Option<Handshake> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .upgrade()?
            .send(Request::Route(hash, reserved, answer))
            .await
            .ok()?;
        answered.await.ok()?
    }

    fn secrecy(&self) -> &Secrecy {
        &self.shared.secrecy
    }

    async fn unmask(&self, mask: Mask) -> Option<InfoHash> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .upgrade()?
            .send(Request::Unmask(mask, answer))
            .await
            .ok()?;
        answered.await.ok()?
    }

    async fn receive(&self, line: Line, address: SocketAddr, handshake: Handshake) {
        let (Some(place), Some(requests)) = (self.shared.place(address.ip()), self.requests.upgrade()) else {
            debug!(%address, "turned away: all places are taken");
            return;
        };
        let visitor = Visitor {
            line,
            address,
            handshake,
            place,
        };
        // The table is gone only when the engine stops.
        let _ = requests.send(Request::Visitor(visitor)).await;
    }
}
