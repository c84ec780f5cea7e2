//! All torrents of a private tracker, behind one map that nobody else sees: a guard never leaves one of these functions, and a
//! stripe of the ledger is locked only by whoever holds its shard.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use dashmap::{DashMap, SharedValue};
use rand::Rng;
use shared::announce::{AnnounceRequest, Event, RetryIn};
use shared::compact::{decode_v4, decode_v6};
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;

use super::record::{Past, Record, Sighting};
use super::reply::{Form, Reply};
use super::stripe::Stripe;
use super::swarm::{Swarm, Wish};
use super::visit::{Act, Addresses, Place};
use crate::members::ids::{Date, MemberId, TorrentId, Which};
use crate::members::ledger::{Changes, Entry, Scribe, SessionKey};
use crate::members::rules::{self, Charged, Credit, Mark, Report, Tariff};
use crate::swarm::codec::Reader;
use crate::swarm::group::Counts;
use crate::swarm::home::{Asker, Endpoint};
use crate::swarm::reply::{write_failure, write_file};
use crate::swarm::swarms::{FULL_RETRY, wants_of};
use crate::swarm::tick::{Silence, Tick};
use crate::swarm::totals::Sums;
use crate::swarm::{Outcome, Policy, Refusal, SHARD_COUNT, SnapshotError, SwarmLimits, Swept, Totals};

/// The form of a private chunk of a snapshot.
const FORM: u8 = 2;

/// One announce of a member, whose key and torrent the edge has found good.
#[derive(Clone, Copy, Debug)]
pub struct MemberVisit<'a> {
    pub now: Moment,
    pub date: Date,
    pub request: &'a AnnounceRequest,
    pub member: MemberId,
    pub torrent: TorrentId,
    pub which: Which,
    /// The client's address: the socket's other end, or what a trusted proxy says.
    pub sender: IpAddr,
    /// The tracker's own address at which the client came in, where the edge knows it without asking anew.
    pub reached: Option<IpAddr>,
    pub policy: &'a Policy,
    pub tariff: Tariff,
    /// A sentence for `warning message`, if the edge has one: at most 64 characters.
    pub warning: Option<&'a str>,
}

/// The facts of one announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberAnnounced {
    pub outcome: Outcome,
    /// Peers in the reply, each with all its addresses.
    pub peers_given: u32,
    /// It came before its time and was given no peers.
    pub early: bool,
    pub credit: Credit,
    pub charged: Charged,
    /// The swarm's, the announcer included.
    pub seeders: u32,
    pub leechers: u32,
    /// Since this session's report before; none at first sight.
    pub elapsed: Option<Duration>,
    /// Somebody else of the torrent missed bytes at some time since that report, or nobody can tell.
    pub wanted: bool,
    /// Something was entered into the journal: settle before answering.
    pub entered: bool,
}

/// What becomes of a member's sessions in a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    Stays,
    /// Its peers leave; its sessions sleep, with their counters.
    Leaves,
    /// Nothing of them is kept.
    Forgotten,
}

/// A session as tests look at it.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberSession {
    pub torrent: TorrentId,
    pub peer_id: PeerId,
    pub mark: Mark,
    /// Where its peer is; none while it sleeps.
    pub v4: Option<SocketAddr>,
    pub v6: Option<SocketAddr>,
    /// A check has reached it at one of them.
    pub reachable: bool,
}

#[cfg(test)]
impl MemberSession {
    /// Is its peer in the swarm?
    pub(crate) fn is_here(&self) -> bool {
        self.v4.is_some() || self.v6.is_some()
    }
}

/// Every torrent of the tracker with its peers and sleeping sessions. Shared by reference; each call locks one shard at a time.
#[derive(Debug)]
pub struct PrivateSwarms {
    map: DashMap<TorrentId, Swarm, RandomState>,
    hasher: RandomState,
    /// One for each shard.
    stripes: Box<[Mutex<Stripe>]>,
    limits: SwarmLimits,
    sums: Sums,
}

/// What is locked while something is done with one torrent.
struct Hold<'a> {
    swarm: &'a mut Swarm,
    stripe: MutexGuard<'a, Stripe>,
}

