//! All swarms, behind one map that nobody else sees: a guard never leaves one of these functions.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ahash::RandomState;
use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, SharedValue};
use rand::Rng;
use shared::announce::{AnnounceRequest, Event, RetryIn};
use shared::id::InfoHash;
use shared::moment::Moment;

use super::group::Kind;
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
const FULL_RETRY: Duration = Duration::from_secs(15 * 60);

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

/// What a sweep forgot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub peers: u64,
    pub swarms: u64,
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
        let kind = kind_of(visit.request);
        let seats = Seats {
            asker: &asker,
            policy: visit.policy,
            wants: if kind == Kind::Downloader {
                Wants::Everyone
            } else {
                Wants::Downloaders
            },
            count: visit
                .request
                .numwant
                .unwrap_or(visit.policy.numwant_default)
                .min(visit.policy.numwant_max),
            compact: visit.request.compact,
        };
        if visit.request.event == Event::Stopped {
            return self.part(visit, &Seats { count: 0, ..seats }, rng, out);
        }
        match self.meet(visit, kind, &seats, rng, out) {
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
                }
            }
        }
    }

    /// A peer is here.
    fn meet(
        &self,
        visit: &Visit<'_>,
        kind: Kind,
        seats: &Seats<'_>,
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> Result<Announced, Refusal> {
        let presence = Presence {
            peer: seats.asker.endpoint(),
            kind,
            tick: Tick::at(visit.now),
        };
        let room_here = self.sums.peers() < self.limits.peers;
        let mut swarm = match self.map.entry(visit.request.info_hash) {
            Entry::Occupied(entry) => entry.into_ref(),
            Entry::Vacant(entry) if room_here && self.sums.open_swarm(self.limits.swarms) => {
                entry.insert(Swarm::default())
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
            Placed::Was(was) if was != Kind::Seeder && kind == Kind::Seeder => Outcome::Completed,
            Placed::Was(_) => Outcome::Refreshed,
        };
        Ok(Announced {
            outcome,
            peers_given: seats.write(Some(&swarm), rng, out),
        })
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
        // As the map itself does it, on machines of every width.
        let rehash = |(hash, _): &(InfoHash, _)| {
            let mut hasher = self.hasher.build_hasher();
            hash.hash(&mut hasher);
            hasher.finish()
        };
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
