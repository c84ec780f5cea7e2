//! Private mode against a model too simple to be wrong: one ordered map of sessions, everything looked through each time, and
//! the accounts' rule applied to it. Now and then the tracker dies and begins anew from what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use shared::announce::{AnnounceReply, AnnounceRequest, Answer, Event};
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;

use super::{MemberAnnounced, MemberVisit, PrivateSwarms};
use crate::members::ids::{Date, MemberId, TorrentId, Which};
use crate::members::ledger::{Changes, Entry, Scribe, SessionKey};
use crate::members::rules::{self, Credit, Mark, Report, Tariff};
use crate::swarm::group::Kind;
use crate::swarm::{Outcome, Pace, Policy, SHARD_COUNT, SwarmLimits};

const TIMEOUT: Duration = Duration::from_secs(600);
const SESSION_AGE: Duration = Duration::from_secs(3_000);
const DAWN: Date = Date(1_800_000_000);
/// What is worth having when it is less than the bound of an index, and more than it.
const MEMBERS: u32 = 90;

#[derive(Clone, Debug)]
enum Step {
    Announce {
        torrent: u32,
        members: std::ops::Range<u32>,
        client: u8,
        /// Which of three addresses, each of either family.
        home: u8,
        is_v6: bool,
        which: Which,
        left: u64,
        uploaded: u64,
        event: Event,
    },
    /// Ten seconds a tick, so that the model need not know about ticks.
    Wait {
        ticks: u64,
    },
    Sweep,
    /// The store is given what has changed.
    Flush,
    /// The tracker ends with a snapshot and begins anew so many ticks later.
    Restart {
        ticks: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let event = prop_oneof![
        5 => Just(Event::None),
        2 => Just(Event::Started),
        2 => Just(Event::Completed),
        2 => Just(Event::Stopped),
        1 => Just(Event::Paused),
    ];
    let who = (1..3_u32, 0..MEMBERS, 1..60_u32, 0..3_u8);
    let place = (
        0..3_u8,
        any::<bool>(),
        prop::sample::select(vec![Which::First, Which::Second]),
    );
    let report = (0..3_u64, 0..50_u64, event);
    let announce = (who, place, report).prop_map(|(who, (home, is_v6, which), (left, uploaded, event))| {
        let (torrent, first, count, client) = who;
        let members = first..(first + count).min(MEMBERS);
        Step::Announce {
            torrent,
            members,
            client,
            home,
            is_v6,
            which,
            left,
            uploaded,
            event,
        }
    });
    prop_oneof![
        12 => announce,
        3 => (1..40_u64).prop_map(|ticks| Step::Wait { ticks }),
        2 => Just(Step::Sweep),
        1 => Just(Step::Flush),
        1 => (0..30_u64).prop_map(|ticks| Step::Restart { ticks }),
    ]
}

/// A session, and where and when its peer was heard: by family and hash.
#[derive(Clone, Debug)]
struct Session {
    mark: Mark,
    paused: bool,
    heard: BTreeMap<(bool, Which), u64>,
    v4: Option<SocketAddr>,
    v6: Option<SocketAddr>,
}

impl Session {
    fn kind(&self) -> Kind {
        match (self.mark.left, self.paused) {
            (0, _) => Kind::Seeder,
            (_, true) => Kind::Paused,
            _ => Kind::Downloader,
        }
    }

    fn is_here(&self) -> bool {
        !self.heard.is_empty()
    }

    fn address(&self, is_v6: bool) -> Option<SocketAddr> {
        let here = self.heard.keys().any(|(v6, _)| *v6 == is_v6);
        if is_v6 { self.v6 } else { self.v4 }.filter(|_| here)
    }

    fn end(&mut self) {
        self.heard.clear();
        self.paused = false;
        self.mark.ended = true;
    }
}

#[derive(Debug, Default)]
struct Model {
    sessions: BTreeMap<SessionKey, Session>,
    completed: BTreeMap<TorrentId, u32>,
    /// By member and torrent: uploaded, downloaded, completions since the last flush.
    accounts: BTreeMap<(MemberId, TorrentId), u64>,
    /// What the store would have.
    stored: BTreeMap<SessionKey, Mark>,
}

/// One announce, as the model takes it.
struct Said<'a> {
    key: SessionKey,
    which: Which,
    at: SocketAddr,
    request: &'a AnnounceRequest,
    secs: u64,
}