impl PrivateSwarms {
    /// `hash_key` must be random.
    pub fn new(limits: SwarmLimits, hash_key: [u64; 4]) -> Self {
        let [a, b, c, d] = hash_key;
        let hasher = RandomState::with_seeds(a, b, c, d);
        Self {
            map: DashMap::with_hasher_and_shard_amount(hasher.clone(), SHARD_COUNT),
            hasher,
            stripes: (0..SHARD_COUNT).map(|_| Mutex::default()).collect(),
            limits,
            sums: Sums::default(),
        }
    }

    /// Takes one announce in and appends the whole reply to `out`.
    pub fn announce(
        &self,
        visit: &MemberVisit<'_>,
        scribe: &impl Scribe,
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> MemberAnnounced {
        let tick = Tick::at(visit.now);
        let open = || Swarm::new(tick, false);
        self.with(visit.torrent, open, |hold| {
            self.meet(hold, visit, scribe, rng, out)
        })
    }

    /// Does something with one torrent and its stripe, under the shard's lock. `open` makes the torrent if it is not there.
    #[expect(
        clippy::indexing_slicing,
        reason = "the map says in which of its shards a key is"
    )]
    fn with<T>(
        &self,
        torrent: TorrentId,
        open: impl FnOnce() -> Swarm,
        work: impl FnOnce(Hold<'_>) -> T,
    ) -> T {
        let hash = self.hasher.hash_one(torrent);
        let shard = self.map.determine_map(&torrent);
        let mut table = self.map.shards()[shard].write();
        let stripe = self.stripe(shard);
        if let Some((_, swarm)) = table.get_mut(hash, |(key, _)| *key == torrent) {
            let swarm = swarm.get_mut();
            return work(Hold { swarm, stripe });
        }
        self.sums.open_swarm(u64::MAX);
        let rehash = |(key, _): &(TorrentId, _)| self.hasher.hash_one(key);
        let (_, swarm) = table.insert_entry(hash, (torrent, SharedValue::new(open())), rehash);
        let swarm = swarm.get_mut();
        work(Hold { swarm, stripe })
    }

    /// A shard's part of the ledger. Whoever calls this holds the shard.
    #[expect(clippy::indexing_slicing, reason = "there is a stripe for every shard")]
    fn stripe(&self, shard: usize) -> MutexGuard<'_, Stripe> {
        self.stripes[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes through one shard under its lock, after `begin`; keeps the torrents for which `each` holds. The shard is rebuilt, which takes microseconds and
    /// gives back what a shrunken one no longer needs. Returns how many torrents went.
    fn walk<S>(
        &self,
        shard: usize,
        begin: impl FnOnce(&mut Stripe) -> S,
        mut each: impl FnMut(&S, &mut Stripe, TorrentId, &mut Swarm) -> bool,
    ) -> u64 {
        let Some(locked) = self.map.shards().get(shard) else {
            return 0;
        };
        let mut table = locked.write();
        let mut stripe = self.stripe(shard);
        let state = begin(&mut stripe);
        let old = std::mem::take(&mut *table);
        let rehash = |(torrent, _): &(TorrentId, _)| self.hasher.hash_one(torrent);
        let before = old.len();
        let mut kept = Vec::with_capacity(before);
        for (torrent, mut swarm) in old {
            if each(&state, &mut stripe, torrent, swarm.get_mut()) {
                kept.push((torrent, swarm));
            }
        }
        let gone = (before - kept.len()) as u64;
        table.reserve(kept.len(), rehash);
        for item in kept {
            table.insert(rehash(&item), item, rehash);
        }
        self.sums.close_swarms(gone);
        gone
    }

    /// Takes an announce in: accounts, journal, peer, reply.
    #[expect(
        clippy::too_many_arguments,
        reason = "what `announce` was given, and what it has locked"
    )]
    fn meet(
        &self,
        mut hold: Hold<'_>,
        visit: &MemberVisit<'_>,
        scribe: &impl Scribe,
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> MemberAnnounced {
        let request = visit.request;
        let (now, farewell) = (Tick::at(visit.now), request.event == Event::Stopped);
        let at = hold.swarm.find(visit.member, &request.peer_id);
        let before = at.and_then(|at| hold.swarm.get(at)).map(Record::mark);
        let was_here = at.and_then(|at| hold.swarm.get(at)).is_some_and(Record::is_here);
        let refusal = self.refusal(hold.swarm).filter(|_| !was_here && !farewell);
        if let (Some(refusal), None) = (refusal, before) {
            return refuse(refusal, visit, &Known::nothing(hold.swarm), out);
        }

        let report = visit.report();
        let addresses = Addresses::of(visit);
        let (mark, credit) = rules::enter(before.as_ref(), &report);
        let elapsed = before.map(|mark| visit.date.since(mark.heard));
        let known = Known {
            credit,
            charged: rules::charge(&credit, visit.tariff),
            elapsed,
            wanted: elapsed.is_none_or(|elapsed| hold.swarm.wanted(at, elapsed, now)),
            entered: rules::is_lasting(before.as_ref(), &report),
            counts: Counts::default(),
        };
        let changed_sides = before.is_some_and(|mark| (mark.left == 0) != (report.left == 0));
        let early = !farewell && !changed_sides && is_early(hold.swarm, at, addresses, visit);
        let act = Act {
            member: visit.member,
            peer_id: &request.peer_id,
            mark,
            credit,
            event: request.event,
            place: (!farewell && refusal.is_none())
                .then(|| Place::new(addresses, visit.which, now, visit.policy)),
            replayed: false,
            now,
        };
        let session = visit.session();
        let at = self.enter(&mut hold, &session, &act, at);
        hold.stripe.book(&session, &report, &known.credit, known.charged);
        if known.entered {
            let entry = Entry {
                session,
                which: visit.which,
                address: addresses.main.address(),
                before,
                report,
            };
            scribe.enter(hold.stripe.segment, &entry);
        }
        let known = Known {
            counts: hold.swarm.counts(),
            ..known
        };
        if let Some(refusal) = refusal {
            return refuse(refusal, visit, &known, out);
        }
        let peers_given = Self::answer(&mut hold, visit, at, early, rng, out);
        let outcome = match (farewell, was_here) {
            (true, true) => Outcome::Left,
            (true, false) => Outcome::WasNotHere,
            _ if credit.completed => Outcome::Completed,
            (false, true) => Outcome::Refreshed,
            (false, false) => Outcome::Joined,
        };
        known.announced(outcome, peers_given, early)
    }

    /// Why nobody new may join.
    fn refusal(&self, swarm: &Swarm) -> Option<Refusal> {
        if self.sums.peers() >= self.limits.peers {
            Some(Refusal::TrackerFull)
        } else if swarm.counts().total() >= self.limits.peers_per_swarm {
            Some(Refusal::SwarmFull)
        } else {
            None
        }
    }

    /// Applies an announce to its session and keeps the member within its bounds. Returns where the session stands.
    fn enter(&self, hold: &mut Hold<'_>, session: &SessionKey, act: &Act<'_>, at: Option<usize>) -> usize {
        let was_here = at.and_then(|at| hold.swarm.get(at)).is_some_and(Record::is_here);
        let place = act.apply(hold.swarm, at, &self.sums);
        hold.stripe.changed.insert(session.torrent);
        if was_here || (at.is_some() && act.place.is_none()) {
            return place;
        }
        let census = hold.swarm.census(session.member, &session.peer_id);
        let find = |swarm: &Swarm, peer_id: &PeerId| swarm.find(session.member, peer_id);
        if census.peers.count > self.limits.peers_per_member
            && let Some((_, oldest)) = census.peers.oldest
            && let Some(oldest) = find(hold.swarm, &oldest)
        {
            hold.swarm.update(oldest, &self.sums, act.now, Record::end);
        }
        if census.peers.count + census.sleepers.count > self.limits.sessions_per_member
            && let Some((_, oldest)) = census.sleepers.oldest
            && let Some(oldest) = find(hold.swarm, &oldest)
        {
            if let Some(record) = hold.swarm.get(oldest) {
                hold.stripe.forget(session.torrent, record);
            }
            hold.swarm.remove(oldest, &self.sums);
        }
        let place = find(hold.swarm, &session.peer_id).unwrap_or(place);
        debug_assert!(
            hold.swarm.len() > SOUND_MAX || hold.swarm.is_sound(),
            "after a session was entered"
        );
        place
    }

    /// Writes the reply.
    #[expect(
        clippy::too_many_arguments,
        reason = "what `announce` was given, and what it found out"
    )]
    fn answer(
        hold: &mut Hold<'_>,
        visit: &MemberVisit<'_>,
        at: usize,
        early: bool,
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> u32 {
        let (request, policy) = (visit.request, visit.policy);
        let brisk = policy.is_brisk(hold.swarm.crowd(), Tick::at(visit.now));
        if let Some(record) = hold.swarm.get_mut(at).filter(|record| record.is_here()) {
            record.set_brisk(brisk);
        }
        let wanted = request.numwant.unwrap_or(policy.numwant_default);
        let none = early || request.event == Event::Stopped;
        let sender = SocketAddr::new(visit.sender.to_canonical(), request.port);
        let reply = Reply {
            asker: &Asker::new(sender, visit.reached, policy),
            policy,
            which: visit.which,
            wish: Wish {
                wants: wants_of(request),
                count: if none { 0 } else { wanted.min(policy.numwant_max) },
                asker: Some(at),
            },
            told: if early {
                policy.tell_early(brisk)
            } else {
                policy.tell(brisk, rng)
            },
            form: match (request.compact, request.no_peer_id) {
                (true, _) => Form::Compact,
                (false, false) => Form::Dictionaries,
                (false, true) => Form::Nameless,
            },
            early,
            warning: visit.warning,
        };
        reply.write(hold.swarm, rng, out)
    }

    /// Appends the counts of some torrents (BEP 48); a hash that is not registered has nobody.
    pub fn scrape(&self, torrents: &[(InfoHash, Option<(TorrentId, Which)>)], out: &mut Vec<u8>) {
        let mut torrents = torrents.to_vec();
        torrents.sort_unstable();
        torrents.dedup_by_key(|(hash, _)| *hash);
        out.extend_from_slice(b"d5:filesd");
        for (hash, torrent) in &torrents {
            let swarm = torrent.and_then(|(torrent, _)| self.map.get(&torrent));
            let (counts, completed) =
                swarm.map_or_else(Default::default, |swarm| (swarm.counts(), swarm.completed()));
            write_file(hash, counts, completed, out);
        }
        out.extend_from_slice(b"ee");
    }

    /// Forgets in one shard addresses that were silent for longer than `timeout`; a peer without any falls asleep. Sessions
    /// that nobody has continued for `session_age` are forgotten.
    #[expect(clippy::too_many_arguments, reason = "two clocks and two bounds")]
    pub fn sweep_shard(
        &self,
        shard: usize,
        now: Moment,
        date: Date,
        timeout: Duration,
        session_age: Duration,
    ) -> Swept {
        let silence = Silence::new(now, timeout);
        let mut swept = Swept::default();
        swept.swarms = self.walk(
            shard,
            |_| (),
            |(), stripe, torrent, swarm| {
                let fell_asleep = swarm.forget_silent(silence, &self.sums);
                if fell_asleep > 0 {
                    stripe.changed.insert(torrent);
                }
                swept.peers += fell_asleep;
                let forget = |record: &Record| stripe.forget(torrent, record);
                swept.sessions += swarm.forget_old(date, session_age, &self.sums, forget);
                debug_assert!(swarm.len() > SOUND_MAX || swarm.is_sound(), "after a sweep");
                !swarm.is_empty() || swarm.completed() > 0
            },
        );
        swept
    }

    /// Adds to `changes` what one shard has changed since it was collected last, and starts its part of the journal's `segment`:
    /// entries of older segments are exactly those contained in what has been collected. With `snapshot` the whole shard is
    /// appended to it in the same moment, in a form that [`Self::restore`] reads; nothing for an empty one.
    #[expect(clippy::too_many_arguments, reason = "what is collected goes to two places")]
    pub fn collect_shard(
        &self,
        shard: usize,
        segment: u64,
        now: Moment,
        changes: &mut Changes,
        snapshot: Option<&mut Vec<u8>>,
    ) {
        let now = Tick::at(now);
        let Some(out) = snapshot else {
            return self.collect_changed(shard, segment, changes);
        };
        let start = out.len();
        let begin = |stripe: &mut Stripe| {
            stripe.collect(segment, changes);
            std::mem::take(&mut stripe.changed)
        };
        let mut sessions = std::collections::BTreeMap::new();
        self.walk(shard, begin, |changed, _, torrent, swarm| {
            if changed.contains(&torrent) {
                swarm.collect(torrent, &mut sessions);
            }
            if out.len() == start {
                out.push(FORM);
            }
            swarm.encode(torrent, now, out);
            true
        });
        changes.sessions.append(&mut sessions);
    }

    fn collect_changed(&self, shard: usize, segment: u64, changes: &mut Changes) {
        let Some(locked) = self.map.shards().get(shard) else {
            return;
        };
        let mut table = locked.write();
        let mut stripe = self.stripe(shard);
        stripe.collect(segment, changes);
        for torrent in std::mem::take(&mut stripe.changed) {
            let hash = self.hasher.hash_one(torrent);
            if let Some((_, swarm)) = table.get_mut(hash, |(key, _)| *key == torrent) {
                swarm.get_mut().collect(torrent, &mut changes.sessions);
            }
        }
    }

    /// Enters into the journal how every session of one shard stands that was heard since `since`: what a store that hangs at the
    /// end did not take. Entries of what it did take after all are worth nothing when they are repeated.
    pub fn testify(&self, shard: usize, since: Date, scribe: &impl Scribe) {
        let enter = |(): &(), stripe: &mut Stripe, torrent: TorrentId, swarm: &mut Swarm| {
            for record in swarm.records().iter().filter(|record| record.heard() >= since) {
                scribe.enter(stripe.segment, &testimony(torrent, record));
            }
            true
        };
        self.walk(shard, |_| (), enter);
    }

    /// Takes in what [`Self::collect_shard`] appended `age` ago, in whatever process: ages grow by it. Returns how many sessions
    /// it held. Sessions that are there already stay as they are.
    pub fn restore(
        &self,
        bytes: &[u8],
        age: Duration,
        now: Moment,
        date: Date,
    ) -> Result<usize, SnapshotError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut reader = Reader::new(bytes);
        let past = Past {
            age,
            now: Tick::at(now),
            date,
        };
        reader.form(FORM)?;
        let mut restored = 0;
        while !reader.is_empty() {
            let torrent = TorrentId(reader.u32()?);
            restored += self.with(
                torrent,
                || Swarm::new(past.now, true),
                |hold| hold.swarm.decode(&mut reader, past, &self.sums),
            )?;
        }
        Ok(restored)
    }

    /// Takes in a session as the store has it, at start: the mark of one that was restored gives way, any other sleeps.
    pub fn open_session(&self, key: SessionKey, mark: Mark) {
        // Nobody can tell any more who missed bytes when.
        let tick = Tick::default();
        self.with(
            key.torrent,
            || Swarm::new(tick, true),
            |hold| {
                let Some(at) = hold.swarm.find(key.member, &key.peer_id) else {
                    let record = Record::new(key.member, key.peer_id, &mark);
                    hold.swarm.insert(record, &self.sums, tick);
                    return;
                };
                let stirred = hold.swarm.stirred();
                hold.swarm.update(at, &self.sums, stirred, |record| {
                    record.set_mark(&mark);
                    if mark.ended {
                        record.sleep();
                    }
                });
            },
        );
    }

    /// How often a torrent was completed, as the store has it, at start.
    pub fn set_completed(&self, torrent: TorrentId, completed: u32) {
        let open = || Swarm::new(Tick::default(), true);
        self.with(torrent, open, |hold| hold.swarm.set_completed(completed));
    }

    /// Repeats an entry of the journal, at start: into the accounts as the first time, its peer into the swarm with an honest
    /// age. Nobody knows whether it was answered, so the next announce is not early.
    pub fn replay(&self, entry: &Entry, now: Moment, date: Date, tariff: Tariff) -> Credit {
        self.repeat(entry, now, date, Some(tariff))
    }

    /// Repeats only who came and went, at start: an entry that is younger than the snapshot and whose bytes the store has. To be
    /// called before [`Self::open_session`], which brings the marks.
    pub fn replay_places(&self, entry: &Entry, now: Moment, date: Date) {
        self.repeat(entry, now, date, None);
    }

    fn repeat(&self, entry: &Entry, now: Moment, date: Date, tariff: Option<Tariff>) -> Credit {
        let Entry { session, report, .. } = entry;
        let now = Tick::at(now);
        let open = || Swarm::new(now, true);
        self.with(session.torrent, open, |mut hold| {
            let at = hold.swarm.find(session.member, &session.peer_id);
            let known = at.and_then(|at| hold.swarm.get(at)).map(Record::mark);
            let (mark, credit) = rules::replay(known.as_ref(), entry.before.as_ref(), report);
            let heard = Tick::before(now, date.since(report.date));
            let act = Act {
                member: session.member,
                peer_id: &session.peer_id,
                mark,
                credit,
                event: report.event,
                place: heard.map(|tick| Place {
                    main: Sighting {
                        at: Endpoint::of(entry.address),
                        which: entry.which,
                        tick,
                    },
                    other: None,
                }),
                replayed: true,
                now,
            };
            self.enter(&mut hold, session, &act, at);
            if let Some(tariff) = tariff {
                let charged = rules::charge(&credit, tariff);
                hold.stripe.book(session, report, &credit, charged);
            }
            credit
        })
    }

    /// The sessions of a member in a torrent, peers first.
    #[cfg(test)]
    pub(crate) fn sessions_of(&self, torrent: TorrentId, member: MemberId) -> Vec<MemberSession> {
        let swarm = self.map.get(&torrent);
        let records = swarm.iter().flat_map(|swarm| swarm.records());
        records
            .filter(|record| record.member == member)
            .map(|record| MemberSession::of(torrent, record))
            .collect()
    }

    /// Goes through one shard and takes out whoever may not stay.
    pub fn clear_shard(&self, shard: usize, now: Moment, may: impl Fn(TorrentId, MemberId) -> Stay) {
        let now = Tick::at(now);
        let clear = |(): &(), stripe: &mut Stripe, torrent: TorrentId, swarm: &mut Swarm| {
            // From the last to the first: whoever is moved to a place already looked at has been looked at.
            for at in (0..swarm.len()).rev() {
                let Some(record) = swarm.get(at) else { continue };
                match may(torrent, record.member) {
                    Stay::Leaves if record.is_here() => {
                        stripe.changed.insert(torrent);
                        swarm.update(at, &self.sums, now, Record::end);
                    }
                    Stay::Forgotten => {
                        stripe.forget(torrent, record);
                        swarm.remove(at, &self.sums);
                    }
                    Stay::Stays | Stay::Leaves => (),
                }
            }
            debug_assert!(
                swarm.len() > SOUND_MAX || swarm.is_sound(),
                "after it was cleared"
            );
            true
        };
        self.walk(shard, |_| (), clear);
    }

    /// Notes whether a member's peers could be reached at an address, so that those who can are given first.
    pub fn set_reachable(&self, torrent: TorrentId, member: MemberId, address: SocketAddr, reachable: bool) {
        let at = Endpoint::of(address);
        if let Some(mut swarm) = self.map.get_mut(&torrent) {
            swarm.set_reached(member, at, reachable, &self.sums);
        }
    }

    /// Seeders and leechers of a torrent.
    pub fn counts(&self, torrent: TorrentId) -> (u32, u32) {
        let counts = self.map.get(&torrent).map(|swarm| swarm.counts());
        counts.map_or((0, 0), |counts| (counts.seeders, counts.leechers()))
    }

    /// How much there is in all; reads atomics, walks nothing.
    pub fn totals(&self) -> Totals {
        self.sums.read()
    }
}

