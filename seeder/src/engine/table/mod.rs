//! The table of all torrents, and the task that owns it. A torrent that has no peers sleeps here as a few hundred bytes; a
//! handshake or a tracker's answer wakes a driver for it.
//!
//! What is to become of a torrent (rest, go, be looked at again) is noted in its row, and [`Table::settle`] does it as soon
//! as nobody works on it: so no two of these can meet half-way.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::id::InfoHash;
use shared::peer_wire::{Handshake, Reserved};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error};

use super::api::{AddError, AddTorrent, Check, Mode, Options, TorrentKey, TorrentStatus};
use super::change::{Change, ChangeError, Content, Rates};
use super::entry::{Answer, Awake, Entry, Looking, State};
use super::learning::{Learned, leave_alone};
use super::moves::Moved;
use super::process::Shared;
use super::spec::{Spec, Treated};
use super::view::{Details, EngineFacts, Summary};
use crate::discovery::trackers::TrackerEvent;
use crate::disk::Opened;
use crate::driver::{Command, Driver, Rested, Visitor, status_of};
use crate::net::encryption::Mask;
use crate::store::keeper::Keeper;

/// Commands that may wait for a driver; more visitors at once are turned away.
const COMMANDS_MAX: usize = 64;

/// Drivers end within their own bounds; this one is for a driver that hangs.
const DRIVERS_STOP: Duration = Duration::from_millis(4_500);

/// Torrents whose files are looked at at the same time. The disks have bounds of their own; this one keeps ten thousand that
/// start together from being ten thousand tasks.
const OPENINGS_MAX: usize = 64;

/// What the table is asked.
#[derive(Debug)]
pub(super) enum Request {
    Add(Box<AddTorrent>, Answer<TorrentKey, AddError>),
    Status(TorrentKey, oneshot::Sender<Option<TorrentStatus>>),
    List(oneshot::Sender<Vec<Summary>>),
    Details(TorrentKey, oneshot::Sender<Option<Details>>),
    Options(TorrentKey, oneshot::Sender<Option<(Arc<Options>, usize)>>),
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
    pub(super) next_key: u64,
    /// Torrents whose files are to be looked at.
    to_open: VecDeque<TorrentKey>,
    openings: JoinSet<(TorrentKey, Option<Opened>)>,
    drivers: JoinSet<(TorrentKey, Result<Rested, JoinError>)>,
    pub(super) moves: JoinSet<Moved>,
    pub(super) keeper: Option<Keeper>,
    pub(super) rates: Rates,
    pub(super) chores: super::chores::Chores,
    /// The last root, options and trackers: most torrents have those of the one before.
    pub(super) last: Option<Treated>,
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
        (mut answers, mut learned): (mpsc::Receiver<TrackerEvent>, mpsc::Receiver<Learned>),
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
                Some(learned) = learned.recv() => self.learned(learned).await,
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
            Request::Options(key, answer) => _ = answer.send(self.options(key)),
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
        entry.set_state(State::Opening(Box::new(Looking {
            check,
            progress: Arc::default(),
            stop: self.shared.stop.child_token(),
            told: 0,
            waiting,
        })));
        self.to_open.push_back(key);
    }

    /// Takes a torrent out of the line of those to be looked at; `false` if it does not stand there.
    pub(super) fn withdraw(&mut self, key: TorrentKey) -> bool {
        let before = self.to_open.len();
        self.to_open.retain(|waiting| *waiting != key);
        self.to_open.len() < before
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
                entry.set_state(State::Broken("its files could not be looked at".into()));
                Vec::new()
            }
            Some(opened) => {
                if !interrupted {
                    self.shared.report_opened(&spec, &opened);
                    leave_alone(&self.shared, &spec, &opened);
                }
                // Half a look is none: there is another before it goes on.
                let state = if interrupted {
                    State::Parked(opened.have)
                } else {
                    State::Asleep(opened)
                };
                match entry.set_state(state) {
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
            // Who has it checked wants it as it was.
            entry.spec.set_done(false);
            entry.spec.set_hands_off(false);
            self.look(key, check, Vec::new());
        } else if entry.paused {
            if let State::Asleep(opened) = &entry.state
                && entry.spec.mode == Mode::Get
            {
                // Somebody else may do something to its files while it rests; they are looked at when it goes on.
                let have = opened.have.clone();
                entry.set_state(State::Parked(have));
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
            State::Asleep(opened) if entry.misses() || !spec.peers.is_empty() => {
                let opened = opened.clone();
                self.wake(&spec, Some(opened), None);
            }
            _ => (),
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
            entry.set_state(State::Awake(Awake {
                driver: sender,
                leave,
            }));
        }
    }

    /// A driver gave its torrent back.
    async fn rested(&mut self, rested: Result<(TorrentKey, Result<Rested, JoinError>), JoinError>) {
        let Ok((key, rested)) = rested else { return };
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        entry.spec.set_live(None);
        let shown = rested.as_ref().is_ok_and(|rested| rested.shown);
        let mut late = None;
        let state = match rested {
            Ok(Rested {
                refused: Some(reason),
                ..
            }) => State::Broken(reason.into()),
            Ok(Rested {
                commands,
                opened: Some(opened),
                written,
                ..
            }) => {
                late = Some(commands);
                // What was being written is looked at before it goes on: the disk may have been slower than the driver.
                if written {
                    State::Parked(opened.have)
                } else {
                    State::Asleep(opened)
                }
            }
            Ok(Rested { opened: None, .. }) => entry.unlooked(),
            Err(fault) => {
                error!(?key, %fault, "a driver died");
                State::Broken("it stopped for a fault of this program".into())
            }
        };
        entry.set_state(state);
        if shown {
            // Others have everything by now; to begin anew would only slow them down.
            let mut options = Options::clone(&entry.spec.options());
            options.super_seed = false;
            entry.spec.set_options(Arc::new(options));
            self.remember(key);
        }
        if self.has_to_settle(key) {
            self.settle(key).await;
        } else if self.torrents.get(&key).is_some_and(Entry::misses) {
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
        let info_hash = match entry.spec.info_hashes().as_slice() {
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
            reserved: Reserved::ours(entry.spec.hash_v2().is_some()),
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
}

#[cfg(test)]
mod tests;
