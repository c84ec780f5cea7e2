//! A swarm of hundreds in one thread: pure torrents behind links with an uplink, a downlink and a latency each. Uplinks are
//! shared fairly, block by block, among the connections that have something to send. Disks hold no bytes, only which blocks of
//! them are wrong, and messages travel whole: [`crate::world`] is the place for cut frames and bytes on disk.
//!
//! Time goes in grains of five milliseconds. Everything follows from the seed.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a broken rig should stop the test"
)]

mod agenda;
mod links;
mod obey;
pub mod scenes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use seeder::torrent::{Content, FileSpan, Identity, Input, PeerKey, Settings, Status, Torrent, Wishes};
use shared::bitfield::Bitfield;
use shared::geometry::{BLOCK_LENGTH, Block, Geometry, PieceIndex};
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;

use agenda::{Agenda, Event};
use links::{End, Uplink};

/// What the tracker hands out at a time.
const ADDRESSES: usize = 40;

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has everything from the start.
    Seed,
    Honest,
    /// Takes, and unchokes nobody.
    FreeRider,
    /// Claims everything; a part of the blocks that it sends is rubbish.
    Liar,
    /// Claims everything, unchokes, and sends nothing.
    Boaster,
    /// Speaks HTTP: the members that start after it know it as web seed 0.
    Web,
}

/// Bytes a second in each direction, and how long anything takes to the middle of the network.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub up: u64,
    pub down: u64,
    pub latency: Duration,
}

/// Who joins, and how.
#[derive(Clone, Debug)]
pub struct Nature {
    pub role: Role,
    pub link: Link,
    pub joins: Duration,
    pub super_seed: bool,
    pub wishes: Wishes,
}

/// One torrent of the swarm, and what was seen of it.
#[derive(Debug)]
pub struct Member {
    pub nature: Nature,
    torrent: Option<Torrent>,
    running: bool,
    /// How often its process was started.
    life: u32,
    pub started: Moment,
    /// From when to when its process did not run, after its first start.
    pub away: Vec<(Moment, Moment)>,
    pub finished: Option<Moment>,
    pub banned: BTreeSet<IpAddr>,
    /// Pieces with rubbish in them that it stored whole, by the liars that sent rubbish.
    pub spoiled: u32,
    /// Blocks that came from members who miss some themselves, and from others, in bytes.
    pub from_leechers: u64,
    pub from_seeds: u64,
    have: BTreeSet<PieceIndex>,
    wrong: BTreeSet<Block>,
    conns: BTreeMap<PeerKey, usize>,
    uplink: Uplink,
    tick: Option<Moment>,
}

impl Member {
    pub fn torrent(&self) -> Option<&Torrent> {
        self.torrent.as_ref()
    }

    pub fn status(&self) -> Status {
        self.torrent.as_ref().map(Torrent::status).unwrap_or_default()
    }

    /// Seconds that its process ran, up to a moment.
    pub fn there(&self, until: Moment) -> f64 {
        let span = |from: Moment, to: Moment| to.min(until).since(from.min(until)).as_secs_f64();
        let away: f64 = self.away.iter().map(|(from, to)| span(*from, *to)).sum();
        span(self.started, until) - away
    }

    /// The part of the time since it started that its uplink carried blocks, up to a moment.
    pub fn busy(&self, until: Moment) -> f64 {
        self.uplink.busy.as_secs_f64() / until.since(self.started).as_secs_f64().max(0.001)
    }
}

/// The whole swarm.
#[derive(Debug)]
pub struct Swarm {
    pub geometry: Geometry,
    pub members: Vec<Member>,
    pub connections_max: usize,
    bytes: Bytes,
    rubbish: Bytes,
    info: Bytes,
    files: Arc<[FileSpan]>,
    agenda: Agenda,
    conns: Vec<Option<[End; 2]>>,
    dice: SmallRng,
    trace: u64,
}