/// In debug builds a torrent is looked through after every change, unless it is larger than this.
const SOUND_MAX: usize = 200;

/// What is known of an announce besides its outcome.
#[derive(Clone, Copy, Debug)]
struct Known {
    credit: Credit,
    charged: Charged,
    elapsed: Option<Duration>,
    wanted: bool,
    entered: bool,
    counts: Counts,
}

impl Known {
    /// Of somebody who was turned away.
    fn nothing(swarm: &Swarm) -> Self {
        Self {
            credit: Credit::default(),
            charged: Charged::default(),
            elapsed: None,
            wanted: true,
            entered: false,
            counts: swarm.counts(),
        }
    }

    fn announced(self, outcome: Outcome, peers_given: u32, early: bool) -> MemberAnnounced {
        MemberAnnounced {
            outcome,
            peers_given,
            early,
            credit: self.credit,
            charged: self.charged,
            seeders: self.counts.seeders,
            leechers: self.counts.leechers(),
            elapsed: self.elapsed,
            wanted: self.wanted,
            entered: self.entered,
        }
    }
}

/// A session as it stands, as if it had said so again.
fn testimony(torrent: TorrentId, record: &Record) -> Entry {
    let mark = record.mark();
    let (first, second) = (Some(Which::First), Some(Which::Second));
    let v4 = |which| record.v4(which).map(|wire| decode_v4(wire).into());
    let v6 = |which| record.v6(which).map(|wire| decode_v6(wire).into());
    let found = v4(first).or_else(|| v6(first)).map(|at| (at, Which::First));
    let found = found.or_else(|| v4(second).or_else(|| v6(second)).map(|at| (at, Which::Second)));
    let nowhere = (SocketAddr::from(([0; 4], 0)), Which::First);
    let (address, which) = found.unwrap_or(nowhere);
    Entry {
        session: SessionKey {
            torrent,
            member: record.member,
            peer_id: record.peer_id,
        },
        which,
        address,
        before: Some(mark),
        report: Report {
            uploaded: mark.uploaded,
            downloaded: mark.downloaded,
            left: mark.left,
            event: if record.is_here() {
                Event::None
            } else {
                Event::Stopped
            },
            date: mark.heard,
        },
    }
}

