//! The table of all torrents, and the task that owns it. A torrent that has no peers sleeps here as a few hundred bytes; a
//! handshake or a tracker's answer wakes a driver for it.
//!
//! What is to become of a torrent (rest, go, be looked at again) is noted in its row, and [`Table::settle`] does it as soon
//! as nobody works on it: so no two of these can meet half-way.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shared::id::InfoHash;
use shared::metainfo::{Info, Metainfo};
use shared::peer_wire::{Handshake, Reserved};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, info};

use super::api::{AddError, AddTorrent, Check, Event, Mode, Source, TorrentKey, TorrentStatus};
use super::change::{Change, ChangeError, Content, Rates};
use super::entry::{Answer, Awake, Entry, Looking, State};
use super::moves::Moved;
use super::process::Shared;
use super::spec::{About, Known, Spec, Standing, Sums, Treated};
use super::view::{Details, EngineFacts, Summary};
use crate::discovery::trackers::{self, Outcome, Swarm, Tiers, TrackerEvent};
use crate::disk::Opened;
use crate::driver::{Command, Driver, Rested, Visitor, status_of};
use crate::net::encryption::Mask;
use crate::store::keeper::Keeper;
use crate::torrent::Identity;
use crate::torrent::goals::Copies;

/// Commands that may wait for a driver; more visitors at once are turned away.
const COMMANDS_MAX: usize = 64;

/// Drivers end within their own bounds; this one is for a driver that hangs.
const DRIVERS_STOP: Duration = Duration::from_millis(4_500);

/// Torrents whose files are looked at at the same time. The disks have bounds of their own; this one keeps ten thousand that
/// start together from being ten thousand tasks.
const OPENINGS_MAX: usize = 64;

/// What trackers hear as `left` while a magnet link's metadata are missing: anything but zero, which would mean a seeder.
const LEFT_UNKNOWN: u64 = 16 * 1024;

/// A tracker's words are a stranger's: so many of their characters are kept.
const COMPLAINT_MAX: usize = 200;

/// What the table is asked.
#[derive(Debug)]
pub(super) enum Request {
    Add(Box<AddTorrent>, Answer<TorrentKey, AddError>),
    Status(TorrentKey, oneshot::Sender<Option<TorrentStatus>>),
    List(oneshot::Sender<Vec<Summary>>),
    Details(TorrentKey, oneshot::Sender<Option<Details>>),
    Facts(oneshot::Sender<EngineFacts>),
    Find(String, oneshot::Sender<Vec<TorrentKey>>),
    Order(TorrentKey, Order, Answer<(), ChangeError>),
    SetRates(Box<Rates>, Answer<(), ChangeError>),
    Rates(oneshot::Sender<Rates>),
    /// Somebody calls for this torrent: with what handshake is he answered?
    Route(InfoHash, Reserved, oneshot::Sender<Option<Handshake>>),
    /// Somebody calls for the torrent of this mask.
    Unmask(Mask, oneshot::Sender<Option<InfoHash>>),
    Visitor(Visitor),
    /// Somebody wants files without the peer protocol.
    Borrow(InfoHash, oneshot::Sender<super::lending::Borrow>),
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

/// All torrents.
pub(super) struct Table {
    pub(super) shared: Arc<Shared>,
    pub(super) torrents: BTreeMap<TorrentKey, Entry>,
    pub(super) by_hash: BTreeMap<InfoHash, TorrentKey>,
    /// What encrypted handshakes name instead of a hash.
    pub(super) by_mask: BTreeMap<Mask, InfoHash>,
    next_key: u64,
    /// Torrents whose files are to be looked at.
    to_open: VecDeque<TorrentKey>,
    openings: JoinSet<(TorrentKey, Option<Opened>)>,
    drivers: JoinSet<(TorrentKey, Result<Rested, JoinError>)>,
    pub(super) moves: JoinSet<Moved>,
    pub(super) keeper: Option<Keeper>,
    pub(super) rates: Rates,
    pub(super) chores: super::chores::Chores,
    /// The last root, options and trackers: most torrents have those of the one before.
    last: Option<Treated>,
}

impl Table {
    pub(super) fn new(shared: Arc<Shared>, keeper: Option<Keeper>, rates: Rates) -> Self {
        Self {
            chores: super::chores::Chores::new(&shared),
            shared,
            torrents: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            by_mask: BTreeMap::new(),
            next_key: 0,
            to_open: VecDeque::new(),
            openings: JoinSet::new(),
            drivers: JoinSet::new(),
            moves: JoinSet::new(),
            keeper,
            rates,
            last: None,
        }
    }