impl Model {
    fn announce(&mut self, said: &Said<'_>) -> (Outcome, Credit, bool) {
        let Said { key, request, .. } = *said;
        let report = Report {
            uploaded: request.uploaded,
            downloaded: request.downloaded,
            left: request.left,
            event: request.event,
            date: DAWN + Duration::from_secs(said.secs),
        };
        let old = self.sessions.get(&key).cloned();
        let (mark, credit) = rules::enter(old.as_ref().map(|old| &old.mark), &report);
        let was_here = old.as_ref().is_some_and(Session::is_here);
        *self.completed.entry(key.torrent).or_default() += u32::from(credit.completed);
        *self.accounts.entry((key.member, key.torrent)).or_default() += credit.uploaded;
        let mut session = old.clone().unwrap_or(Session {
            mark,
            paused: false,
            heard: BTreeMap::new(),
            v4: None,
            v6: None,
        });
        session.mark = mark;
        if request.event == Event::Stopped {
            session.end();
            self.sessions.insert(key, session);
            let outcome = if was_here {
                Outcome::Left
            } else {
                Outcome::WasNotHere
            };
            return (outcome, credit, false);
        }
        let family = said.at.is_ipv6();
        let heard = session.heard.insert((family, said.which), said.secs);
        session.paused = request.event == Event::Paused;
        *if family { &mut session.v6 } else { &mut session.v4 } = Some(said.at);
        self.sessions.insert(key, session);
        self.replace(said);
        // A clock of whole ticks gives ten seconds more than the tenth of five minutes.
        let too_soon = heard.is_some_and(|heard| said.secs - heard < 270);
        let changed_sides = old.is_some_and(|old| (old.mark.left == 0) != (request.left == 0));
        let outcome = match (credit.completed, was_here) {
            (true, _) => Outcome::Completed,
            (false, true) => Outcome::Refreshed,
            (false, false) => Outcome::Joined,
        };
        (outcome, credit, too_soon && !changed_sides)
    }

    /// The same member at the same address under another peer id is the same client.
    fn replace(&mut self, said: &Said<'_>) {
        for (key, other) in &mut self.sessions {
            let same = (key.member, key.torrent) == (said.key.member, said.key.torrent);
            if same && *key != said.key && other.address(said.at.is_ipv6()) == Some(said.at) {
                other.end();
            }
        }
    }

    fn sweep(&mut self, secs: u64) {
        let date = DAWN + Duration::from_secs(secs);
        for session in self.sessions.values_mut() {
            let was_here = session.is_here();
            session
                .heard
                .retain(|_, heard| secs - *heard <= TIMEOUT.as_secs());
            if was_here && !session.is_here() {
                session.end();
            }
        }
        self.sessions
            .retain(|_, session| session.is_here() || date.since(session.mark.heard) <= SESSION_AGE);
    }

    fn here(&self, torrent: TorrentId) -> impl Iterator<Item = (&SessionKey, &Session)> {
        let here =
            move |(key, session): &(&SessionKey, &Session)| key.torrent == torrent && session.is_here();
        self.sessions.iter().filter(here)
    }

    fn count(&self, torrent: TorrentId, kind: Kind) -> u32 {
        let count = self
            .here(torrent)
            .filter(|(_, session)| session.kind() == kind)
            .count();
        u32::try_from(count).unwrap()
    }

    /// What an asker may be given: for each peer its addresses under the hash.
    fn useful(&self, said: &Said<'_>) -> Vec<BTreeSet<SocketAddr>> {
        let request = said.request;
        let asks = match (request.left, request.event) {
            (0, Event::Started) => &Kind::ALL[..],
            (0, _) | (_, Event::Paused) => &[Kind::Downloader][..],
            _ => &Kind::ALL[..],
        };
        let addresses = |session: &Session| -> BTreeSet<SocketAddr> {
            let heard = |is_v6| session.heard.contains_key(&(is_v6, said.which));
            let all = [false, true].into_iter().filter(|&is_v6| heard(is_v6));
            let at = |is_v6| if is_v6 { session.v6 } else { session.v4 };
            all.filter_map(at).filter(|at| *at != said.at).collect()
        };
        self.here(said.key.torrent)
            .filter(|(key, session)| **key != said.key && asks.contains(&session.kind()))
            .map(|(_, session)| addresses(session))
            .filter(|addresses| !addresses.is_empty())
            .collect()
    }
}

/// Public addresses only: what homes do to addresses is tested where it is decided. A member has three homes.
fn endpoint(member: u32, home: u8, is_v6: bool) -> SocketAddr {
    let member = u8::try_from(member).unwrap();
    let ip = if is_v6 {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, u16::from(home), u16::from(member)])
    } else {
        IpAddr::from([198, 51, 100 + home, member])
    };
    SocketAddr::new(ip, 6881)
}

struct NoJournal;

impl Scribe for NoJournal {
    fn enter(&self, _: u64, _: &Entry) {}
}

fn policy() -> Policy {
    Policy {
        pace: Pace {
            small_peers: 0,
            ..Pace::default()
        },
        numwant_max: 1_000,
        ..Policy::default()
    }
}

