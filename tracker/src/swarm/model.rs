//! The swarms against a model too simple to be wrong: one ordered map, everything looked through each time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use shared::announce::{AnnounceReply, AnnounceRequest, Answer, Event};
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;
use shared::scrape::ScrapeAnswer;

use super::group::Kind;
use super::{Announced, Outcome, Pace, Policy, Refusal, SHARD_COUNT, SwarmLimits, Swarms, Visit};

/// Above the tables' bounds, so that swarms change shape both ways; below the number of peers, so that some are full.
const LIMITS: SwarmLimits = SwarmLimits {
    peers_per_swarm: 150,
    swarms: 3,
    peers: 300,
    peers_per_member: 16,
    sessions_per_member: 144,
};
const TIMEOUT: Duration = Duration::from_secs(600);

/// No swarm is small: what short intervals do is tested where they are decided.
fn policy() -> Policy {
    Policy {
        pace: Pace {
            small_peers: 0,
            ..Pace::default()
        },
        ..Policy::default()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Announce {
        torrent: u8,
        peers: std::ops::Range<u8>,
        is_v6: bool,
        left: u64,
        event: Event,
        numwant: u32,
    },
    /// Ten seconds a tick, so that the model need not know about ticks.
    Wait {
        ticks: u64,
    },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let event = prop_oneof![
        5 => Just(Event::None),
        2 => Just(Event::Started),
        2 => Just(Event::Completed),
        2 => Just(Event::Stopped),
        1 => Just(Event::Paused),
    ];
    let announce = (
        0..4_u8,
        0..200_u8,
        1..60_u8,
        any::<bool>(),
        0..3_u64,
        event,
        0..80_u32,
    );
    prop_oneof![
        12 => announce.prop_map(|(torrent, first, count, is_v6, left, event, numwant)| Step::Announce {
            torrent,
            peers: first..first.saturating_add(count),
            is_v6,
            left,
            event,
            numwant,
        }),
        2 => (1..40_u64).prop_map(|ticks| Step::Wait { ticks }),
        1 => Just(Step::Sweep),
    ]
}

#[derive(Debug, Default)]
struct Model {
    swarms: BTreeMap<InfoHash, Naive>,
}

#[derive(Debug, Default)]
struct Naive {
    peers: BTreeMap<SocketAddr, (Kind, Moment)>,
    completed: u32,
    stirred: Moment,
}

impl Naive {
    fn of(&self, kind: Kind) -> BTreeSet<SocketAddr> {
        let of_kind = self.peers.iter().filter(|(_, (is, _))| *is == kind);
        of_kind.map(|(peer, _)| *peer).collect()
    }

    fn useful_to(&self, peer: SocketAddr, request: &AnnounceRequest) -> BTreeSet<SocketAddr> {
        let kind = kind_of(request);
        let begins = kind == Kind::Seeder && request.event == Event::Started;
        let kinds = if kind == Kind::Downloader || begins {
            &Kind::ALL[..]
        } else {
            &[Kind::Downloader][..]
        };
        let mut useful: BTreeSet<_> = kinds.iter().flat_map(|&kind| self.of(kind)).collect();
        useful.remove(&peer);
        useful
    }
}

impl Model {
    fn total(&self) -> u64 {
        self.swarms.values().map(|swarm| swarm.peers.len() as u64).sum()
    }

    fn announce(&mut self, now: Moment, request: &AnnounceRequest, peer: SocketAddr) -> (Outcome, bool) {
        let (hash, kind) = (request.info_hash, kind_of(request));
        let (room, count) = (self.total() < LIMITS.peers, self.swarms.len() as u64);
        if request.event == Event::Stopped {
            return (self.part(now, hash, peer), false);
        }
        let full = |refusal| (Outcome::Refused(refusal), false);
        if !self.swarms.contains_key(&hash) && (!room || count == LIMITS.swarms) {
            return full(Refusal::TrackerFull);
        }
        let swarm = self.swarms.entry(hash).or_default();
        let before = swarm.peers.get(&peer).copied();
        if before.is_none() && !room {
            return full(Refusal::TrackerFull);
        }
        if before.is_none() && length(&swarm.peers) >= LIMITS.peers_per_swarm {
            return full(Refusal::SwarmFull);
        }
        swarm.peers.insert(peer, (kind, now));
        let Some((was, heard)) = before else {
            swarm.stirred = now;
            return (Outcome::Joined, false);
        };
        // A clock of whole ticks gives ten seconds more than the tenth of five minutes.
        let early =
            now.since(heard) < Duration::from_secs(270) && (was == Kind::Seeder) == (kind == Kind::Seeder);
        if was != Kind::Seeder && kind == Kind::Seeder {
            swarm.completed += 1;
            return (Outcome::Completed, early);
        }
        (Outcome::Refreshed, early)
    }

    fn part(&mut self, now: Moment, hash: InfoHash, peer: SocketAddr) -> Outcome {
        let Some(swarm) = self.swarms.get_mut(&hash) else {
            return Outcome::WasNotHere;
        };
        let was_here = swarm.peers.remove(&peer).is_some();
        if was_here {
            swarm.stirred = now;
        }
        if swarm.peers.is_empty() && swarm.completed == 0 {
            self.swarms.remove(&hash);
        }
        if was_here {
            Outcome::Left
        } else {
            Outcome::WasNotHere
        }
    }

    fn sweep(&mut self, now: Moment) {
        for swarm in self.swarms.values_mut() {
            swarm.peers.retain(|_, (_, heard)| now.since(*heard) <= TIMEOUT);
        }
        self.swarms.retain(|_, swarm| {
            let fresh = now.since(swarm.stirred) <= TIMEOUT;
            !swarm.peers.is_empty() || (swarm.completed > 0 && fresh)
        });
    }
}

fn kind_of(request: &AnnounceRequest) -> Kind {
    match (request.left, request.event) {
        (0, _) => Kind::Seeder,
        (_, Event::Paused) => Kind::Paused,
        _ => Kind::Downloader,
    }
}

fn count(peers: &BTreeSet<SocketAddr>) -> u32 {
    u32::try_from(peers.len()).unwrap()
}

fn length(peers: &BTreeMap<SocketAddr, (Kind, Moment)>) -> u32 {
    u32::try_from(peers.len()).unwrap()
}

/// Public addresses only: what homes do to addresses is tested where it is decided.
fn endpoint(number: u8, is_v6: bool) -> SocketAddr {
    let ip = if is_v6 {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)])
    } else {
        IpAddr::from([198, 51, 100, number])
    };
    SocketAddr::new(ip, 6881)
}

