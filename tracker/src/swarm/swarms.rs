//! All swarms, behind one map that nobody else sees: a guard never leaves one of these functions.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ahash::RandomState;
use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, SharedValue};
use rand::Rng;
use shared::announce::{AnnounceRequest, Event, RetryIn};
use shared::id::InfoHash;
use shared::moment::Moment;

use super::codec::{self, Reader};
use super::group::{Counts, Kind};
use super::home::Asker;
use super::peers::{Placed, Wants};
use super::policy::{Policy, SwarmLimits};
use super::reply::{Seats, write_failure, write_file};
use super::swarm::{Presence, Swarm};
use super::tick::{Silence, Tick};
use super::totals::{Sums, Totals};

/// Fixed, and far more than cores: with the map's default a sweep slowed announces 75-fold.
pub const SHARD_COUNT: usize = 1_024;

/// Who is turned away for want of room shall not come back at once.
pub(super) const FULL_RETRY: Duration = Duration::from_secs(15 * 60);

/// One announce as the edge hands it in.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    pub now: Moment,
    pub request: &'a AnnounceRequest,
    /// The client's address: the socket's other end, or what a trusted proxy says. Claims in the query do not count.
    pub sender: IpAddr,
    /// The tracker's own address at which the client came in, where the edge knows it without asking anew.
    pub reached: Option<IpAddr>,
    pub policy: &'a Policy,
}

/// The facts of one announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    pub outcome: Outcome,
    /// Peers in the reply.
    pub peers_given: u32,
    /// It came before its time and was given no peers.
    pub early: bool,
}

/// What an announce changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Joined,
    Refreshed,
    /// The last byte arrived since it announced before.
    Completed,
    Left,
    /// A farewell of a peer that was not here. It is answered like any other, or Transmission repeats it.
    WasNotHere,
    Refused(Refusal),
}

/// Why a peer could not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this swarm is full, try again later")]
    SwarmFull,
    #[error("this tracker is full, try again later")]
    TrackerFull,
}

/// Why a part of a snapshot is not read. What was read before the fault stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("it was written by another version of the tracker (form {0})")]
    Version(u8),
    #[error("it ends in the middle of a record")]
    Cut,
    #[error("it holds a record that no tracker writes")]
    Nonsense,
}

/// What a sweep forgot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub peers: u64,
    pub swarms: u64,
    /// Private mode: sessions that nobody has continued for too long.
    pub sessions: u64,
}

impl Swept {
    /// Adds up what several sweeps forgot.
    pub fn add(&mut self, other: Self) {
        self.peers += other.peers;
        self.swarms += other.swarms;
        self.sessions += other.sessions;
    }
}

/// Every swarm of the tracker. Shared by reference; each call locks one shard at a time.
#[derive(Debug)]
pub struct Swarms {
    map: DashMap<InfoHash, Swarm, RandomState>,
    hasher: RandomState,
    limits: SwarmLimits,
    sums: Sums,
}

impl Swarms {
    /// `hash_key` must be random: strangers choose the info-hashes, addresses and ports that are hashed.
    pub fn new(limits: SwarmLimits, hash_key: [u64; 4]) -> Self {
        let [a, b, c, d] = hash_key;
        let hasher = RandomState::with_seeds(a, b, c, d);
        Self {
            map: DashMap::with_hasher_and_shard_amount(hasher.clone(), SHARD_COUNT),
            hasher,
            limits,
            sums: Sums::default(),
        }
    }

    /// Takes one announce in and appends the whole reply to `out`.
    pub fn announce(&self, visit: &Visit<'_>, rng: &mut impl Rng, out: &mut Vec<u8>) -> Announced {
        let sender = SocketAddr::new(visit.sender.to_canonical(), visit.request.port);
        let asker = Asker::new(sender, visit.reached, visit.policy);
        let seats = Seats {
            asker: &asker,
            policy: visit.policy,
            kind: kind_of(visit.request),
            wants: wants_of(visit.request),
            count: visit
                .request
                .numwant
                .unwrap_or(visit.policy.numwant_default)
                .min(visit.policy.numwant_max),
            compact: visit.request.compact,
            early: false,
            brisk: false,
        };
        if visit.request.event == Event::Stopped {
            return self.part(visit, &Seats { count: 0, ..seats }, rng, out);
        }
        match self.meet(visit, &seats, rng, out) {
            Ok(announced) => announced,
            Err(refusal) => {
                write_failure(
                    &refusal.to_string(),
                    Some(RetryIn::After(FULL_RETRY)),
                    visit.policy,
                    out,
                );
                Announced {
                    outcome: Outcome::Refused(refusal),
                    peers_given: 0,
                    early: false,
                }
            }
        }
    }