    /// The loop, until it is asked to stop or nobody is left to ask.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Request>,
        mut answers: mpsc::Receiver<TrackerEvent>,
    ) {
        let mut chores = tokio::time::interval(super::chores::EVERY);
        chores.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let done = loop {
            self.open_more();
            tokio::select! {
                request = inbox.recv() => match request {
                    None => break None,
                    Some(Request::Stop(done)) => break Some(done),
                    Some(request) => self.serve(request).await,
                },
                Some(answer) = answers.recv() => self.hear_tracker(answer),
                Some(opened) = self.openings.join_next() => self.opened(opened).await,
                Some(rested) = self.drivers.join_next() => self.rested(rested).await,
                Some(moved) = self.moves.join_next() => self.moved(moved).await,
                _ = chores.tick() => self.do_chores().await,
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
        self.save_counters(true);
        if let Some(keeper) = self.keeper.take() {
            keeper.close().await;
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            // Whoever asked may have gone, here and below.
            Request::Add(torrent, answer) => self.add(torrent, answer).await,
            Request::Status(key, answer) => self.status(key, answer),
            Request::List(answer) => _ = answer.send(self.list()),
            Request::Details(key, answer) => self.details(key, answer),
            Request::Facts(answer) => _ = answer.send(self.facts()),
            Request::Find(words, answer) => _ = answer.send(self.find(&words)),
            Request::Order(key, order, answer) => self.order(key, order, answer).await,
            Request::SetRates(rates, answer) => _ = answer.send(self.set_rates(*rates)),
            Request::Rates(answer) => _ = answer.send(self.rates.clone()),
            Request::Route(hash, reserved, answer) => _ = answer.send(self.route(hash, reserved)),
            Request::Unmask(mask, answer) => _ = answer.send(self.by_mask.get(&mask).copied()),
            Request::Visitor(visitor) => self.take_visitor(visitor),
            Request::Borrow(hash, answer) => self.lend_to(hash, answer),
            Request::Stop(_) => (),
        }
    }

    async fn add(&mut self, torrent: Box<AddTorrent>, answer: Answer<TorrentKey, AddError>) {
        let hashes = hashes_of(&torrent.source);
        if let Some((hash, key)) = hashes
            .iter()
            .find_map(|hash| Some((*hash, *self.by_hash.get(hash)?)))
        {
            let removal = self
                .torrents
                .get_mut(&key)
                .and_then(|entry| entry.removal.as_mut());
            match removal {
                Some(removal) => removal.wait(torrent, answer, hash),
                None => _ = answer.send(Err(AddError::Duplicate(hash))),
            }
            return;
        }
        let key = TorrentKey(self.next_key);
        let AddTorrent {
            source,
            root,
            mode,
            trackers,
            peers,
            options,
        } = *torrent;
        let standing = Standing {
            mode,
            peers,
            before: Sums::default(),
            added: self.shared.clock.unix_now(),
            copies: Copies::default(),
            treated: self.treat(&root, options, &trackers),
        };
        let (known, magnet) = known(key, source);
        let spec = self.enter(known, standing);
        info!(torrent = %spec.label, info_hash = %spec.identity.info_hash, "added");
        self.shared.event(Event::Added {
            key,
            info_hash: spec.identity.info_hash,
            name: spec.label.clone(),
        });
        self.remember_new(key, magnet.as_deref());
        self.begin(key).await;
        // A torrent is there for good before anybody is told that it is.
        match &self.keeper {
            None => _ = answer.send(Ok(key)),
            Some(keeper) => {
                let safe = keeper.safe();
                tokio::spawn(async move {
                    let kept = safe.await.unwrap_or_else(|_| Err("it was closed".to_owned()));
                    _ = answer.send(kept.map(|()| key).map_err(AddError::NotKept));
                });
            }
        }
    }

    /// How it is to be treated, sharing what it has in common with the one before.
    pub(super) fn treat(
        &mut self,
        root: &Path,
        options: super::api::Options,
        urls: &[Vec<String>],
    ) -> Treated {
        let same = |tiers: &Tiers| {
            let pairs = || tiers.iter().flatten().zip(urls.iter().flatten());
            tiers.iter().map(Vec::len).eq(urls.iter().map(Vec::len)) && pairs().all(|(a, b)| **a == **b)
        };
        let last = self.last.as_ref();
        let treated = Treated {
            root: match last.filter(|last| *last.root == *root) {
                Some(last) => Arc::clone(&last.root),
                None => root.into(),
            },
            options: match last.filter(|last| *last.options == options) {
                Some(last) => Arc::clone(&last.options),
                None => Arc::new(options),
            },
            trackers: match last.filter(|last| same(&last.trackers)) {
                Some(last) => Arc::clone(&last.trackers),
                None => trackers::tiers(urls),
            },
        };
        self.last = Some(treated.clone());
        treated
    }

    /// Puts a torrent into the table. Nobody works on it yet.
    pub(super) fn enter(&mut self, known: Known, standing: Standing) -> Arc<Spec> {
        let key = known.key;
        self.next_key = self.next_key.max(key.0 + 1);
        let identity = Identity {
            info_hash: InfoHash([0; 20]),
            info_hash_v2: None,
            peer_id: self.shared.peer_id,
            listen_port: self.shared.listen_port,
        };
        let paused = standing.treated.options.paused;
        let spec = Arc::new(Spec::new(known, standing, identity, LEFT_UNKNOWN));
        let hashes = &spec.info_hashes;
        self.by_hash.extend(hashes.iter().map(|hash| (*hash, key)));
        self.by_mask
            .extend(hashes.iter().map(|hash| (Mask::of(*hash), *hash)));
        self.torrents.insert(key, Entry::new(Arc::clone(&spec), paused));
        spec
    }

    /// Sets a torrent going that nobody works on.
    pub(super) async fn begin(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get(&key) else {
            return;
        };
        if entry.spec.info().is_some() {
            let check = entry.spec.options().check;
            self.look(key, check, Vec::new());
        } else {
            self.settle(key).await;
        }
    }

    /// Has the files looked at, when it is their turn.
    pub(super) fn look(&mut self, key: TorrentKey, check: Check, waiting: Vec<Command>) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        entry.state = State::Opening(Box::new(Looking {
            check,
            progress: Arc::default(),
            stop: self.shared.stop.child_token(),
            told: 0,
            waiting,
        }));
        self.to_open.push_back(key);
    }

    /// Takes a torrent out of the line of those to be looked at; `false` if it does not stand there.
    pub(super) fn withdraw(&mut self, key: TorrentKey) -> bool {
        let before = self.to_open.len();
        self.to_open.retain(|waiting| *waiting != key);
        self.to_open.len() < before
    }

    /// This number belongs to a torrent that is not in the table.
    pub(super) fn skip(&mut self, key: TorrentKey) {
        self.next_key = self.next_key.max(key.0 + 1);
    }

    /// Adds a torrent that was here until now.
    pub(super) async fn add_again(&mut self, torrent: Box<AddTorrent>, answer: Answer<TorrentKey, AddError>) {
        Box::pin(self.add(torrent, answer)).await;
    }

    fn open_more(&mut self) {
        while self.openings.len() < OPENINGS_MAX
            && let Some(key) = self.to_open.pop_front()
        {
            let Some(entry) = self.torrents.get(&key) else {
                continue;
            };
            let (State::Opening(looking), Some(info)) = (&entry.state, entry.spec.info()) else {
                continue;
            };
            let how = (looking.check, Arc::clone(&looking.progress), looking.stop.clone());
            let opening = self.shared.opening(&entry.spec, Arc::clone(info), how);
            self.openings.spawn(async move { (key, opening.await) });
        }
    }

    /// The files of a torrent were looked at.
    async fn opened(&mut self, opened: Result<(TorrentKey, Option<Opened>), JoinError>) {
        let Ok((key, opened)) = opened else { return };
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        let interrupted = matches!(&entry.state, State::Opening(looking) if looking.stop.is_cancelled());
        let spec = Arc::clone(&entry.spec);
        let waiting = match opened {
            None => {
                error!(torrent = %spec.label, "its files could not be looked at");
                entry.state = State::Broken("its files could not be looked at".into());
                Vec::new()
            }
            Some(opened) => {
                if !interrupted {
                    self.shared.report_opened(&spec, &opened);
                }
                // Half a look is none: there is another before it goes on.
                let state = if interrupted {
                    State::Parked(opened.have)
                } else {
                    State::Asleep(opened)
                };
                match std::mem::replace(&mut entry.state, state) {
                    State::Opening(looking) => looking.waiting,
                    _ => Vec::new(),
                }
            }
        };
        self.settle(key).await;
        for command in waiting {
            self.command(key, command);
        }
    }

    /// Nobody works on this torrent: does what is to be done with it.
    pub(super) async fn settle(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        if entry.is_busy() || entry.moving {
            return;
        }
        if entry.removal.is_some() {
            self.silence(key).await;
            self.delete(key);
        } else if let Some(check) = entry.recheck.take() {
            self.look(key, check, Vec::new());
        } else if entry.paused {
            if let State::Asleep(opened) = &entry.state
                && entry.spec.mode == Mode::Get
            {
                // Somebody else may do something to its files while it rests; they are looked at when it goes on.
                entry.state = State::Parked(opened.have.clone());
            }
            self.silence(key).await;
        } else {
            self.announce(key).await;
            self.go_on(key);
        }
    }

    /// Wakes a torrent that has something to do.
    fn go_on(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get(&key) else {
            return;
        };
        let spec = Arc::clone(&entry.spec);
        match &entry.state {
            State::Blank => self.wake(&spec, None, None),
            State::Parked(_) => self.look(key, Check::Lazy, Vec::new()),
            State::Asleep(opened) => {
                let live = entry.live();
                let wants = live.status.left_count > 0 && spec.mode == Mode::Get;
                if wants || !spec.peers.is_empty() {
                    let opened = opened.clone();
                    self.wake(&spec, Some(opened), None);
                }
            }
            _ => (),
        }
    }

    pub(super) async fn announce(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        let (spec, tiers) = (&entry.spec, entry.spec.trackers());
        if entry.announced || tiers.is_empty() || matches!(entry.state, State::Broken(_)) {
            return;
        }
        entry.announced = true;
        let swarm = Swarm {
            key,
            info_hashes: spec.info_hashes.clone(),
            tiers,
            counters: Arc::clone(&spec.counters),
        };
        self.shared.trackers.add(swarm).await;
    }

    /// Says goodbye to the trackers.
    pub(super) async fn silence(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        entry.complaint = None;
        if std::mem::take(&mut entry.announced) {
            self.shared.trackers.remove(key).await;
        }
    }

    /// Starts a driver.
    fn wake(&mut self, spec: &Arc<Spec>, opened: Option<Opened>, first: Option<Command>) {
        debug!(torrent = %spec.label, "awake");
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        if let Some(first) = first {
            // The channel is new, so there is room.
            let _ = sender.try_send(first);
        }
        let (key, leave) = (spec.key, self.shared.stop.child_token());
        let driver = tokio::spawn(Driver::run(
            (Arc::clone(&self.shared), Arc::clone(spec)),
            opened,
            commands,
            leave.clone(),
        ));
        self.drivers.spawn(async move { (key, driver.await) });
        if let Some(entry) = self.torrents.get_mut(&key) {
            entry.state = State::Awake(Awake {
                driver: sender,
                leave,
            });
        }
    }

    /// A driver gave its torrent back.
    async fn rested(&mut self, rested: Result<(TorrentKey, Result<Rested, JoinError>), JoinError>) {
        let Ok((key, rested)) = rested else { return };
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        entry.spec.set_live(None);
        let mut late = None;
        entry.state = match rested {
            Ok(Rested {
                commands,
                opened: Some(opened),
                written,
            }) => {
                late = Some(commands);
                // What was being written is looked at before it goes on: the disk may have been slower than the driver.
                if written {
                    State::Parked(opened.have)
                } else {
                    State::Asleep(opened)
                }
            }
            Ok(Rested { opened: None, .. }) => State::Blank,
            Err(fault) => {
                error!(?key, %fault, "a driver died");
                State::Broken("it stopped for a fault of this program".into())
            }
        };
        if self.has_to_settle(key) {
            self.settle(key).await;
        } else {
            self.shared.trackers.want_peers(key).await;
        }
        // Whoever came while it lay down wakes it again.
        while let Some(command) = late.as_mut().and_then(|late| late.try_recv().ok()) {
            self.command(key, command);
        }
    }

    /// A driver that ended by itself needs no other before somebody comes.
    fn has_to_settle(&self, key: TorrentKey) -> bool {
        self.torrents
            .get(&key)
            .is_some_and(|entry| entry.paused || entry.removal.is_some() || entry.recheck.is_some())
    }

    /// Hands a command to a torrent's driver, waking one where it sleeps.
    pub(super) fn command(&mut self, key: TorrentKey, command: Command) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        if entry.paused || entry.removal.is_some() || entry.moving {
            return;
        }
        let spec = Arc::clone(&entry.spec);
        match &mut entry.state {
            // A driver with so much to do takes no more visitors for the moment.
            State::Awake(awake) => _ = awake.driver.try_send(command),
            State::Opening(looking) => looking.wait(command),
            State::Asleep(opened) => {
                let opened = opened.clone();
                self.wake(&spec, Some(opened), Some(command));
            }
            State::Parked(_) => self.look(key, Check::Lazy, vec![command]),
            State::Blank => self.wake(&spec, None, Some(command)),
            State::Broken(_) => (),
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
        let resting = entry.paused || entry.removal.is_some() || entry.moving;
        let reachable = matches!(
            entry.state,
            State::Awake(_) | State::Asleep(_) | State::Parked(_) | State::Blank
        );
        let peer_id = self.shared.peer_id;
        (reachable && !resting).then_some(Handshake {
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
        let entry = self.torrents.get(&key).filter(|entry| entry.removal.is_none());
        let Some(entry) = entry else {
            _ = answer.send(None);
            return;
        };
        match &entry.state {
            State::Awake(awake) => _ = awake.driver.try_send(Command::Status(answer)),
            State::Broken(_) => _ = answer.send(None),
            _ => {
                let live = entry.live();
                let stage = entry.stage(&live);
                let status = status_of(&entry.spec, live.status);
                _ = answer.send(Some(TorrentStatus { stage, ..status }));
            }
        }
    }

    fn hear_tracker(&mut self, TrackerEvent { key, url, result, .. }: TrackerEvent) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        let url = url.to_string();
        match result {
            Outcome::Failed { reason } => {
                if entry.announced {
                    let words: String = reason.chars().take(COMPLAINT_MAX).collect();
                    entry.complaint = Some(words.into());
                }
                self.shared.event(Event::TrackerFailed { key, url, reason });
            }
            Outcome::Answered {
                event,
                peers,
                seeders,
                leechers,
                warning,
                ..
            } => {
                entry.complaint = None;
                let told = peers.len();
                let asleep = matches!(entry.state, State::Asleep(_));
                self.shared.event(Event::TrackerAnswered {
                    key,
                    url,
                    event,
                    seeders,
                    leechers,
                    peers: told,
                    warning,
                });
                // Seeders have no use for each other: nobody is woken for a swarm without leechers.
                if told > 0 && !(asleep && leechers == Some(0)) {
                    self.command(key, Command::Peers(peers));
                }
            }
        }
    }
}

fn hashes_of(source: &Source) -> Vec<InfoHash> {
    let (v1, v2) = match source {
        Source::Metainfo(metainfo) => (metainfo.info.info_hash_v1(), metainfo.info.info_hash_v2()),
        Source::Magnet(magnet) => (magnet.info_hash_v1, magnet.info_hash_v2),
    };
    v1.into_iter().chain(v2.map(|hash| hash.truncated())).collect()
}

/// What the table keeps of a source; of a magnet link also its text.
fn known(key: TorrentKey, source: Source) -> (Known, Option<String>) {
    match source {
        Source::Metainfo(metainfo) => {
            let metainfo = Arc::try_unwrap(metainfo).unwrap_or_else(|shared| Metainfo::clone(&shared));
            let (info, about) = parts(metainfo);
            (Known::of_info(key, info, about), None)
        }
        Source::Magnet(magnet) => (Known::of_magnet(key, &magnet), Some(magnet.to_string())),
    }
}

/// The content, and what its maker wrote beside it.
pub(super) fn parts(metainfo: Metainfo) -> (Arc<Info>, About) {
    let about = About {
        comment: metainfo.comment,
        created_by: metainfo.created_by,
        creation_date: metainfo.creation_date,
        web_seeds: metainfo.web_seeds,
    };
    (Arc::new(metainfo.info), about)
}
