//! `kill -9` of the tracker while members transfer: at random moments, and within milliseconds of a `started`, a counter, a
//! `completed` and a `stopped`. Whoever was not answered says it again, as clients do. Afterwards every account is what the
//! clients themselves have counted, to the byte, and after every start the swarms are whole at the first question.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use shared::announce::Event;
use shared::id::{InfoHash, PeerId};
use tests::fake_member::FakeMember;
use tests::our_tracker::{OurTracker, Setup};
use tests::rig::{HttpAnswer, ask_until, spin};

use crate::album::LIMIT;

const KILLS: u32 = 50;
const MEMBERS: usize = 4;
const TORRENTS: usize = 3;
const CLIENTS: usize = 12;
const SEED: u64 = 0x6b69_6c6c;

/// What is certain about a client's place in its swarm.
const AWAY: u8 = 0;
const HERE: u8 = 1;
const NOBODY_KNOWS: u8 = 2;

/// A moment at which the tracker is to die: in sight of an announce of this kind.
#[derive(Clone, Copy, Debug)]
struct Trap {
    event: Event,
    /// After the answer has come, else after the request has gone.
    answered: bool,
    delay: Duration,
}

/// One client of a member, with what it gave and took before its counters began anew.
#[derive(Debug)]
struct Client {
    fake: FakeMember,
    member: usize,
    torrent: usize,
    here: bool,
    fresh: bool,
    before: (u64, u64),
    lives: u16,
}

impl Client {
    fn total(&self) -> (u64, u64) {
        let says = &self.fake.says;
        (self.before.0 + says.uploaded, self.before.1 + says.downloaded)
    }

    /// Its next life: counters begin anew, in half of the cases under another peer id.
    fn begin_anew(&mut self, dice: &mut SmallRng) {
        self.before = self.total();
        self.lives += 1;
        self.fresh = dice.random_bool(0.5);
        let says = &mut self.fake.says;
        (says.uploaded, says.downloaded, says.left) = (0, 0, 1_000_000_000);
        if self.fresh {
            let PeerId(mut id) = says.peer_id;
            id[18..].copy_from_slice(&self.lives.to_be_bytes());
            says.peer_id = PeerId(id);
        }
    }
}