/// The tracker under test, whose moments begin anew with every restart.
struct Real {
    swarms: PrivateSwarms,
    started: u64,
}

impl Real {
    fn new(started: u64) -> Self {
        let limits = SwarmLimits {
            peers_per_member: 100,
            sessions_per_member: 1_000,
            ..SwarmLimits::default()
        };
        Self {
            swarms: PrivateSwarms::new(limits, [1, 2, 3, started]),
            started,
        }
    }

    fn now(&self, secs: u64) -> Moment {
        Moment::from_secs(secs - self.started)
    }

    fn announce(&self, said: &Said<'_>) -> (MemberAnnounced, AnnounceReply) {
        let visit = MemberVisit {
            now: self.now(said.secs),
            date: DAWN + Duration::from_secs(said.secs),
            request: said.request,
            member: said.key.member,
            torrent: said.key.torrent,
            which: said.which,
            sender: said.at.ip(),
            reached: None,
            policy: &policy(),
            tariff: Tariff::default(),
            warning: None,
        };
        let (mut out, mut dice) = (Vec::new(), SmallRng::seed_from_u64(said.secs));
        let announced = self.swarms.announce(&visit, &NoJournal, &mut dice, &mut out);
        match Answer::decode(&out).unwrap() {
            Answer::Reply(reply) => (announced, reply),
            Answer::Failure(failure) => panic!("{failure:?}"),
        }
    }

    fn collect(&self, secs: u64, changes: &mut Changes, mut snapshot: Option<&mut Vec<Vec<u8>>>) {
        for shard in 0..SHARD_COUNT {
            let mut chunk = Vec::new();
            let wanted = snapshot.is_some().then_some(&mut chunk);
            self.swarms
                .collect_shard(shard, 1, self.now(secs), changes, wanted);
            if let Some(chunks) = &mut snapshot {
                chunks.push(chunk);
            }
        }
    }
}

/// The store's side of a flush: what was collected is what the model expects.
fn flush(model: &mut Model, changes: &Changes) {
    for key in &changes.forgotten {
        model.stored.remove(key);
    }
    model.stored.extend(&changes.sessions);
    let marks: BTreeMap<_, _> = model
        .sessions
        .iter()
        .map(|(key, session)| (*key, session.mark))
        .collect();
    assert_eq!(model.stored, marks, "the store has every session as it is");
    let accounts: BTreeMap<_, _> = changes
        .accounts
        .iter()
        .map(|(account, delta)| (*account, delta.uploaded))
        .collect();
    assert_eq!(accounts, std::mem::take(&mut model.accounts));
}

fn check_reply(announced: &MemberAnnounced, reply: &AnnounceReply, model: &Model, said: &Said<'_>) {
    let torrent = said.key.torrent;
    let leechers = model.count(torrent, Kind::Downloader) + model.count(torrent, Kind::Paused);
    assert_eq!(reply.complete, Some(model.count(torrent, Kind::Seeder)));
    assert_eq!(reply.incomplete, Some(leechers));
    assert_eq!(
        (reply.complete, leechers),
        (Some(announced.seeders), announced.leechers)
    );
    assert_eq!(reply.downloaded, model.completed.get(&torrent).copied());
    let given: BTreeSet<SocketAddr> = reply.peers.iter().copied().collect();
    if announced.early || said.request.event == Event::Stopped {
        assert_eq!((given.len(), announced.peers_given), (0, 0));
        return;
    }
    let useful = model.useful(said);
    let all: BTreeSet<SocketAddr> = useful.iter().flatten().copied().collect();
    let numwant = said.request.numwant.unwrap() as usize;
    assert_eq!(announced.peers_given as usize, useful.len().min(numwant));
    if useful.len() <= numwant {
        assert_eq!(given, all);
        assert_eq!(reply.peers.len(), useful.iter().map(BTreeSet::len).sum::<usize>());
    } else {
        let whole = useful.iter().filter(|addresses| addresses.is_subset(&given));
        assert!(whole.count() >= numwant, "a chosen peer brings all its addresses");
        assert!(given.is_subset(&all));
    }
}