impl Swarm {
    /// An empty swarm about so many pieces, in two files with padding between them.
    pub fn new(seed: u64, piece_length: u32, pieces: u32) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        // The last piece is a short one.
        let length = u64::from(piece_length) * u64::from(pieces) - 5_000;
        let geometry = Geometry::v1(piece_length.into(), length).expect("a torrent that exists");
        let mut bytes = vec![0; usize::try_from(length).expect("small")];
        dice.fill_bytes(&mut bytes);
        let mut rubbish = vec![0; BLOCK_LENGTH as usize];
        dice.fill_bytes(&mut rubbish);
        let (middle, padding) = (u64::from(pieces / 2) * u64::from(piece_length), 1_000);
        let file = |start, end, padding| FileSpan {
            start,
            length: end - start,
            padding,
        };
        Self {
            geometry,
            members: Vec::new(),
            connections_max: 30,
            bytes: bytes.into(),
            rubbish: rubbish.into(),
            info: Bytes::from_static(&[7; 1_000]),
            files: Arc::new([
                file(0, middle - padding, false),
                file(middle - padding, middle, true),
                file(middle, length, false),
            ]),
            agenda: Agenda::default(),
            conns: Vec::new(),
            dice,
            trace: 0,
        }
    }

    pub fn now(&self) -> Moment {
        self.agenda.now()
    }

    /// What all machines have wanted so far, and when.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    pub fn add(&mut self, nature: Nature) -> usize {
        let node = self.members.len();
        let full = !matches!(nature.role, Role::Honest | Role::FreeRider);
        self.agenda.post(nature.joins, Event::Start { node });
        self.members.push(Member {
            nature,
            torrent: None,
            running: false,
            life: 0,
            started: self.now(),
            away: Vec::new(),
            finished: full.then_some(self.now()),
            banned: BTreeSet::new(),
            spoiled: 0,
            from_leechers: 0,
            from_seeds: 0,
            have: if full {
                self.geometry.pieces().collect()
            } else {
                BTreeSet::new()
            },
            wrong: BTreeSet::new(),
            conns: BTreeMap::new(),
            uplink: Uplink::default(),
            tick: None,
        });
        node
    }

    /// Ends a member's process after this time; after a pause it comes back with what was verified.
    pub fn restart(&mut self, node: usize, after: Duration, pause: Duration) {
        self.leave(node, after);
        self.agenda.post(after + pause, Event::Start { node });
    }

    /// Ends a member's process for good.
    pub fn leave(&mut self, node: usize, after: Duration) {
        self.agenda.post(after, Event::Stop { node });
    }

    /// After this time a member's disk loses so many of its pieces.
    pub fn lose(&mut self, node: usize, after: Duration, pieces: usize) {
        self.agenda.post(after, Event::Lose { node, pieces });
    }

    /// Lets time go on until this holds, or the moment is reached. Says whether it holds.
    pub fn run_until(&mut self, limit: Moment, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) {
            if self.now() >= limit {
                return false;
            }
            for event in self.agenda.next() {
                self.happen(event);
            }
        }
        true
    }

    /// Every honest member that runs or will come has all it wants.
    pub fn honest_are_done(&self) -> bool {
        let mut honest = self
            .members
            .iter()
            .filter(|member| member.nature.role == Role::Honest);
        honest.all(|member| member.finished.is_some())
    }

    /// Where a member listens: each in a network of its own.
    pub fn address(node: usize) -> SocketAddr {
        let [.., high, low] = u32::try_from(node + 1).expect("few members").to_be_bytes();
        ([60 + high, low, 7, 1], 6_881).into()
    }

    fn member(&mut self, node: usize) -> &mut Member {
        self.members.get_mut(node).expect("a member of this swarm")
    }

    fn role(&self, node: usize) -> Role {
        self.members
            .get(node)
            .map_or(Role::Web, |member| member.nature.role)
    }

    fn range(&self, block: Block) -> std::ops::Range<usize> {
        let start = self.geometry.start_of(block.piece()) + u64::from(block.begin());
        let start = usize::try_from(start).expect("small");
        start..start + block.length() as usize
    }

    fn peer_id(node: usize) -> PeerId {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&(node as u64 + 1).to_le_bytes());
        PeerId(id)
    }

    fn content(&self, node: usize) -> Content {
        let mut have = Bitfield::none(&self.geometry);
        for piece in self.members.get(node).into_iter().flat_map(|member| &member.have) {
            have.set(*piece);
        }
        Content {
            geometry: self.geometry.clone(),
            have,
            info: self.info.clone(),
            private: true,
            files: Arc::clone(&self.files),
            trees: shared::merkle::Trees::default(),
        }
    }

    fn torrent(&self, node: usize) -> Torrent {
        let identity = Identity {
            info_hash: InfoHash([9; 20]),
            info_hash_v2: None,
            peer_id: Self::peer_id(node),
            listen_port: 6_881,
        };
        let nature = self.members.get(node).map(|member| member.nature.clone());
        let nature = nature.expect("a member of this swarm");
        let settings = Settings {
            connections_max: self.connections_max,
            disk_credit: 4 << 20,
            super_seed: nature.super_seed,
            wishes: nature.wishes,
            ..Settings::default()
        };
        Torrent::new(self.now(), identity, Some(self.content(node)), settings)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { node } => self.start(node),
            Event::Stop { node } => self.stop(node),
            Event::Lose { node, pieces } => self.lost(node, pieces),
            Event::Tick { node } => {
                let now = self.now();
                if self.member(node).tick == Some(now) {
                    self.member(node).tick = None;
                    self.tell(node, Input::Tick);
                }
            }
            Event::Call { from, address } => self.call(from, address),
            Event::Tracked { node } => self.tracked(node),
            Event::Told { node, life, input } => {
                if self.member(node).life == life {
                    self.tell(node, *input);
                }
            }
            Event::Word { conn, end, message } => self.hear(conn, end, message),
            Event::Left {
                node,
                conn,
                end,
                message,
            } => self.left(node, conn, end, message),
            Event::Closed { conn, end } => self.closed(conn, end),
        }
    }

    fn start(&mut self, node: usize) {
        let now = self.now();
        if self.role(node) == Role::Web {
            self.member(node).running = true;
            return;
        }
        let torrent = self.torrent(node);
        let member = self.member(node);
        member.torrent = Some(torrent);
        match member.away.last_mut() {
            Some((_, until)) => *until = now,
            None => member.started = now,
        }
        member.running = true;
        member.life += 1;
        self.tell(node, Input::Tick);
        self.agenda
            .post(Duration::from_millis(100), Event::Tracked { node });
        if let Some(web) = self
            .members
            .iter()
            .position(|member| member.nature.role == Role::Web)
        {
            self.call_web(node, web);
        }
    }

    fn stop(&mut self, node: usize) {
        let now = self.now();
        let member = self.member(node);
        member.running = false;
        member.life += 1;
        member.away.push((now, Moment::from_secs(u32::MAX.into())));
        member.tick = None;
        member.wrong.clear();
        let conns: VecDeque<usize> = std::mem::take(&mut member.conns).into_values().collect();
        for conn in conns {
            for end in 0..2 {
                self.closed(conn, end);
            }
        }
    }

    fn lost(&mut self, node: usize, count: usize) {
        let member = self.member(node);
        let pieces: Vec<PieceIndex> = member.have.iter().take(count).copied().collect();
        for piece in &pieces {
            member.have.remove(piece);
        }
        self.tell(node, Input::Lost { pieces });
    }

    /// The tracker knows everyone who runs, and names some of them.
    fn tracked(&mut self, node: usize) {
        let count = self.members.len();
        let drawn = rand::seq::index::sample(&mut self.dice, count, ADDRESSES.min(count));
        let runs = |other: &usize| {
            let member = self.members.get(*other);
            member.is_some_and(|member| member.running && member.nature.role != Role::Web)
        };
        let others = drawn.into_iter().filter(|other| *other != node && runs(other));
        let addresses = others.map(Self::address).collect();
        self.tell(node, Input::Peers { addresses });
    }

    fn chance(&mut self, of: f64) -> bool {
        self.dice.random_bool(of)
    }
}
