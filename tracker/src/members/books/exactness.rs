//! The promise of DESIGN decision 11, on the real swarms, journal, flusher and snapshot, with a database in memory: for any
//! sequence of announces, kills and restarts, no account holds more than its clients reported; and once a session has gone on,
//! or its `stopped` was answered, nothing that it reported since its baseline is missing.

use std::collections::BTreeMap;
use std::future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use shared::announce::{AnnounceRequest, Event};
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::flush::{Desk, Flusher, Vault};
use crate::clock::Clock;
use crate::members::ids::{Date, MemberId, TorrentId, Which};
use crate::members::journal::Journal;
use crate::members::journal::disk::Disk;
use crate::members::journal::record::RECORD_BYTES;
use crate::members::ledger::{AccountDelta, Changes, SessionKey};
use crate::members::rules::{Mark, Tariff};
use crate::members::store::StoreError;
use crate::snapshot::{Mode, Saved};
use crate::swarm::private::{MemberAnnounced, MemberVisit, PrivateSwarms};
use crate::swarm::{Policy, SHARD_COUNT, SwarmLimits};

type Account = (MemberId, TorrentId);

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Commit {
    #[default]
    Done,
    Failed,
    /// It is written, and nobody is told.
    Unknown,
    /// It hangs, before or after it is written, until the process is killed.
    Hangs {
        written: bool,
    },
}

/// The database.
#[derive(Debug, Default)]
struct Tables {
    generation: u64,
    sessions: BTreeMap<SessionKey, (Mark, u64)>,
    accounts: BTreeMap<Account, AccountDelta>,
    next: Commit,
}