    /// A peer is here.
    fn meet(
        &self,
        visit: &Visit<'_>,
        seats: &Seats<'_>,
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> Result<Announced, Refusal> {
        let presence = Presence {
            peer: seats.asker.endpoint(),
            kind: seats.kind,
            tick: Tick::at(visit.now),
        };
        let room_here = self.sums.peers() < self.limits.peers;
        let mut swarm = match self.map.entry(visit.request.info_hash) {
            Entry::Occupied(entry) => entry.into_ref(),
            Entry::Vacant(entry) if room_here && self.sums.open_swarm(self.limits.swarms) => {
                entry.insert(Swarm::new(presence.tick))
            }
            Entry::Vacant(_) => return Err(Refusal::TrackerFull),
        };
        let is_v6 = seats.asker.is_v6();
        let before = swarm.counts_of(is_v6);
        let room = room_here && swarm.counts().total() < self.limits.peers_per_swarm;
        let placed = swarm.place(presence, room, &self.hasher);
        self.sums.changed(is_v6, before, swarm.counts_of(is_v6));
        let outcome = match placed {
            Placed::Full if room_here => return Err(Refusal::SwarmFull),
            Placed::Full => return Err(Refusal::TrackerFull),
            Placed::Joined => Outcome::Joined,
            Placed::Was(was, _) if was != Kind::Seeder && seats.kind == Kind::Seeder => Outcome::Completed,
            Placed::Was(..) => Outcome::Refreshed,
        };
        let early = Self::is_early(&swarm, placed, seats, presence.tick);
        let seats = Seats {
            early,
            brisk: swarm.is_brisk(visit.policy, presence.tick),
            count: if early { 0 } else { seats.count },
            ..*seats
        };
        Ok(Announced {
            outcome,
            peers_given: seats.write(Some(&swarm), rng, out),
            early,
        })
    }

    /// Did a peer come back too soon (DESIGN decision 9)? Never one that has changed sides: it has just completed, or has
    /// just learned what it misses, as aria2 does with a magnet link.
    fn is_early(swarm: &Swarm, placed: Placed, seats: &Seats<'_>, now: Tick) -> bool {
        let Placed::Was(was, heard) = placed else {
            return false;
        };
        let changed_sides = (was == Kind::Seeder) != (seats.kind == Kind::Seeder);
        let policy = seats.policy;
        !changed_sides && policy.is_early(heard, swarm.was_brisk(policy, now), now)
    }

    /// A peer says farewell.
    fn part(&self, visit: &Visit<'_>, seats: &Seats<'_>, rng: &mut impl Rng, out: &mut Vec<u8>) -> Announced {
        let (was_here, is_blank) = match self.map.get_mut(&visit.request.info_hash) {
            None => {
                seats.write(None, rng, out);
                (false, false)
            }
            Some(mut swarm) => {
                let is_v6 = seats.asker.is_v6();
                let before = swarm.counts_of(is_v6);
                let was_here = swarm.remove(seats.asker.endpoint(), Tick::at(visit.now), &self.hasher);
                self.sums.changed(is_v6, before, swarm.counts_of(is_v6));
                seats.write(Some(&swarm), rng, out);
                (was_here, swarm.is_blank())
            }
        };
        if is_blank {
            let removed = self
                .map
                .remove_if(&visit.request.info_hash, |_, swarm| swarm.is_blank());
            self.sums.close_swarms(u64::from(removed.is_some()));
        }
        let outcome = if was_here {
            Outcome::Left
        } else {
            Outcome::WasNotHere
        };
        Announced {
            outcome,
            peers_given: 0,
            early: false,
        }
    }

    /// Appends the counts of some torrents (BEP 48). One that nobody has announced has nobody.
    pub fn scrape(&self, hashes: &[InfoHash], out: &mut Vec<u8>) {
        let mut hashes = hashes.to_vec();
        hashes.sort_unstable();
        hashes.dedup();
        out.extend_from_slice(b"d5:filesd");
        for hash in &hashes {
            let (counts, completed) = match self.map.get(hash) {
                Some(swarm) => (swarm.counts(), swarm.completed()),
                None => Default::default(),
            };
            write_file(hash, counts, completed, out);
        }
        out.extend_from_slice(b"ee");
    }

    /// Appends the counts of all torrents: long, and nothing strangers should ask for.
    pub fn scrape_all(&self, out: &mut Vec<u8>) {
        let mut all: Vec<_> = self
            .map
            .iter()
            .map(|swarm| (*swarm.key(), swarm.counts(), swarm.completed()))
            .collect();
        all.sort_unstable_by_key(|(hash, ..)| *hash);
        out.extend_from_slice(b"d5:filesd");
        for (hash, counts, completed) in all {
            write_file(&hash, counts, completed, out);
        }
        out.extend_from_slice(b"ee");
    }

    /// Forgets in one shard, of [`SHARD_COUNT`], who has been silent for longer than `timeout`, and swarms left empty. The
    /// shard is rebuilt, which takes microseconds and gives back what a shrunken one no longer needs.
    pub fn sweep_shard(&self, shard: usize, now: Moment, timeout: Duration) -> Swept {
        let silence = Silence::new(now, timeout);
        let mut swept = Swept::default();
        let Some(shard) = self.map.shards().get(shard) else {
            return swept;
        };
        let mut table = shard.write();
        let old = std::mem::take(&mut *table);
        let rehash = |(hash, _): &(InfoHash, _)| self.hasher.hash_one(hash);
        let mut kept = Vec::with_capacity(old.len());
        for (hash, swarm) in old {
            let mut swarm = swarm.into_inner();
            swept.peers += self.forget_silent(&mut swarm, silence);
            if swarm.is_forgotten(silence) {
                swept.swarms += 1;
            } else {
                kept.push((hash, SharedValue::new(swarm)));
            }
        }
        table.reserve(kept.len(), rehash);
        for item in kept {
            table.insert(rehash(&item), item, rehash);
        }
        self.sums.close_swarms(swept.swarms);
        swept
    }

    fn forget_silent(&self, swarm: &mut Swarm, silence: Silence) -> u64 {
        let (v4, v6) = (swarm.counts_v4(), swarm.counts_v6());
        swarm.forget_silent(silence);
        self.sums.changed(false, v4, swarm.counts_v4());
        self.sums.changed(true, v6, swarm.counts_v6());
        u64::from(v4.plus(v6).total() - swarm.counts().total())
    }

    /// Appends one shard, of [`SHARD_COUNT`], in a form that [`Self::restore`] reads; nothing for an empty one.
    pub fn snapshot_shard(&self, shard: usize, now: Moment, out: &mut Vec<u8>) {
        let (start, now) = (out.len(), Tick::at(now));
        let Some(shard) = self.map.shards().get(shard) else {
            return;
        };
        // Only a shard taken apart can be gone through; this happens under its lock.
        let mut table = shard.write();
        let old = std::mem::take(&mut *table);
        let rehash = |(hash, _): &(InfoHash, _)| self.hasher.hash_one(hash);
        table.reserve(old.len(), rehash);
        for item in old {
            let (hash, swarm) = &item;
            if out.len() == start {
                out.push(codec::FORM);
            }
            codec::write(hash, swarm.get(), now, out);
            table.insert(rehash(&item), item, rehash);
        }
    }

    /// Takes in what [`Self::snapshot_shard`] wrote `age` ago, in whatever process; returns how many peers it held. Swarms
    /// that are there already keep their own.
    pub fn restore(&self, bytes: &[u8], age: Duration, now: Moment) -> Result<usize, SnapshotError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let (mut reader, now) = (Reader::new(bytes), Tick::at(now));
        reader.form(codec::FORM)?;
        let mut restored = 0;
        while !reader.is_empty() {
            let head = codec::read_head(&mut reader, age, now)?;
            restored += self.restore_swarm(&head, &mut reader, age, now)?;
        }
        Ok(restored)
    }