fn check_all(real: &Real, model: &Model) {
    let totals = real.swarms.totals();
    let here = model.sessions.values().filter(|session| session.is_here());
    let both = here
        .clone()
        .filter(|session| session.address(false).is_some() && session.address(true).is_some());
    assert_eq!(totals.peers(), here.clone().count() as u64);
    assert_eq!(totals.peers_both, both.count() as u64);
    assert_eq!(totals.asleep, model.sessions.len() as u64 - totals.peers());
    assert_eq!(
        totals.seeders + totals.downloaders + totals.paused,
        totals.peers()
    );
    for torrent in [TorrentId(1), TorrentId(2)] {
        for member in 0..MEMBERS {
            let shown = real.swarms.sessions_of(torrent, MemberId(member));
            let expected = model
                .sessions
                .iter()
                .filter(|(key, _)| key.torrent == torrent && key.member == MemberId(member));
            let of = |(key, session): (&SessionKey, &Session)| {
                let at = (session.address(false), session.address(true));
                (key.peer_id, (session.mark, at))
            };
            let expected: BTreeMap<_, _> = expected.map(of).collect();
            let shown: BTreeMap<_, _> = shown
                .iter()
                .map(|session| (session.peer_id, (session.mark, (session.v4, session.v6))))
                .collect();
            assert_eq!(shown, expected);
        }
    }
}

fn run(steps: &[Step]) {
    let (mut real, mut model, mut secs) = (Real::new(0), Model::default(), 0);
    for step in steps {
        match step.clone() {
            Step::Wait { ticks } => secs += 10 * ticks,
            Step::Sweep => {
                for shard in 0..SHARD_COUNT {
                    let date = DAWN + Duration::from_secs(secs);
                    real.swarms
                        .sweep_shard(shard, real.now(secs), date, TIMEOUT, SESSION_AGE);
                }
                model.sweep(secs);
                check_all(&real, &model);
            }
            Step::Flush => {
                let mut changes = Changes::default();
                real.collect(secs, &mut changes, None);
                flush(&mut model, &changes);
            }
            Step::Restart { ticks } => {
                let (mut changes, mut chunks) = (Changes::default(), Vec::new());
                real.collect(secs, &mut changes, Some(&mut chunks));
                flush(&mut model, &changes);
                secs += 10 * ticks;
                real = Real::new(secs);
                let age = Duration::from_secs(10 * ticks);
                let date = DAWN + Duration::from_secs(secs);
                for chunk in &chunks {
                    real.swarms.restore(chunk, age, real.now(secs), date).unwrap();
                }
                check_all(&real, &model);
            }
            announce @ Step::Announce { .. } => take_announces(&real, &mut model, secs, announce),
        }
    }
    check_all(&real, &model);
}

fn take_announces(real: &Real, model: &mut Model, secs: u64, step: Step) {
    let Step::Announce {
        torrent,
        members,
        client,
        home,
        is_v6,
        which,
        left,
        uploaded,
        event,
    } = step
    else {
        return;
    };
    for member in members {
        let key = SessionKey {
            torrent: TorrentId(torrent),
            member: MemberId(member),
            peer_id: PeerId([client; 20]),
        };
        let mut request = AnnounceRequest::new(InfoHash([0; 20]), key.peer_id, 6881);
        (request.left, request.event, request.uploaded) = (left, event, uploaded);
        request.numwant = Some(member % 7 * 20);
        let said = Said {
            key,
            which,
            at: endpoint(member, home, is_v6),
            request: &request,
            secs,
        };
        let (announced, reply) = real.announce(&said);
        let (outcome, credit, early) = model.announce(&said);
        assert_eq!(
            (announced.outcome, announced.credit, announced.early),
            (outcome, credit, early)
        );
        check_reply(&announced, &reply, model, &said);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_private_swarms_agree_with_a_model_too_simple_to_be_wrong(steps in prop::collection::vec(step(), 1..30)) {
        run(&steps);
    }

    #[test]
    fn no_bytes_of_a_snapshot_do_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..400), age in 0..1_000_000_u64) {
        let swarms = PrivateSwarms::new(SwarmLimits::default(), [1, 2, 3, 4]);
        if let Some(form) = bytes.first_mut() {
            *form = 2;
        }
        let (age, now) = (Duration::from_secs(age), Moment::from_secs(77));
        let _ = swarms.restore(&bytes, age, now, DAWN);
        let totals = swarms.totals();
        prop_assert!(totals.peers() + totals.asleep <= 10);
    }

    #[test]
    fn a_damaged_snapshot_is_read_as_far_as_it_goes(steps in prop::collection::vec(step(), 1..6), at: prop::sample::Index, bit in 0..8_u8) {
        let (real, mut model) = (Real::new(0), Model::default());
        for step in steps {
            take_announces(&real, &mut model, 0, step);
        }
        let mut chunks = Vec::new();
        real.collect(0, &mut Changes::default(), Some(&mut chunks));
        for chunk in chunks.iter_mut().filter(|chunk| chunk.len() > 1) {
            let at = 1 + at.index(chunk.len() - 1);
            chunk[at] ^= 1 << bit;
            let next = Real::new(0);
            let _ = next.swarms.restore(chunk, Duration::ZERO, Moment::START, DAWN);
            let totals = next.swarms.totals();
            prop_assert!(totals.peers() + totals.asleep <= chunk.len() as u64 / 48);
        }
    }
}