/// Did a peer come back too soon under this hash, in this family (DESIGN decision 9)?
fn is_early(swarm: &Swarm, at: Option<usize>, addresses: Addresses, visit: &MemberVisit<'_>) -> bool {
    let Some(record) = at.and_then(|at| swarm.get(at)) else {
        return false;
    };
    let now = Tick::at(visit.now);
    let early = |heard| visit.policy.is_early(heard, record.is_brisk(), now);
    let heard = record.sighted(addresses.main.is_v6(), visit.which);
    !record.is_unanswered() && heard.is_some_and(early)
}

fn refuse(refusal: Refusal, visit: &MemberVisit<'_>, known: &Known, out: &mut Vec<u8>) -> MemberAnnounced {
    let retry = Some(RetryIn::After(FULL_RETRY));
    write_failure(&refusal.to_string(), retry, visit.policy, out);
    known.announced(Outcome::Refused(refusal), 0, false)
}

impl MemberVisit<'_> {
    fn session(&self) -> SessionKey {
        SessionKey {
            torrent: self.torrent,
            member: self.member,
            peer_id: self.request.peer_id,
        }
    }

    fn report(&self) -> Report {
        let request = self.request;
        Report {
            uploaded: request.uploaded,
            downloaded: request.downloaded,
            left: request.left,
            event: request.event,
            date: self.date,
        }
    }
}

#[cfg(test)]
impl MemberSession {
    fn of(torrent: TorrentId, record: &Record) -> Self {
        Self {
            torrent,
            peer_id: record.peer_id,
            mark: record.mark(),
            v4: record.v4(None).map(|wire| decode_v4(wire).into()),
            v6: record.v6(None).map(|wire| decode_v6(wire).into()),
            reachable: record.is_reached(),
        }
    }
}