    /// Takes in one swarm, unless it is there or has nothing to remember; reads past it in any case.
    fn restore_swarm(
        &self,
        head: &codec::Head,
        reader: &mut Reader<'_>,
        age: Duration,
        now: Tick,
    ) -> Result<usize, SnapshotError> {
        let mut restored = 0;
        let mut swarm = Swarm::new(now);
        let read = codec::read_peers(reader, age, now, |peer| {
            let presence = Presence {
                peer: peer.at,
                kind: peer.kind,
                tick: peer.heard,
            };
            restored += usize::from(swarm.place(presence, true, &self.hasher) == Placed::Joined);
        });
        swarm.remember(head.completed, head.stirred);
        let Entry::Vacant(entry) = self.map.entry(head.hash) else {
            return read.map(|()| 0);
        };
        if !swarm.is_blank() && self.sums.open_swarm(self.limits.swarms) {
            self.sums.changed(false, Counts::default(), swarm.counts_v4());
            self.sums.changed(true, Counts::default(), swarm.counts_v6());
            entry.insert(swarm);
        }
        read.map(|()| restored)
    }

    /// How much there is in all; reads atomics, walks nothing.
    pub fn totals(&self) -> Totals {
        self.sums.read()
    }
}

/// What a peer is by what it says: `left=0` is a seeder whatever the event.
fn kind_of(request: &AnnounceRequest) -> Kind {
    match (request.left, request.event) {
        (0, _) => Kind::Seeder,
        (_, Event::Paused) => Kind::Paused,
        _ => Kind::Downloader,
    }
}