fn announce(
    swarms: &Swarms,
    now: Moment,
    request: &AnnounceRequest,
    peer: SocketAddr,
) -> (Announced, Answer) {
    let policy = policy();
    let visit = Visit {
        now,
        request,
        sender: peer.ip(),
        reached: None,
        policy: &policy,
    };
    let mut out = Vec::new();
    let mut dice = SmallRng::seed_from_u64(now.as_millis());
    let announced = swarms.announce(&visit, &mut dice, &mut out);
    let answer = Answer::decode(&out).unwrap();
    if let Answer::Reply(reply) = &answer {
        assert_eq!(u32::try_from(reply.peers.len()).unwrap(), announced.peers_given);
    }
    (announced, answer)
}

fn check_reply(reply: &AnnounceReply, swarm: Option<&Naive>, asker: SocketAddr, request: &AnnounceRequest) {
    let early = reply.warning.is_some();
    let empty = Naive::default();
    let swarm = swarm.unwrap_or(&empty);
    let seeders = count(&swarm.of(Kind::Seeder));
    assert_eq!(reply.complete, Some(seeders));
    assert_eq!(reply.incomplete, Some(length(&swarm.peers) - seeders));
    assert_eq!(reply.downloaded, Some(swarm.completed));
    let useful = swarm.useful_to(asker, request);
    let farewell = request.event == Event::Stopped;
    let numwant = request
        .numwant
        .filter(|_| !farewell && !early)
        .unwrap_or_default();
    let given: BTreeSet<_> = reply.peers.iter().copied().collect();
    assert_eq!(given.len(), reply.peers.len(), "somebody is given twice");
    assert!(given.is_subset(&useful), "{given:?} of {useful:?}");
    assert_eq!(
        given.len(),
        useful.len().min(numwant as usize),
        "as many as wanted, or all"
    );
}

fn check_all(swarms: &Swarms, model: &Model) {
    let mut scrape = Vec::new();
    swarms.scrape_all(&mut scrape);
    let Ok(ScrapeAnswer::Files(files)) = ScrapeAnswer::decode(&scrape) else {
        panic!("{scrape:?}")
    };
    assert_eq!(files.len(), model.swarms.len());
    for ((hash, counts), (expected, swarm)) in files.iter().zip(&model.swarms) {
        assert_eq!(hash, expected);
        assert_eq!(counts.complete as usize, swarm.of(Kind::Seeder).len());
        assert_eq!(
            counts.downloaders.unwrap() as usize,
            swarm.of(Kind::Downloader).len()
        );
        assert_eq!(
            counts.incomplete - counts.downloaders.unwrap(),
            count(&swarm.of(Kind::Paused))
        );
        assert_eq!(counts.downloaded, swarm.completed);
        for kind in Kind::ALL {
            assert_eq!(swarms.members(hash, kind), swarm.of(kind));
        }
    }
    let totals = swarms.totals();
    assert_eq!(totals.swarms, model.swarms.len() as u64);
    assert_eq!(totals.peers(), model.total());
    assert_eq!(totals.seeders + totals.downloaders + totals.paused, model.total());
    assert_eq!(
        totals.peers_v6,
        model
            .swarms
            .values()
            .flat_map(|s| s.peers.keys())
            .filter(|p| p.is_ipv6())
            .count() as u64
    );
}