/// What all threads share.
struct Field {
    tracker: SocketAddr,
    clients: Vec<Mutex<Client>>,
    places: Vec<AtomicU8>,
    /// Written while the tracker is down and until its swarms have been looked at.
    open: RwLock<()>,
    trap: Mutex<Option<Trap>>,
    kill: Mutex<Box<dyn Fn() + Send + Sync>>,
    sprung: Mutex<Sender<Trap>>,
    answered: AtomicU32,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Field {
    /// Announces until there is an answer.
    fn announce(&self, number: usize, client: &mut Client, event: Event, dice: &mut SmallRng) {
        let place = &self.places[number];
        if matches!(event, Event::Started | Event::Stopped) {
            place.store(NOBODY_KNOWS, Ordering::SeqCst);
        }
        ask_until("an answer to an announce", LIMIT, || {
            let answer = self.attempt(&client.fake, event);
            if answer.is_none() && event == Event::Started && client.fresh && dice.random_bool(0.5) {
                // It did not wait with its download for the tracker.
                client.fake.take(dice.random_range(1..100_000));
            }
            answer
        });
        self.answered.fetch_add(1, Ordering::SeqCst);
        match event {
            Event::Started => place.store(HERE, Ordering::SeqCst),
            Event::Stopped => place.store(AWAY, Ordering::SeqCst),
            _ => (),
        }
        client.here = event != Event::Stopped;
    }

    fn attempt(&self, fake: &FakeMember, event: Event) -> Option<()> {
        let _open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let trap = lock(&self.trap).take_if(|trap| trap.event == event);
        let mut stream = fake.request(event).begin(self.tracker).ok()?;
        if let Some(trap) = trap.filter(|trap| !trap.answered) {
            self.spring(trap);
        }
        let answer = HttpAnswer::hear(&mut stream).ok()?;
        if let Some(trap) = trap.filter(|trap| trap.answered) {
            self.spring(trap);
        }
        let text = answer.text();
        assert!(!text.contains("failure reason"), "{text}");
        Some(())
    }

    fn spring(&self, trap: Trap) {
        spin(trap.delay);
        lock(&self.kill)();
        // The test has ended when nobody listens.
        let _ = lock(&self.sprung).send(trap);
    }

    /// One client does one thing that clients do.
    fn live(&self, number: usize, dice: &mut SmallRng) {
        let mut client = lock(&self.clients[number]);
        if !client.here {
            client.begin_anew(dice);
            self.announce(number, &mut client, Event::Started, dice);
            return;
        }
        match dice.random_range(0..10) {
            0 => self.announce(number, &mut client, Event::Stopped, dice),
            1 if client.fake.says.left > 0 => {
                let left = client.fake.says.left;
                client.fake.take(left);
                self.announce(number, &mut client, Event::Completed, dice);
            }
            2..=5 => self.announce(number, &mut client, Event::None, dice),
            _ => {
                let torrent = client.torrent;
                drop(client);
                self.transfer(number, torrent, dice);
            }
        }
    }

    /// Bytes go to another client of the same torrent, if one is free and there.
    fn transfer(&self, number: usize, torrent: usize, dice: &mut SmallRng) {
        let other = dice.random_range(0..self.clients.len());
        if other == number {
            return;
        }
        // Always the lower number first: two that give to each other must not wait for each other.
        let (low, high) = (number.min(other), number.max(other));
        let (mut low, mut high) = (lock(&self.clients[low]), lock(&self.clients[high]));
        if low.torrent == torrent && high.torrent == torrent && low.here && high.here {
            let bytes = dice.random_range(1..1_000_000);
            low.fake.give(&mut high.fake, bytes);
        }
    }
}

/// The tracker, its members and all their clients.
struct Story {
    tracker: OurTracker,
    torrents: Vec<InfoHash>,
    watcher: String,
    watches: u16,
    field: Arc<Field>,
    sprung: Receiver<Trap>,
    _folder: tempfile::TempDir,
}

impl Story {
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Everyone announces much more often than is asked of them, and wants to be answered.
        let tracker = Setup::default().log("info").start(folder.path());
        let torrents: Vec<_> = (0..TORRENTS)
            .map(|number| tracker.register(&format!("holiday {number}")))
            .collect();
        let keys: Vec<_> = (0..MEMBERS)
            .map(|number| tracker.add_member(&format!("member{number}")))
            .collect();
        let watcher = tracker.add_member("watcher");
        let clients = (0..CLIENTS).map(|number| {
            let (member, torrent) = (number % MEMBERS, number % TORRENTS);
            let port = 20_000 + u16::try_from(number).unwrap();
            Mutex::new(Client {
                fake: tracker.client(&keys[member], torrents[torrent], &format!("c{number}"), port),
                member,
                torrent,
                here: false,
                fresh: true,
                before: (0, 0),
                lives: 0,
            })
        });
        let (sender, sprung) = channel();
        let field = Arc::new(Field {
            tracker: tracker.address(),
            clients: clients.collect(),
            places: (0..CLIENTS).map(|_| AtomicU8::new(AWAY)).collect(),
            open: RwLock::default(),
            trap: Mutex::default(),
            kill: Mutex::new(Box::new(tracker.killer())),
            sprung: Mutex::new(sender),
            answered: AtomicU32::new(0),
            over: AtomicBool::new(false),
        });
        Self {
            tracker,
            torrents,
            watcher,
            watches: 0,
            field,
            sprung,
            _folder: folder,
        }
    }

    /// The tracker dies as the dice want it, and is there again.
    fn kill(&mut self, number: u32, dice: &mut SmallRng) {
        let event = match number % 5 {
            0 => None,
            1 => Some(Event::Started),
            2 => Some(Event::None),
            3 => Some(Event::Stopped),
            _ => Some(Event::Completed),
        };
        if let Some(event) = event {
            let trap = Trap {
                event,
                answered: dice.random_bool(0.5),
                delay: Duration::from_micros(dice.random_range(0..4_000)),
            };
            *lock(&self.field.trap) = Some(trap);
            self.sprung
                .recv_timeout(LIMIT)
                .expect("somebody walks into the trap");
        } else {
            let goal = self.field.answered.load(Ordering::SeqCst) + dice.random_range(1..200);
            ask_until("more announces", LIMIT, || {
                (self.field.answered.load(Ordering::SeqCst) >= goal).then_some(())
            });
            spin(Duration::from_micros(dice.random_range(0..10_000)));
        }
        let field = Arc::clone(&self.field);
        self.tracker.kill();
        // Nobody asks before us: what is seen now, the tracker knew when it opened its door.
        let _closed = field.open.write().unwrap_or_else(PoisonError::into_inner);
        self.tracker.start();
        *lock(&field.kill) = Box::new(self.tracker.killer());
        for torrent in 0..self.torrents.len() {
            self.look(number, torrent);
        }
    }