#[cfg(test)]
impl Swarms {
    /// Everybody of a kind in one swarm, found by looking at all of it; and a look whether all is well inside.
    pub(super) fn members(&self, hash: &InfoHash, kind: Kind) -> std::collections::BTreeSet<SocketAddr> {
        use shared::compact::{decode_v4, decode_v6};
        let Some(swarm) = self.map.get(hash) else {
            return std::collections::BTreeSet::new();
        };
        swarm.check(&self.hasher);
        let v4 = swarm
            .v4()
            .wires(kind)
            .into_iter()
            .map(|wire| decode_v4(wire).into());
        let v6 = swarm.v6().map(|v6| v6.wires(kind)).unwrap_or_default();
        v4.chain(v6.into_iter().map(|wire| decode_v6(wire).into()))
            .collect()
    }
}

/// A downloader has a use for everybody; who wants nothing now is of use to downloaders alone. Who has just come from a
/// magnet link wants everything, and aria2 says `left=0` until it knows how much that is.
pub(super) fn wants_of(request: &AnnounceRequest) -> Wants {
    match (kind_of(request), request.event) {
        (Kind::Downloader, _) | (Kind::Seeder, Event::Started) => Wants::Everyone,
        _ => Wants::Downloaders,
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};
    use shared::announce::{AnnounceReply, Answer, Failure};
    use shared::id::PeerId;

    use super::*;
    use crate::swarm::Pace;

    const HASH: InfoHash = InfoHash([b'h'; 20]);

    /// Swarms at a moment, and one function that knows how to announce.
    struct Scene {
        swarms: Swarms,
        now: Moment,
        policy: Policy,
        dice: SmallRng,
    }

    fn scene() -> Scene {
        scene_with(SwarmLimits::default())
    }

    fn scene_with(limits: SwarmLimits) -> Scene {
        Scene {
            swarms: Swarms::new(limits, [4, 3, 2, 1]),
            now: Moment::START,
            policy: timeless(),
            dice: SmallRng::seed_from_u64(7),
        }
    }

    /// Nobody is early and no interval is short, so that drawings may be told without a clock.
    fn timeless() -> Policy {
        Policy {
            min_interval: Duration::ZERO,
            pace: Pace {
                small_peers: 0,
                ..Pace::default()
            },
            ..Policy::default()
        }
    }

    /// `"198.51.100.1:6881 left=5 started"`, the words after the address in any order.
    fn request(drawing: &str) -> (AnnounceRequest, IpAddr) {
        let mut words = drawing.split(' ');
        let peer: SocketAddr = words.next().unwrap().parse().unwrap();
        let mut request = AnnounceRequest::new(HASH, PeerId([b'p'; 20]), peer.port());
        for word in words {
            match word.split_once('=') {
                Some(("left", left)) => request.left = left.parse().unwrap(),
                Some(("numwant", numwant)) => request.numwant = Some(numwant.parse().unwrap()),
                Some(("hash", byte)) => request.info_hash = InfoHash([byte.parse().unwrap(); 20]),
                Some(("compact", "0")) => request.compact = false,
                None if word == "started" => request.event = Event::Started,
                None if word == "completed" => request.event = Event::Completed,
                None if word == "stopped" => request.event = Event::Stopped,
                None if word == "paused" => request.event = Event::Paused,
                _ => panic!("{word}"),
            }
        }
        (request, peer.ip())
    }

    impl Scene {
        fn raw(&mut self, drawing: &str) -> (Announced, Vec<u8>) {
            let (request, sender) = request(drawing);
            let visit = Visit {
                now: self.now,
                request: &request,
                sender,
                reached: None,
                policy: &self.policy,
            };
            let mut out = Vec::new();
            let announced = self.swarms.announce(&visit, &mut self.dice, &mut out);
            (announced, out)
        }

        #[track_caller]
        fn reply(&mut self, drawing: &str) -> AnnounceReply {
            match Answer::decode(&self.raw(drawing).1).unwrap() {
                Answer::Reply(reply) => reply,
                Answer::Failure(failure) => panic!("{failure:?}"),
            }
        }

        #[track_caller]
        fn failure(&mut self, drawing: &str) -> Failure {
            match Answer::decode(&self.raw(drawing).1).unwrap() {
                Answer::Failure(failure) => failure,
                Answer::Reply(reply) => panic!("{reply:?}"),
            }
        }

        /// Announces, then compares seeders and leechers of the reply.
        #[track_caller]
        fn counts(&mut self, drawing: &str, seeders: u32, leechers: u32) {
            let reply = self.reply(drawing);
            assert_eq!(
                (reply.complete, reply.incomplete),
                (Some(seeders), Some(leechers)),
                "{drawing}"
            );
        }

        fn downloaded(&mut self) -> String {
            let mut out = Vec::new();
            self.swarms.scrape(&[HASH], &mut out);
            String::from_utf8_lossy(&out).replace('h', "")
        }

        fn sweep(&self, timeout_secs: u64) -> Swept {
            (0..SHARD_COUNT).fold(Swept::default(), |sum, shard| {
                let timeout = Duration::from_secs(timeout_secs);
                let mut sum = sum;
                sum.add(self.swarms.sweep_shard(shard, self.now, timeout));
                sum
            })
        }
    }

    #[test]
    fn counts_include_the_announcer_and_exclude_the_leaver() {
        for [c1, c2, c3] in [
            ["198.51.100.1:1", "198.51.100.2:1", "198.51.100.3:1"],
            ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"],
            ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"],
        ] {
            let mut scene = scene();
            scene.counts(&format!("{c1} left=9 started"), 0, 1);
            scene.counts(&format!("{c1} completed"), 1, 0);
            scene.counts(&format!("{c2} left=9 started"), 1, 1);
            scene.counts(&format!("{c3} left=9 started"), 1, 2);
            scene.counts(&format!("{c2} left=9 stopped"), 1, 1);
            scene.counts(&format!("{c3} left=9 stopped"), 1, 0);
            scene.counts(&format!("{c1} stopped"), 0, 0);
        }
    }

    #[test]
    fn a_completion_counts_once_and_only_when_left_falls_to_nothing() {
        let mut scene = scene();
        scene.reply("198.51.100.1:1 completed");
        assert!(
            scene.downloaded().contains("10:downloadedi0e"),
            "it came with everything"
        );
        scene.reply("198.51.100.2:1 left=1 started");
        scene.reply("198.51.100.2:1 left=1 completed");
        assert!(
            scene.downloaded().contains("10:downloadedi0e"),
            "the event alone is not believed"
        );
        assert_eq!(scene.raw("198.51.100.2:1").0.outcome, Outcome::Completed);
        assert_eq!(
            scene.raw("198.51.100.2:1 completed").0.outcome,
            Outcome::Refreshed
        );
        assert!(scene.downloaded().contains("10:downloadedi1e"));
    }

    #[test]
    fn a_paused_peer_is_incomplete_but_no_downloader_until_it_says_otherwise() {
        let mut scene = scene();
        scene.counts("198.51.100.1:1 left=5 paused", 0, 1);
        assert!(scene.downloaded().contains("11:downloadersi0e10:incompletei1e"));
        scene.counts("198.51.100.1:1 left=5", 0, 1);
        assert!(scene.downloaded().contains("11:downloadersi1e10:incompletei1e"));
        scene.counts("198.51.100.1:1 paused", 1, 0);
    }

    #[test]
    fn a_farewell_of_a_stranger_is_answered_and_leaves_nothing_behind() {
        let mut scene = scene();
        let (announced, out) = scene.raw("198.51.100.1:1 left=5 stopped");
        assert_eq!(announced.outcome, Outcome::WasNotHere);
        assert!(matches!(Answer::decode(&out), Ok(Answer::Reply(_))));
        assert_eq!(scene.swarms.totals(), Totals::default());
    }

    #[test]
    fn the_last_to_leave_closes_the_swarm_unless_somebody_had_completed() {
        let mut scene = scene();
        scene.reply("198.51.100.1:1 left=5 started");
        scene.reply("198.51.100.1:1 left=5 stopped");
        assert_eq!(scene.swarms.totals().swarms, 0);
        scene.reply("198.51.100.1:1 left=5 started");
        scene.reply("198.51.100.1:1 completed");
        scene.reply("198.51.100.1:1 stopped");
        assert!(scene.downloaded().contains("10:downloadedi1e"));
        scene.now = Moment::from_secs(100);
        assert_eq!(
            scene.sweep(60),
            Swept {
                swarms: 1,
                ..Swept::default()
            }
        );
        assert_eq!(scene.swarms.totals().swarms, 0);
    }

    #[test]
    fn a_silent_peer_is_forgotten_and_an_empty_swarm_with_it() {
        let mut scene = scene();
        scene.reply("198.51.100.1:1 left=5 started");
        scene.reply("[2001:db8::1]:1 left=5 started");
        scene.now = Moment::from_secs(60);
        scene.reply("[2001:db8::1]:1 left=5");
        assert_eq!(scene.sweep(60), Swept::default());
        scene.now = Moment::from_secs(75);
        assert_eq!(
            scene.sweep(60),
            Swept {
                peers: 1,
                ..Swept::default()
            }
        );
        scene.now = Moment::from_secs(200);
        assert_eq!(
            scene.sweep(60),
            Swept {
                peers: 1,
                swarms: 1,
                ..Swept::default()
            }
        );
        assert_eq!(scene.swarms.totals(), Totals::default());
    }

    #[test]
    fn a_seeder_is_given_no_seeders_and_a_leecher_both() {
        let mut scene = scene();
        for n in 1..=3 {
            scene.reply(&format!("198.51.100.{n}:1"));
        }
        assert_eq!(scene.reply("198.51.100.1:1").peers, []);
        assert_eq!(scene.reply("198.51.100.4:1 left=5 started").peers.len(), 3);
        assert_eq!(
            scene.reply("198.51.100.1:1").peers,
            ["198.51.100.4:1".parse().unwrap()]
        );
    }

    #[test]
    fn who_begins_without_knowing_how_much_is_left_is_given_seeders() {
        let mut scene = scene();
        scene.reply("198.51.100.1:1 started");
        let reply = scene.reply("198.51.100.2:1 left=0 started");
        assert_eq!(reply.peers, ["198.51.100.1:1".parse().unwrap()]);
        assert_eq!(scene.reply("198.51.100.2:1 left=0").peers, []);
    }

    #[test]
    fn a_leecher_in_a_crowd_is_given_seeders_and_leechers_in_halves() {
        let mut scene = scene();
        for n in 1..=100 {
            scene.reply(&format!("198.51.100.{n}:1"));
            scene.reply(&format!("198.51.100.{n}:2 left=1"));
        }
        let reply = scene.reply("198.51.100.200:3 left=5 numwant=40");
        let seeders = reply.peers.iter().filter(|peer| peer.port() == 1).count();
        assert_eq!((reply.peers.len(), seeders), (40, 20));
    }

    #[test]
    fn replies_differ_so_that_everybody_is_found() {
        let mut scene = scene();
        for n in 1..=100 {
            scene.reply(&format!("198.51.100.{n}:1"));
        }
        let found: std::collections::BTreeSet<_> = (0..60)
            .flat_map(|_| scene.reply("198.51.100.200:3 left=5 numwant=10").peers)
            .collect();
        assert!(found.len() > 95, "{}", found.len());
    }

    #[test]
    fn numwant_is_kept_within_the_owners_bounds() {
        let mut scene = scene();
        for n in 0..250 {
            scene.reply(&format!("198.51.100.{n}:1"));
        }
        for (numwant, given) in [
            ("", 50),
            (" numwant=0", 0),
            (" numwant=7", 7),
            (" numwant=100000", 200),
        ] {
            assert_eq!(
                scene.reply(&format!("203.0.113.1:1 left=5{numwant}")).peers.len(),
                given
            );
        }
    }

    #[test]
    fn both_families_are_given_and_the_askers_own_comes_first() {
        let mut scene = scene();
        for n in 1..=100 {
            scene.reply(&format!("198.51.100.{n}:1"));
            scene.reply(&format!("[2001:db8::{n}]:1"));
        }
        let share = |reply: AnnounceReply| reply.peers.iter().filter(|peer| peer.is_ipv6()).count();
        assert_eq!(share(scene.reply("203.0.113.1:1 left=5 numwant=40")), 10);
        assert_eq!(share(scene.reply("[2001:db8:1::1]:1 left=5 numwant=40")), 30);
    }

    #[test]
    fn a_reply_has_its_keys_in_order_and_peers_even_if_there_are_none() {
        let mut scene = scene();
        (scene.policy.jitter, scene.policy.interval) = (Duration::ZERO, Duration::from_secs(60));
        scene.policy.min_interval = Duration::from_secs(300);
        let (_, out) = scene.raw("1.2.3.4:1 left=5 started");
        let expected =
            b"d8:completei0e10:downloadedi0e11:external ip4:\x01\x02\x03\x0410:incompletei1e8:intervali60e\
            12:min intervali60e5:peers0:e";
        assert_eq!(
            out.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        let (_, out) = scene.raw("[::1]:1 left=5 started");
        assert!(
            out.ends_with(b"5:peers6:\x01\x02\x03\x04\x00\x016:peers60:e"),
            "{}",
            out.escape_ascii()
        );
    }

    #[test]
    fn a_client_that_cannot_read_compact_peers_gets_dictionaries_of_both_families() {
        let mut scene = scene();
        scene.reply("1.2.3.4:1");
        scene.reply("[2001:db8::1]:2");
        let (announced, out) = scene.raw("5.6.7.8:1 left=5 compact=0");
        assert_eq!(announced.peers_given, 2);
        assert!(
            out.ends_with(b"5:peersld2:ip7:1.2.3.44:porti1eed2:ip11:2001:db8::14:porti2eeee"),
            "{}",
            out.escape_ascii()
        );
        let (_, out) = scene.raw("5.6.7.8:1 hash=9 left=5 compact=0");
        assert!(out.ends_with(b"5:peerslee"));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_an_ipv4_peer() {
        let mut scene = scene();
        scene.reply("[::ffff:1.2.3.4]:1 left=5 started");
        scene.counts("1.2.3.4:1 left=5", 0, 1);
        assert_eq!(scene.swarms.totals().peers_v4, 1);
    }

    #[test]
    fn full_swarms_and_a_full_tracker_say_so_and_keep_serving_their_own() {
        let limits = SwarmLimits {
            peers_per_swarm: 2,
            swarms: 2,
            peers: 100,
            ..SwarmLimits::default()
        };
        let mut scene = scene_with(limits);
        scene.reply("1.2.3.4:1 left=5");
        scene.reply("1.2.3.4:2 left=5");
        let failure = scene.failure("1.2.3.4:3 left=5");
        assert_eq!(failure.reason, "this swarm is full, try again later");
        assert_eq!(failure.retry_in, Some(RetryIn::After(FULL_RETRY)));
        assert!(failure.interval.is_some() && failure.min_interval.is_some());
        scene.counts("1.2.3.4:2", 1, 1);
        scene.reply("1.2.3.4:1 left=5 hash=1");
        assert_eq!(
            scene.failure("1.2.3.4:1 left=5 hash=2").reason,
            "this tracker is full, try again later"
        );
        assert_eq!(scene.swarms.totals().swarms, 2);
    }

    #[test]
    fn intervals_are_spread_around_what_the_owner_set() {
        let mut scene = scene();
        let intervals: std::collections::BTreeSet<_> = (0..50)
            .map(|_| scene.reply("1.2.3.4:1 left=5").interval.as_secs())
            .collect();
        assert!(
            intervals.iter().all(|secs| (1_620..=1_980).contains(secs)),
            "{intervals:?}"
        );
        assert!(intervals.len() > 30);
    }

    /// Announces so many seconds after the start.
    impl Scene {
        #[track_caller]
        fn check_early(&mut self, secs: u64, drawing: &str, early: bool) {
            self.now = Moment::from_secs(secs);
            let (announced, out) = self.raw(drawing);
            let Ok(Answer::Reply(reply)) = Answer::decode(&out) else {
                panic!("{}", out.escape_ascii())
            };
            assert_eq!(announced.early, early, "{drawing} at {secs}");
            assert_eq!(reply.warning.is_some(), early, "{drawing} at {secs}");
            assert_eq!(reply.peers.is_empty(), early, "{drawing} at {secs}");
            assert!(reply.interval.as_secs() >= 250);
        }
    }

    #[test]
    fn who_comes_too_early_is_given_no_peers_but_a_warning_and_the_counts() {
        let mut scene = scene();
        scene.policy.min_interval = Duration::from_secs(300);
        scene.reply("198.51.100.9:9 left=1");
        scene.check_early(0, "198.51.100.1:1 left=5 started", false);
        scene.check_early(100, "198.51.100.1:1 left=5", true);
        scene.check_early(200, "[2001:db8::1]:1 left=5 started", false);
        scene.check_early(365, "198.51.100.1:1 left=5", true);
        scene.counts("198.51.100.1:1 left=5", 0, 3);
    }

    #[test]
    fn honest_jitter_is_not_early() {
        let mut scene = scene();
        scene.policy.min_interval = Duration::from_secs(300);
        scene.reply("198.51.100.9:9 left=1");
        scene.check_early(9, "198.51.100.1:1 left=5 started", false);
        scene.check_early(9 + 270, "198.51.100.1:1 left=5", false);
        scene.policy.min_interval = Duration::from_secs(30);
        scene.check_early(9 + 290, "198.51.100.1:1 left=5", false);
    }

    #[test]
    fn a_completion_a_farewell_and_the_start_after_it_are_never_early() {
        let mut scene = scene();
        scene.policy.min_interval = Duration::from_secs(300);
        scene.reply("198.51.100.9:9 left=1");
        scene.check_early(0, "198.51.100.1:1 left=5 started", false);
        scene.check_early(20, "198.51.100.1:1 left=0 completed", false);
        scene.check_early(40, "198.51.100.1:1 left=0 completed", true);
        assert!(!scene.raw("198.51.100.1:1 left=0 stopped").0.early);
        scene.check_early(60, "198.51.100.1:1 left=0 started", false);
    }

    #[test]
    fn a_small_young_swarm_is_told_a_short_interval_and_may_use_it_even_after_it_has_grown() {
        let mut scene = scene();
        scene.policy = Policy::default();
        let interval = |scene: &mut Scene, drawing: &str| scene.reply(drawing).interval.as_secs();
        assert!(
            (108..=132).contains(&interval(&mut scene, "198.51.100.1:1 left=5 started")),
            "somebody wants something"
        );
        for n in 20..40 {
            scene.reply(&format!("198.51.100.{n}:1 left=5 started"));
        }
        assert!(
            interval(&mut scene, "198.51.100.50:1 left=5 started") > 1_000,
            "it has grown"
        );
        scene.now = Moment::from_secs(110);
        assert!(
            !scene.raw("198.51.100.1:1 left=5").0.early,
            "it does as it was told"
        );
        let mut scene = self::scene();
        scene.policy = Policy::default();
        assert!(
            interval(&mut scene, "198.51.100.1:1 left=0 started") > 1_000,
            "nobody wants anything"
        );
        interval(&mut scene, "198.51.100.2:1 left=5 started");
        scene.now = Moment::from_secs(3_600);
        assert!(interval(&mut scene, "198.51.100.2:1 left=5") > 1_000, "it is old");
    }

    #[test]
    fn a_scrape_answers_for_each_torrent_once_in_order() {
        let mut scene = scene();
        scene.reply("1.2.3.4:1 hash=66");
        let mut out = Vec::new();
        scene.swarms.scrape(
            &[InfoHash([b'C'; 20]), InfoHash([b'B'; 20]), InfoHash([b'C'; 20])],
            &mut out,
        );
        let b = format!(
            "20:{}d8:completei1e10:downloadedi0e11:downloadersi0e10:incompletei0ee",
            "B".repeat(20)
        );
        let c = format!(
            "20:{}d8:completei0e10:downloadedi0e11:downloadersi0e10:incompletei0ee",
            "C".repeat(20)
        );
        assert_eq!(String::from_utf8(out).unwrap(), format!("d5:filesd{b}{c}ee"));
    }

    #[test]
    fn many_hands_at_once_leave_the_sums_exact() {
        let swarms = Swarms::new(SwarmLimits::default(), [1, 2, 3, 4]);
        let policy = Policy::default();
        let work = |hand: u8| {
            let mut dice = SmallRng::seed_from_u64(hand.into());
            for round in 0..2_000_u16 {
                let mut request =
                    AnnounceRequest::new(InfoHash([dice.random_range(0..20); 20]), PeerId([hand; 20]), 6881);
                request.left = dice.random_range(0..2);
                request.event = if dice.random_bool(0.3) {
                    Event::Stopped
                } else {
                    Event::None
                };
                let sender = IpAddr::from([198, 51, hand, dice.random_range(0..40)]);
                let now = Moment::from_secs(u64::from(round) / 10);
                let visit = Visit {
                    now,
                    request: &request,
                    sender,
                    reached: None,
                    policy: &policy,
                };
                swarms.announce(&visit, &mut dice, &mut Vec::new());
                swarms.sweep_shard(usize::from(round) % SHARD_COUNT, now, Duration::from_secs(30));
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|hand| drop(scope.spawn(move || work(hand)))));
        let members = |kind| {
            (0..20)
                .map(|byte| swarms.members(&InfoHash([byte; 20]), kind).len() as u64)
                .sum::<u64>()
        };
        let totals = swarms.totals();
        assert_eq!(
            (totals.seeders, totals.downloaders),
            (members(Kind::Seeder), members(Kind::Downloader))
        );
        assert_eq!(totals.peers(), totals.seeders + totals.downloaders);
        assert_eq!(totals.swarms, swarms.map.len() as u64);
    }
}
