//! A whole swarm in one thread: pure torrents, an agenda of things to come, and one seeded die. Links have latency and
//! bandwidth, cut messages at random places and sometimes break; disks take their time. Time moves only in [`World::step`].
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a broken rig should stop the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use seeder::torrent::{Content, Direction, Identity, Input, Output, PeerKey, Settings, Torrent};
use sha1::{Digest, Sha1};
use shared::bitfield::Bitfield;
use shared::geometry::{Block, Geometry, PieceIndex};
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;
use shared::peer_wire::{Handshake, Message, Reserved, frame_length, frame_limit};

/// What all the torrents of one world are about.
#[derive(Debug)]
pub struct Album {
    pub geometry: Geometry,
    pub bytes: Vec<u8>,
    /// Stands for the `info` dictionary: only its hash matters to the machines.
    pub info: Bytes,
}

impl Album {
    /// Random bytes in pieces of this length.
    pub fn random(piece_length: u32, length: usize, dice: &mut impl Rng) -> Self {
        let mut bytes = vec![0; length];
        dice.fill_bytes(&mut bytes);
        let geometry = Geometry::v1(piece_length.into(), length as u64).expect("a torrent that exists");
        let mut info = vec![0; 50_000];
        dice.fill_bytes(&mut info);
        Self {
            geometry,
            bytes,
            info: info.into(),
        }
    }

    fn info_hash(&self) -> InfoHash {
        InfoHash::from_slice(&Sha1::digest(&self.info)).expect("twenty bytes")
    }

    fn range(&self, piece: PieceIndex) -> std::ops::Range<usize> {
        let start = usize::try_from(self.geometry.start_of(piece)).expect("small");
        start..start + self.geometry.length_of(piece) as usize
    }

    fn truth(&self, block: Block) -> &[u8] {
        let start = self.range(block.piece()).start + block.begin() as usize;
        self.bytes
            .get(start..start + block.length() as usize)
            .expect("a block of this torrent")
    }
}

/// How a torrent of the world behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has everything from the start.
    Seed,
    Leecher,
    /// Knows only the info-hash.
    Magnet,
    /// Claims everything and sends rubbish.
    Liar,
}

/// One torrent, its disk, and what was seen of it.
#[derive(Debug)]
pub struct Node {
    pub role: Role,
    pub torrent: Torrent,
    pub disk: Vec<u8>,
    pub finished: Option<Moment>,
    /// Whom it banned.
    pub banned: BTreeSet<IpAddr>,
    /// Pieces with rubbish in them that it stored whole.
    pub spoiled: usize,
    pub running: bool,
    /// How often its process was started.
    life: u32,
    have: BTreeSet<PieceIndex>,
    storing: u64,
    conns: BTreeMap<PeerKey, usize>,
    /// When its uplink is free again.
    free_at: Moment,
    /// The tick that stands in the agenda.
    tick: Option<Moment>,
}

/// One end of a connection.
#[derive(Debug)]
struct End {
    node: usize,
    key: PeerKey,
    received: BytesMut,
    /// When the last bytes to this end will be there: nothing overtakes.
    arrived: Moment,
}

#[derive(Debug)]
enum Event {
    Tick {
        node: usize,
    },
    Call {
        from: usize,
        address: SocketAddr,
    },
    Bytes {
        conn: usize,
        end: usize,
        bytes: Bytes,
    },
    Sent {
        conn: usize,
        end: usize,
        bytes: u64,
    },
    Closed {
        conn: usize,
        end: usize,
    },
    /// What a process has begun, only that process hears the end of: `life` counts them.
    Stored {
        node: usize,
        life: u32,
        bytes: u64,
    },
    Hashed {
        node: usize,
        life: u32,
        piece: PieceIndex,
    },
    Opened {
        node: usize,
        life: u32,
    },
    Failed {
        node: usize,
        life: u32,
        piece: PieceIndex,
    },
    Ready {
        node: usize,
        life: u32,
    },
    Tracked {
        node: usize,
    },
    Cut {
        conn: usize,
    },
    Stop {
        node: usize,
    },
    Start {
        node: usize,
    },
}