    /// A newcomer is given everybody who certainly is there, and nobody who certainly is not.
    fn look(&mut self, number: u32, torrent: usize) {
        self.watches += 1;
        let newcomer = self.tracker.client(
            &self.watcher,
            self.torrents[torrent],
            &format!("w{}", self.watches),
            40_000 + self.watches,
        );
        let reply = newcomer.announce(self.field.tracker, Event::Started);
        let given: BTreeSet<u16> = reply.peers.iter().map(SocketAddr::port).collect();
        let with_place = |places: &[u8]| -> BTreeSet<u16> {
            (0..CLIENTS)
                .filter(|client| client % TORRENTS == torrent)
                .filter(|client| places.contains(&self.field.places[*client].load(Ordering::SeqCst)))
                .map(|client| 20_000 + u16::try_from(client).unwrap())
                .collect()
        };
        let (certain, possible) = (with_place(&[HERE]), with_place(&[HERE, NOBODY_KNOWS]));
        assert!(
            given.is_superset(&certain) && given.is_subset(&possible),
            "after kill {number}, torrent {torrent}: given {given:?}, certainly there {certain:?}, possibly {possible:?}\n{}",
            self.warnings()
        );
        let counted = reply.complete.unwrap_or_default() + reply.incomplete.unwrap_or_default();
        assert_eq!(
            counted as usize,
            given.len() + 1,
            "after kill {number}: counts and peers differ"
        );
        newcomer.announce(self.field.tracker, Event::Stopped);
    }

    /// What the tracker has warned about, in all its lives: a disk that stood still explains much.
    fn warnings(&self) -> String {
        let said = self.tracker.said();
        let warnings: Vec<_> = said
            .iter()
            .filter(|line| line.contains("WARN") && !line.contains("public_url"))
            .cloned()
            .collect();
        warnings.join("\n")
    }

    /// What the clients of each member have counted.
    fn own_totals(&self) -> Vec<(u64, u64)> {
        let mut totals = vec![(0, 0); MEMBERS];
        for client in &self.field.clients {
            let client = lock(client);
            let (up, down) = client.total();
            totals[client.member].0 += up;
            totals[client.member].1 += down;
        }
        totals
    }

    #[track_caller]
    fn check_accounts(&self, when: &str) {
        let accounts: Vec<_> = (0..MEMBERS)
            .map(|number| self.tracker.account(&format!("member{number}")))
            .collect();
        assert_eq!(
            accounts,
            self.own_totals(),
            "{when} (seed {SEED})\n{}",
            self.warnings()
        );
    }
}

#[test]
fn fifty_kills_of_the_tracker_lose_no_byte_and_count_none_twice() {
    let mut story = Story::begin();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let field = Arc::clone(&story.field);
            thread::spawn(move || {
                let mut dice = SmallRng::seed_from_u64(SEED + thread);
                while !field.over.load(Ordering::SeqCst) {
                    let mine = (0..CLIENTS as u64).filter(|number| number % 4 == thread);
                    for number in mine {
                        field.live(usize::try_from(number).unwrap(), &mut dice);
                    }
                }
            })
        })
        .collect();
    let mut dice = SmallRng::seed_from_u64(SEED);
    for number in 0..KILLS {
        story.kill(number, &mut dice);
    }
    story.field.over.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    for number in 0..CLIENTS {
        let mut client = lock(&story.field.clients[number]);
        if client.here {
            story
                .field
                .announce(number, &mut client, Event::Stopped, &mut dice);
        }
    }
    let answered = story.field.answered.load(Ordering::SeqCst);
    let moved: u64 = story.own_totals().iter().map(|(up, _)| up).sum();
    println!("{answered} announces were answered between {KILLS} kills, {moved} bytes given");
    assert!(moved > 1_000_000, "nothing was shown");

    story.check_accounts("after the last farewell");
    story.tracker.kill();
    story.tracker.start();
    story.check_accounts("after one more kill");
    story.tracker.stop();
    story.check_accounts("of a tracker that does not run");
    story.tracker.start();
    story.check_accounts("after a stop and a start");
}