impl Tables {
    fn apply(&mut self, changes: &Changes, generation: u64) {
        assert!(generation > self.generation, "{generation} was written before");
        self.generation = generation;
        for key in &changes.forgotten {
            self.sessions.remove(key);
        }
        for (key, mark) in &changes.sessions {
            self.sessions.insert(*key, (*mark, generation));
        }
        for (account, delta) in &changes.accounts {
            let sum = self.accounts.entry(*account).or_default();
            sum.uploaded += delta.uploaded;
            sum.downloaded += delta.downloaded;
            sum.upload_credit += delta.upload_credit;
            sum.completions += delta.completions;
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Shelf {
    tables: Arc<Mutex<Tables>>,
    hung: Arc<Notify>,
}

impl Vault for Shelf {
    async fn generation(&self) -> Result<u64, StoreError> {
        Ok(self.tables.lock().unwrap().generation)
    }

    async fn write(&self, changes: &Changes, generation: u64) -> Result<(), StoreError> {
        let commit = {
            let mut tables = self.tables.lock().unwrap();
            let commit = std::mem::take(&mut tables.next);
            if !matches!(commit, Commit::Failed | Commit::Hangs { written: false }) {
                tables.apply(changes, generation);
            }
            commit
        };
        match commit {
            Commit::Done => Ok(()),
            Commit::Failed | Commit::Unknown => Err(StoreError::Busy {
                path: "tables".into(),
            }),
            Commit::Hangs { .. } => {
                self.hung.notify_one();
                future::pending().await
            }
        }
    }
}

/// What one of a client's two counters has come to, as the client knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// All that it has reported since its baseline.
    reported: u64,
    /// The highest report since it began anew.
    high: u64,
    /// What of it is certain to survive a kill, as far as the client can know.
    safe: u64,
    /// What `reported` was when it began anew.
    before: u64,
    /// What may be missing: until it goes on, and for good.
    gap: u64,
    lost: u64,
}

impl Tally {
    fn report(&mut self, value: u64, anew: bool) {
        if anew {
            self.lost += self.gap;
            self.gap = 0;
            self.before = self.reported;
            self.high = 0;
        }
        if value >= self.high {
            self.reported += value - self.high;
            self.high = value;
            self.gap = 0;
        } else {
            self.gap = self.gap.min(self.high - value);
        }
    }

    /// First seen in the middle of its work: a baseline. After a rumour nobody can tell which of two it is.
    fn sight(&mut self, value: u64, rumoured: bool) {
        if rumoured {
            self.reported += value - self.high;
            self.lost = self.reported;
            self.before = self.reported;
            self.gap = 0;
        }
        self.high = value;
    }

    fn least(&self) -> u64 {
        self.reported - self.gap - self.lost
    }

    /// What is not safe may be gone: for good where it began anew since, else until it goes on.
    fn kill(&mut self) {
        if self.safe < self.before - self.lost {
            self.lost = self.before - self.safe;
        }
        self.gap = self.reported - self.lost - self.safe;
    }
}

/// A client of a member, which keeps its peer id.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug)]
struct Client {
    key: SessionKey,
    up: u64,
    down: u64,
    left: u64,
    /// It must say `started` until that is answered.
    starts: bool,
    /// It began anew and has no answer since.
    fresh: bool,
    /// It began anew and nobody has heard of it.
    anew: bool,
    /// The tracker has heard of it; and will know it after a kill.
    known: bool,
    kept: bool,
    /// The tracker may have heard of it before a kill.
    rumoured: bool,
    tallies: [Tally; 2],
    /// An answered announce had bytes missing, and a later one had none.
    was_leecher: bool,
    completed: u32,
}

impl Client {
    fn new(number: u8, (member, torrent): (u32, u32), starts: bool) -> Self {
        Self {
            key: SessionKey {
                torrent: TorrentId(torrent),
                member: MemberId(member),
                peer_id: PeerId([number; 20]),
            },
            up: if starts { 0 } else { 1_000 },
            down: if starts { 0 } else { 500 },
            left: 9,
            starts,
            fresh: false,
            anew: false,
            known: false,
            kept: false,
            rumoured: false,
            tallies: [Tally::default(); 2],
            was_leecher: false,
            completed: 0,
        }
    }

    /// The first comes from elsewhere in the middle of its work; the last two share an account.
    fn all() -> Vec<Self> {
        vec![
            Self::new(1, (1, 1), false),
            Self::new(2, (2, 1), true),
            Self::new(3, (3, 2), true),
            Self::new(4, (3, 2), true),
        ]
    }

    fn begin_anew(&mut self) {
        (self.up, self.down) = (0, 0);
        self.starts = true;
        self.fresh = true;
        self.anew = true;
    }

    /// Moves bytes. Who begins anew says so before: nobody could tell it from one who goes on.
    fn transfer(&mut self, up: u64, down: u64, fall: u64) {
        if self.fresh && self.rumoured {
            return;
        }
        self.up += up;
        self.down += down;
        if self.kept && !self.starts {
            self.down -= fall.min(self.down);
        }
    }

    /// Its report has reached the tracker.
    fn reported(&mut self, event: Event) {
        for (tally, value) in self.tallies.iter_mut().zip([self.up, self.down]) {
            if self.known || event == Event::Started {
                tally.report(value, self.anew && self.rumoured);
            } else {
                tally.sight(value, self.rumoured);
            }
        }
        self.known = true;
        self.rumoured = true;
        self.anew = false;
    }

    fn answered(&mut self, event: Event, entered: bool) {
        if entered {
            self.secure();
        }
        if self.left == 0 && self.was_leecher {
            self.completed = 1;
        }
        self.was_leecher |= self.left > 0;
        self.fresh = false;
        // A pause: whoever comes back says so. A client whose counter falls by itself is one that begins anew then.
        self.starts = event == Event::Stopped;
        let [_, down] = self.tallies;
        if self.starts && self.down < down.high {
            self.begin_anew();
        }
    }

    /// All that it has reported is written down.
    fn secure(&mut self) {
        for tally in &mut self.tallies {
            tally.safe = tally.safe.max(tally.least());
        }
        self.kept |= self.known;
    }

    fn kill(&mut self) {
        self.known = self.kept;
        self.tallies.iter_mut().for_each(Tally::kill);
    }
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A client moves bytes and announces. With `torn` the tracker is killed when so many bytes of the journal are written.
    Announce {
        client: usize,
        bytes: [u64; 2],
        fall: u64,
        says: Says,
        torn: Option<usize>,
    },
    /// A client begins anew with the same peer id.
    Anew {
        client: usize,
    },
    Flush {
        snapshot: bool,
        commit: Commit,
    },
    Kill,
    Wait {
        secs: u32,
    },
}

#[derive(Clone, Copy, Debug)]
enum Says {
    Nothing,
    Completed,
    Stopped,
}

fn step() -> impl Strategy<Value = Step> {
    let says = prop_oneof![4 => Just(Says::Nothing), 1 => Just(Says::Completed), 2 => Just(Says::Stopped)];
    let fall = prop_oneof![6 => Just(0), 1 => 1..50_u64];
    let torn = prop_oneof![8 => Just(None), 1 => (0..=RECORD_BYTES).prop_map(Some)];
    let announce = (0..4_usize, [0..300_u64, 0..300_u64], fall, says, torn).prop_map(
        |(client, bytes, fall, says, torn)| Step::Announce {
            client,
            bytes,
            fall,
            says,
            torn,
        },
    );
    let commit = prop_oneof![
        4 => Just(Commit::Done),
        1 => Just(Commit::Failed),
        1 => Just(Commit::Unknown),
        1 => any::<bool>().prop_map(|written| Commit::Hangs { written }),
    ];
    prop_oneof![
        12 => announce,
        2 => (0..4_usize).prop_map(|client| Step::Anew { client }),
        3 => (prop::bool::weighted(0.3), commit).prop_map(|(snapshot, commit)| Step::Flush { snapshot, commit }),
        2 => Just(Step::Kill),
        1 => (1..10_000_u32).prop_map(|secs| Step::Wait { secs }),
    ]
}

/// A tracker, its disk, and its clients.
struct World {
    runtime: Runtime,
    folder: tempfile::TempDir,
    disk: Disk,
    shelf: Shelf,
    clients: Vec<Client>,
    swarms: Arc<PrivateSwarms>,
    journal: Arc<Journal>,
    flusher: Option<Flusher<Shelf>>,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let (disk, swarms) = (Disk::default(), new_swarms());
        let clock = runtime.block_on(async { Clock::start_at(Date(1_700_000_000)) });
        let mut world = Self {
            runtime,
            folder: tempfile::tempdir().unwrap(),
            journal: Journal::on(&disk, 1),
            disk,
            shelf: Shelf::default(),
            clients: Client::all(),
            swarms,
            flusher: None,
            clock,
        };
        world.start();
        world
    }

    fn time(&self) -> (Moment, Date) {
        self.runtime
            .block_on(async { (self.clock.now(), self.clock.date()) })
    }

    /// As `start::bring_back` does it, with a disk and a database in memory.
    fn start(&mut self) {
        let (_, date) = self.time();
        self.clock = self.runtime.block_on(async { Clock::start_at(date) });
        let now = Moment::START;
        self.swarms = new_swarms();
        let swarms = &self.swarms;
        let (generation, sessions) = {
            let mut tables = self.shelf.tables.lock().unwrap();
            tables.next = Commit::Done;
            (tables.generation, tables.sessions.clone())
        };
        let mut newer = None;
        if let Some(saved) = Saved::find(self.folder.path(), Mode::Private) {
            assert!(saved.head.generation <= generation);
            newer = Some(saved.head.generation);
            let age = date.since(saved.head.date);
            saved
                .read(|bytes| swarms.restore(bytes, age, now, date).map(drop))
                .unwrap();
        }
        for (key, (mark, _)) in sessions
            .iter()
            .filter(|(_, (_, written))| newer.is_none_or(|newer| *written > newer))
        {
            swarms.open_session(*key, *mark);
        }
        let report = self.disk.read_segments(generation, |entry| {
            swarms.replay(&entry, now, date, Tariff::default());
        });
        let segment = generation.max(report.last_segment.unwrap_or_default()) + 1;
        self.journal = Journal::on(&self.disk, segment);
        let desk = Desk {
            swarms: Arc::clone(swarms),
            journal: Arc::clone(&self.journal),
            folder: self.folder.path().to_owned(),
            clock: self.clock,
            figures: Arc::default(),
        };
        self.flusher = Some(Flusher::new(self.shelf.clone(), desk, segment));
        self.flush(false, Commit::Done);
    }

    fn kill(&mut self, torn: Option<usize>) {
        let left = match torn {
            Some(bytes) => self.disk.torn(bytes),
            None => self.disk.copy(),
        };
        self.flusher = None;
        // The writer of the dead process writes on, into what nobody will read.
        self.disk.set(|contents| contents.hangs = false);
        self.disk = left;
        self.clients.iter_mut().for_each(Client::kill);
        self.start();
    }

    fn announce(&mut self, number: usize, says: Says, torn: Option<usize>) {
        let client = &mut self.clients[number];
        let event = match says {
            _ if client.starts => Event::Started,
            Says::Stopped => Event::Stopped,
            Says::Completed if client.left > 0 => {
                client.left = 0;
                Event::Completed
            }
            Says::Nothing | Says::Completed => Event::None,
        };
        let client = self.clients[number].clone();
        self.clients[number].reported(event);
        self.disk.set(|contents| contents.hangs = torn.is_some());
        let announced = visit(&self.swarms, &self.journal, &client, event, self.time());
        if let Some(bytes) = torn {
            self.kill(announced.entered.then_some(bytes));
            return;
        }
        if announced.entered {
            self.journal.settle();
            self.journal.rest();
        }
        self.clients[number].answered(event, announced.entered);
    }

    fn flush(&mut self, snapshot: bool, commit: Commit) {
        self.shelf.tables.lock().unwrap().next = commit;
        let Some(mut flusher) = self.flusher.take() else {
            return;
        };
        let hung = Arc::clone(&self.shelf.hung);
        let outcome = self.runtime.block_on(async {
            tokio::select! {
                biased;
                result = flusher.flush(snapshot) => Some(result.is_ok()),
                () = hung.notified() => None,
            }
        });
        self.flusher = Some(flusher);
        self.journal.rest();
        match outcome {
            Some(true) => self.clients.iter_mut().for_each(Client::secure),
            Some(false) => (),
            None => self.kill(None),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Announce {
                client: number,
                bytes: [up, down],
                fall,
                says,
                torn,
            } => {
                self.clients[number].transfer(up, down, fall);
                self.announce(number, says, torn);
            }
            Step::Anew { client } => self.clients[client].begin_anew(),
            Step::Flush { snapshot, commit } => self.flush(snapshot, commit),
            Step::Kill => self.kill(None),
            Step::Wait { secs } => {
                self.runtime
                    .block_on(tokio::time::advance(Duration::from_secs(secs.into())));
                let (now, date) = self.time();
                for shard in 0..SHARD_COUNT {
                    let (timeout, session_age) =
                        (Duration::from_secs(3_900), Duration::from_secs(60 * 86_400));
                    self.swarms.sweep_shard(shard, now, date, timeout, session_age);
                }
            }
        }
    }

    /// Compares the accounts with what the clients know.
    fn check(&mut self) {
        self.flush(false, Commit::Done);
        let tables = self.shelf.tables.lock().unwrap();
        let mut owners: BTreeMap<Account, Vec<&Client>> = BTreeMap::new();
        for client in &self.clients {
            owners
                .entry((client.key.member, client.key.torrent))
                .or_default()
                .push(client);
        }
        for (account, clients) in owners {
            let sum = tables.accounts.get(&account).copied().unwrap_or_default();
            for (place, credit) in [sum.uploaded, sum.downloaded].into_iter().enumerate() {
                let most: u64 = clients.iter().map(|client| client.tallies[place].reported).sum();
                let least: u64 = clients.iter().map(|client| client.tallies[place].least()).sum();
                assert!(
                    (least..=most).contains(&credit),
                    "{account:?} {place}: {credit} is not in {least}..={most}: {clients:#?}"
                );
            }
            assert_eq!(sum.upload_credit, sum.uploaded);
            let completed: u32 = clients.iter().map(|client| client.completed).sum();
            let able = clients
                .iter()
                .filter(|client| client.left == 0 && client.rumoured)
                .count();
            assert!(
                (completed..=u32::try_from(able).unwrap()).contains(&sum.completions),
                "{sum:?} {clients:#?}"
            );
        }
    }
}

fn new_swarms() -> Arc<PrivateSwarms> {
    Arc::new(PrivateSwarms::new(SwarmLimits::default(), [1, 2, 3, 4]))
}

fn visit(
    swarms: &PrivateSwarms,
    journal: &Journal,
    client: &Client,
    event: Event,
    (now, date): (Moment, Date),
) -> MemberAnnounced {
    let mut request = AnnounceRequest::new(InfoHash([9; 20]), client.key.peer_id, 6881);
    (request.uploaded, request.downloaded, request.left) = (client.up, client.down, client.left);
    request.event = event;
    let [number, ..] = client.key.peer_id.0;
    let visit = MemberVisit {
        now,
        date,
        request: &request,
        member: client.key.member,
        torrent: client.key.torrent,
        which: Which::First,
        sender: [198, 51, 100, number].into(),
        reached: None,
        policy: &Policy::default(),
        tariff: Tariff::default(),
        warning: None,
    };
    swarms.announce(&visit, journal, &mut SmallRng::seed_from_u64(1), &mut Vec::new())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_account_holds_more_than_was_reported_and_nothing_is_missing_of_who_goes_on(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.check();
        // After one more kill nothing that is written down may be gone.
        world.kill(None);
        world.check();
    }
}