/// What may go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub latency_max: Duration,
    /// Bytes a second of every uplink.
    pub uplink: u64,
    /// Chance that a connection breaks within its first minute.
    pub breaks: f64,
    /// Bytes of disk credit of every torrent.
    pub disk_credit: u64,
    /// Chance that a write fails; the disk is ready again a few seconds later.
    pub disk_fails: f64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            latency_max: Duration::from_millis(80),
            uplink: 2_000_000,
            breaks: 0.1,
            disk_credit: 4 * 1024 * 1024,
            disk_fails: 0.0,
        }
    }
}

/// The world of one album.
#[derive(Debug)]
pub struct World {
    pub now: Moment,
    pub album: Album,
    pub nodes: Vec<Node>,
    weather: Weather,
    /// The second half of the key is the order of posting, so ties never depend on luck.
    agenda: BTreeMap<(Moment, u64), Event>,
    posted: u64,
    conns: Vec<Option<[End; 2]>>,
    dice: SmallRng,
    trace: Sha1,
}

impl World {
    /// An empty world: everything that happens in it follows from the seed.
    pub fn new(seed: u64, weather: Weather) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let length = dice.random_range(500_000..1_500_000);
        let album = Album::random(32_768, length, &mut dice);
        Self {
            now: Moment::START,
            album,
            nodes: Vec::new(),
            weather,
            agenda: BTreeMap::new(),
            posted: 0,
            conns: Vec::new(),
            dice,
            trace: Sha1::new(),
        }
    }

    /// Adds a torrent that starts within the first seconds.
    pub fn add(&mut self, role: Role) -> usize {
        let node = self.nodes.len();
        let full = matches!(role, Role::Seed | Role::Liar);
        let disk = if full {
            self.album.bytes.clone()
        } else {
            vec![0; self.album.bytes.len()]
        };
        let have = if full {
            self.album.geometry.pieces().collect()
        } else {
            BTreeSet::new()
        };
        self.nodes.push(Node {
            role,
            torrent: self.torrent(node, None),
            disk,
            finished: full.then_some(self.now),
            banned: BTreeSet::new(),
            spoiled: 0,
            running: false,
            life: 0,
            have,
            storing: 0,
            conns: BTreeMap::new(),
            free_at: self.now,
            tick: None,
        });
        let delay = self.dice.random_range(0..3_000);
        self.post(Duration::from_millis(delay), Event::Start { node });
        node
    }

    /// Ends a torrent's process after this time and starts it again later; what was verified is on its disk.
    pub fn restart(&mut self, node: usize, after: Duration, pause: Duration) {
        self.post(after, Event::Stop { node });
        self.post(after + pause, Event::Start { node });
    }

    /// Ends a torrent's process for good.
    pub fn leave(&mut self, node: usize, after: Duration) {
        self.post(after, Event::Stop { node });
    }

    /// Jumps to the next thing that happens. False if nothing ever will.
    pub fn step(&mut self) -> bool {
        let Some(((when, _), event)) = self.agenda.pop_first() else {
            return false;
        };
        assert!(when >= self.now, "time runs backwards");
        self.now = when;
        match event {
            Event::Tick { node } => self.ticked(node),
            Event::Call { from, address } => self.call(from, address),
            Event::Bytes { conn, end, bytes } => self.receive(conn, end, &bytes),
            Event::Sent { conn, end, bytes } => self.sent(conn, end, bytes),
            Event::Closed { conn, end } => self.close(conn, end),
            Event::Stored { node, life, bytes } if self.lives(node, life) => self.stored(node, bytes),
            Event::Hashed { node, life, piece } if self.lives(node, life) => self.hashed(node, piece),
            Event::Opened { node, life } if self.lives(node, life) => self.opened(node),
            Event::Failed { node, life, piece } if self.lives(node, life) => {
                self.tell(node, Input::StoreFailed { piece });
            }
            Event::Ready { node, life } if self.lives(node, life) => self.tell(node, Input::DiskReady),
            Event::Stored { .. }
            | Event::Hashed { .. }
            | Event::Opened { .. }
            | Event::Failed { .. }
            | Event::Ready { .. } => (),
            Event::Tracked { node } => self.tracked(node),
            Event::Cut { conn } => self.cut(conn),
            Event::Stop { node } => self.stop(node),
            Event::Start { node } => self.start(node),
        }
        true
    }

    /// Runs until all that are meant to finish have, or this moment is reached. Says whether they have.
    pub fn run_until(&mut self, limit: Moment) -> bool {
        while !self.everyone_is_done() {
            if self.now >= limit || !self.step() {
                return false;
            }
        }
        true
    }

    /// Everyone who runs has everything.
    pub fn everyone_is_done(&self) -> bool {
        self.nodes.iter().all(|node| node.finished.is_some())
    }

    /// What all machines have wanted so far, and when.
    pub fn trace(&self) -> String {
        format!("{:x?}", self.trace.clone().finalize())
    }

    /// Where a torrent listens.
    pub fn address(node: usize) -> SocketAddr {
        let last = u8::try_from(node + 1).expect("few torrents");
        ([10, 0, 0, last], 6_881).into()
    }

    fn torrent(&self, node: usize, content: Option<Content>) -> Torrent {
        let number = u8::try_from(node).expect("few torrents");
        let identity = Identity {
            info_hash: self.album.info_hash(),
            info_hash_v2: None,
            peer_id: PeerId([number; 20]),
            listen_port: 6_881,
        };
        let settings = Settings {
            disk_credit: self.weather.disk_credit,
            ..Settings::default()
        };
        Torrent::new(self.now, identity, content, settings)
    }

    fn content(&self, node: usize) -> Content {
        let mut have = Bitfield::none(&self.album.geometry);
        for piece in self.nodes.get(node).into_iter().flat_map(|node| &node.have) {
            have.set(*piece);
        }
        Content {
            geometry: self.album.geometry.clone(),
            have,
            info: self.album.info.clone(),
            private: false,
            files: std::sync::Arc::default(),
            trees: shared::merkle::Trees::default(),
        }
    }

    fn post(&mut self, delay: Duration, event: Event) {
        self.posted += 1;
        self.agenda.insert((self.now + delay, self.posted), event);
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|node| node.running && node.life == life)
    }

    fn node(&mut self, node: usize) -> &mut Node {
        self.nodes.get_mut(node).expect("a torrent of this world")
    }

    fn some_time(&mut self, max: Duration) -> Duration {
        let millis = u64::try_from(max.as_millis()).expect("short");
        Duration::from_millis(self.dice.random_range(1..=millis.max(1)))
    }

    /// Tells a machine what happened, and does what it wants.
    fn tell(&mut self, node: usize, input: Input) {
        let now = self.now;
        let mut dice = SmallRng::seed_from_u64(self.dice.random());
        let machine = self.node(node);
        if !machine.running {
            return;
        }
        machine.torrent.handle(now, input, &mut dice);
        while let Some(output) = self.node(node).torrent.poll() {
            self.record(node, &output);
            self.obey(node, output);
        }
        let deadline = self.node(node).torrent.deadline();
        if let Some(deadline) = deadline
            && self
                .node(node)
                .tick
                .is_none_or(|tick| deadline < tick || tick <= now)
        {
            self.node(node).tick = Some(deadline);
            self.post(deadline.since(now), Event::Tick { node });
        }
    }

    fn record(&mut self, node: usize, output: &Output) {
        let line = match output {
            // The bytes are the same wherever they come from; their debug form is long.
            Output::Store { block, .. } => format!("{node} {:?} store {block:?}", self.now),
            Output::Metadata { .. } => format!("{node} {:?} metadata", self.now),
            output => format!("{node} {:?} {output:?}", self.now),
        };
        self.trace.update(line);
    }

    fn obey(&mut self, node: usize, output: Output) {
        match output {
            Output::Send { peer, message } => self.send(node, peer, &message),
            Output::Serve { peer, blocks } => self.serve(node, peer, &blocks),
            Output::Store { block, data } => self.store(node, block, &data),
            Output::Verify { piece } => {
                let delay = self.some_time(Duration::from_millis(40));
                let life = self.node(node).life;
                self.post(delay, Event::Hashed { node, life, piece });
            }
            Output::Dial { address } => {
                let delay = self.some_time(self.weather.latency_max);
                self.post(delay, Event::Call { from: node, address });
            }
            Output::Disconnect { peer, .. } => self.hang_up(node, peer),
            Output::Ban { address, .. } => _ = self.node(node).banned.insert(address),
            Output::Metadata { info } => {
                assert_eq!(info, self.album.info);
                let delay = self.some_time(Duration::from_millis(200));
                let life = self.node(node).life;
                self.post(delay, Event::Opened { node, life });
            }
            Output::WantPeers => {
                let delay = self.some_time(Duration::from_secs(2));
                self.post(delay, Event::Tracked { node });
            }
            Output::CopySeen { .. }
            | Output::BanWebSeed { .. }
            | Output::Layers { .. }
            | Output::Leaves { .. } => (),
            Output::Unfinished => self.reopen(node),
            Output::PieceDone { piece } => _ = self.node(node).have.insert(piece),
            Output::Finished => {
                let now = self.now;
                let done = self.node(node).finished.replace(now);
                assert_eq!(done, None, "finished twice");
            }
        }
    }

    /// Something is to be written again: there is a new writer for it, with as much credit.
    fn reopen(&mut self, node: usize) {
        self.node(node).finished = None;
        self.node(node).storing = 0;
        let credit = self.weather.disk_credit;
        self.tell(node, Input::Disk { credit });
    }

    fn ticked(&mut self, node: usize) {
        let now = self.now;
        if self.node(node).tick == Some(now) {
            self.node(node).tick = None;
            self.tell(node, Input::Tick);
        }
    }

    fn call(&mut self, from: usize, address: SocketAddr) {
        let to = (0..self.nodes.len()).find(|node| Self::address(*node) == address);
        let to = to.filter(|to| self.nodes.get(*to).is_some_and(|node| node.running));
        let Some(to) = to.filter(|_| self.node(from).running) else {
            self.tell(from, Input::DialFailed { address });
            return;
        };
        let conn = self.conns.len();
        let key = |end: u64| PeerKey(conn as u64 * 2 + end);
        let end = |node, key| End {
            node,
            key,
            received: BytesMut::new(),
            arrived: self.now,
        };
        self.conns.push(Some([end(from, key(0)), end(to, key(1))]));
        self.node(from).conns.insert(key(0), conn);
        self.node(to).conns.insert(key(1), conn);
        if self.dice.random_bool(self.weather.breaks) {
            let delay = self.some_time(Duration::from_secs(60));
            self.post(delay, Event::Cut { conn });
        }
        let port = self.dice.random_range(40_000..60_000);
        let caller = SocketAddr::new(Self::address(from).ip(), port);
        let handshake = |node: usize| Handshake {
            reserved: Reserved::OURS,
            info_hash: self.album.info_hash(),
            peer_id: PeerId([u8::try_from(node).expect("few torrents"); 20]),
        };
        let (theirs, ours) = (handshake(to), handshake(from));
        let direction = Direction::Outgoing;
        self.tell(
            from,
            Input::Connected {
                peer: key(0),
                address,
                direction,
                handshake: theirs,
            },
        );
        let direction = Direction::Incoming;
        self.tell(
            to,
            Input::Connected {
                peer: key(1),
                address: caller,
                direction,
                handshake: ours,
            },
        );
    }

    /// Which connection this is, and which of its ends is ours.
    fn place(&mut self, node: usize, peer: PeerKey) -> Option<(usize, usize)> {
        let conn = *self.node(node).conns.get(&peer)?;
        Some((conn, usize::from(peer.0 % 2 == 1)))
    }

    fn send(&mut self, node: usize, peer: PeerKey, message: &Message) {
        if let Some((conn, end)) = self.place(node, peer) {
            let mut bytes = BytesMut::new();
            message.encode(&mut bytes);
            self.transmit(node, conn, end, bytes.freeze());
        }
    }

    fn serve(&mut self, node: usize, peer: PeerKey, blocks: &[Block]) {
        let Some((conn, end)) = self.place(node, peer) else {
            return;
        };
        for block in blocks {
            let start = self.album.range(block.piece()).start + block.begin() as usize;
            let from = self.node(node);
            assert!(from.have.contains(&block.piece()), "serves what it does not have");
            let mut data = from
                .disk
                .get(start..start + block.length() as usize)
                .expect("a block")
                .to_vec();
            if from.role == Role::Liar {
                self.dice.fill_bytes(&mut data);
            }
            let (piece, begin) = (block.piece().number(), block.begin());
            let mut bytes = BytesMut::new();
            Message::Piece {
                piece,
                begin,
                data: data.into(),
            }
            .encode(&mut bytes);
            self.transmit(node, conn, end, bytes.freeze());
            let free_at = self.node(node).free_at;
            let bytes = block.length().into();
            self.post(free_at.since(self.now), Event::Sent { conn, end, bytes });
        }
    }

    /// Puts bytes on the wire. They arrive late, in order, and cut wherever it pleases the network.
    fn transmit(&mut self, node: usize, conn: usize, end: usize, mut bytes: Bytes) {
        let (now, uplink, latency_max) = (self.now, self.weather.uplink, self.weather.latency_max);
        let length = bytes.len() as u64;
        let machine = self.node(node);
        machine.free_at = machine.free_at.max(now) + Duration::from_micros(length * 1_000_000 / uplink);
        let left = machine.free_at;
        let arrives = left + self.some_time(latency_max);
        let other = 1 - end;
        let Some(Some(ends)) = self.conns.get_mut(conn) else {
            return;
        };
        let Some(to) = ends.get_mut(other) else { return };
        to.arrived = to.arrived.max(arrives);
        let delay = to.arrived.since(now);
        while !bytes.is_empty() {
            let cut = self.dice.random_range(1..=bytes.len());
            let bytes = bytes.split_to(cut);
            self.post(
                delay,
                Event::Bytes {
                    conn,
                    end: other,
                    bytes,
                },
            );
        }
    }

    fn receive(&mut self, conn: usize, end: usize, bytes: &Bytes) {
        let Some(to) = self.end(conn, end) else { return };
        to.received.extend_from_slice(bytes);
        let (node, peer) = (to.node, to.key);
        // The end may be closed by what the first of several messages leads to.
        while let Some(message) = self.next_message(conn, end) {
            self.tell(node, Input::Message { peer, message });
        }
    }

    fn next_message(&mut self, conn: usize, end: usize) -> Option<Message> {
        let limit = frame_limit(None);
        let received = &mut self.end(conn, end)?.received;
        let prefix = received.first_chunk::<4>()?;
        let length = frame_length(*prefix, limit).expect("our own machines keep to the limits") as usize;
        if received.len() < 4 + length {
            return None;
        }
        received.advance(4);
        let frame = received.split_to(length).freeze();
        Some(Message::decode(frame).expect("our own codec reads what it wrote"))
    }

    fn end(&mut self, conn: usize, end: usize) -> Option<&mut End> {
        self.conns.get_mut(conn)?.as_mut()?.get_mut(end)
    }

    fn sent(&mut self, conn: usize, end: usize, bytes: u64) {
        if let Some(End { node, key, .. }) = self.end(conn, end) {
            let (node, peer) = (*node, *key);
            self.tell(node, Input::Served { peer, bytes });
        }
    }

    /// We close; the other side hears of it after all that is under way.
    fn hang_up(&mut self, node: usize, peer: PeerKey) {
        if let Some((conn, end)) = self.place(node, peer) {
            self.node(node).conns.remove(&peer);
            let now = self.now;
            let other = 1 - end;
            let delay = self
                .end(conn, other)
                .map(|to| to.arrived.since(now))
                .unwrap_or_default();
            self.post(delay, Event::Closed { conn, end: other });
        }
    }

    fn close(&mut self, conn: usize, end: usize) {
        if let Some(End { node, key, .. }) = self.end(conn, end) {
            let (node, peer) = (*node, *key);
            if self.node(node).conns.remove(&peer).is_some() {
                self.tell(node, Input::Disconnected { peer });
            }
        }
        if let Some(place) = self.conns.get_mut(conn) {
            *place = None;
        }
    }

    fn cut(&mut self, conn: usize) {
        for end in 0..2 {
            let Some(End { node, key, .. }) = self.end(conn, end) else {
                return;
            };
            let (node, peer) = (*node, *key);
            if self.node(node).conns.remove(&peer).is_some() {
                self.tell(node, Input::Disconnected { peer });
            }
        }
        if let Some(place) = self.conns.get_mut(conn) {
            *place = None;
        }
    }

    fn store(&mut self, node: usize, block: Block, data: &Bytes) {
        let credit = self.weather.disk_credit;
        let start = self.album.range(block.piece()).start + block.begin() as usize;
        let machine = self.node(node);
        machine.storing += data.len() as u64;
        assert!(
            machine.storing <= credit,
            "more under way to the disk than there is credit for"
        );
        assert!(
            !machine.have.contains(&block.piece()),
            "writes over what is verified"
        );
        machine
            .disk
            .get_mut(start..start + data.len())
            .expect("a block")
            .copy_from_slice(data);
        let delay = self.some_time(Duration::from_millis(30));
        let life = self.node(node).life;
        self.post(
            delay,
            Event::Stored {
                node,
                life,
                bytes: block.length().into(),
            },
        );
        if self.dice.random_bool(self.weather.disk_fails) {
            let piece = block.piece();
            self.post(Duration::from_millis(5), Event::Failed { node, life, piece });
            let repair = self.some_time(Duration::from_secs(5)) + Duration::from_millis(5);
            self.post(repair, Event::Ready { node, life });
        }
    }

    fn stored(&mut self, node: usize, bytes: u64) {
        self.node(node).storing -= bytes;
        self.tell(node, Input::Credit(bytes));
    }

    fn hashed(&mut self, node: usize, piece: PieceIndex) {
        let range = self.album.range(piece);
        let truth = self.album.bytes.get(range.clone());
        let good = self
            .nodes
            .get(node)
            .is_some_and(|node| node.disk.get(range) == truth);
        self.node(node).spoiled += usize::from(!good);
        self.tell(node, Input::Verified { piece, good });
    }

    fn opened(&mut self, node: usize) {
        let content = self.content(node);
        self.tell(node, Input::Content(content));
    }

    /// The tracker of this world knows everyone who runs.
    fn tracked(&mut self, node: usize) {
        let running = self.nodes.iter().enumerate().filter(|(_, node)| node.running);
        let addresses = running.map(|(node, _)| Self::address(node)).collect();
        self.tell(node, Input::Peers { addresses });
    }

    fn stop(&mut self, node: usize) {
        let conns: Vec<usize> = self.node(node).conns.values().copied().collect();
        self.node(node).running = false;
        for conn in conns {
            self.cut(conn);
        }
        let machine = self.node(node);
        machine.conns.clear();
        machine.storing = 0;
        machine.tick = None;
    }

    fn start(&mut self, node: usize) {
        let knows = self.node(node).role != Role::Magnet || !self.node(node).have.is_empty();
        let content = knows.then(|| self.content(node));
        let torrent = self.torrent(node, content);
        let machine = self.node(node);
        machine.torrent = torrent;
        machine.running = true;
        machine.life += 1;
        self.tell(node, Input::Tick);
        let delay = self.some_time(Duration::from_millis(500));
        self.post(delay, Event::Tracked { node });
    }
}

/// Blocks whose truth a test wants to compare.
impl World {
    /// Does this torrent's disk hold the album, byte for byte?
    pub fn agrees(&self, node: usize) -> bool {
        let disk = self.nodes.get(node).map(|node| node.disk.as_slice());
        let blocks = self
            .album
            .geometry
            .pieces()
            .flat_map(|piece| self.album.geometry.blocks(piece));
        let mut start = 0;
        let mut same = true;
        for block in blocks {
            let end = start + block.length() as usize;
            same &= disk.and_then(|disk| disk.get(start..end)) == Some(self.album.truth(block));
            start = end;
        }
        same && start == self.album.bytes.len()
    }
}