/// What came of the steps, and when it was then.
fn played(steps: &[Step]) -> (Swarms, Model, Moment) {
    let (swarms, mut model) = (Swarms::new(LIMITS, [1, 2, 3, 4]), Model::default());
    let mut now = Moment::START;
    for step in steps {
        match step.clone() {
            Step::Wait { ticks } => now = now + Duration::from_secs(10 * ticks),
            Step::Sweep => {
                for shard in 0..SHARD_COUNT {
                    swarms.sweep_shard(shard, now, TIMEOUT);
                }
                model.sweep(now);
                check_all(&swarms, &model);
            }
            Step::Announce {
                torrent,
                peers,
                is_v6,
                left,
                event,
                numwant,
            } => {
                let hash = InfoHash([torrent; 20]);
                for number in peers {
                    let peer = endpoint(number, is_v6);
                    let mut request = AnnounceRequest::new(hash, PeerId([number; 20]), peer.port());
                    (request.left, request.event, request.numwant) = (left, event, Some(numwant));
                    let (announced, answer) = announce(&swarms, now, &request, peer);
                    let (outcome, early) = model.announce(now, &request, peer);
                    assert_eq!((announced.outcome, announced.early), (outcome, early));
                    match answer {
                        Answer::Reply(reply) => {
                            assert_eq!(reply.warning.is_some(), early);
                            check_reply(&reply, model.swarms.get(&hash), peer, &request);
                        }
                        Answer::Failure(_) => assert!(matches!(outcome, Outcome::Refused(_))),
                    }
                }
            }
        }
    }
    check_all(&swarms, &model);
    (swarms, model, now)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_swarms_agree_with_a_model_too_simple_to_be_wrong(steps in prop::collection::vec(step(), 1..40)) {
        played(&steps);
    }

    #[test]
    fn the_swarms_come_back_from_a_snapshot_as_they_were(steps in prop::collection::vec(step(), 1..20), age in 0..30_u64) {
        let (swarms, model, now) = played(&steps);
        let (next, later) = (Swarms::new(LIMITS, [4, 3, 2, 1]), Moment::from_secs(5));
        let mut restored = 0;
        for chunk in snapshot(&swarms, now) {
            restored += next.restore(&chunk, Duration::from_secs(10 * age), later).unwrap();
        }
        prop_assert_eq!(restored as u64, model.total());
        check_all(&next, &model);
        let silent = |swarms: &Swarms, at| {
            (0..SHARD_COUNT).map(|shard| swarms.sweep_shard(shard, at, TIMEOUT).peers).sum::<u64>()
        };
        prop_assert_eq!(silent(&next, later), silent(&swarms, now + Duration::from_secs(10 * age)));
    }

    #[test]
    fn no_bytes_of_a_snapshot_do_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..400), age in 0..1_000_000_u64) {
        let swarms = Swarms::new(LIMITS, [1, 2, 3, 4]);
        if let Some(form) = bytes.first_mut() {
            *form = 1;
        }
        let _ = swarms.restore(&bytes, Duration::from_secs(age), Moment::from_secs(7));
        prop_assert!(swarms.totals().peers() <= 50);
    }

    #[test]
    fn a_damaged_snapshot_does_no_harm(steps in prop::collection::vec(step(), 1..6), at: prop::sample::Index, bit in 0..8_u8) {
        let (swarms, _, now) = played(&steps);
        for mut chunk in snapshot(&swarms, now).into_iter().filter(|chunk| chunk.len() > 1) {
            let at = 1 + at.index(chunk.len() - 1);
            chunk[at] ^= 1 << bit;
            let next = Swarms::new(LIMITS, [1, 2, 3, 4]);
            let _ = next.restore(&chunk, Duration::ZERO, now);
            prop_assert!(next.totals().peers() <= chunk.len() as u64 / 8);
        }
    }
}

fn snapshot(swarms: &Swarms, now: Moment) -> Vec<Vec<u8>> {
    let chunk = |shard| {
        let mut chunk = Vec::new();
        swarms.snapshot_shard(shard, now, &mut chunk);
        chunk
    };
    (0..SHARD_COUNT).map(chunk).collect()
}
