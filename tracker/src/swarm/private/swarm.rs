//! One torrent of a private tracker: its sessions in one array, each group together (known-reachable seeders, other seeders,
//! downloaders likewise, paused partial seeds, sleepers), so that choosing peers is taking slices. Positions change; nobody
//! keeps one from call to call.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use shared::id::PeerId;

use super::index::Index;
use super::record::{ENCODED_MIN, Group, Past, Record, Standing};
use crate::members::ids::{Date, MemberId, TorrentId};
use crate::members::ledger::SessionKey;
use crate::members::rules::Mark;
use crate::swarm::SnapshotError;
use crate::swarm::codec::Reader;
use crate::swarm::group::{Counts, Kind};
use crate::swarm::home::Endpoint;
use crate::swarm::peers::{Wants, row};
use crate::swarm::policy::Crowd;
use crate::swarm::tick::{Silence, Tick};
use crate::swarm::totals::Sums;

/// Above this a search through the array costs more than an index.
const INDEX_FROM: usize = 64;
/// A torrent this small gives its index up again; well below the other bound, so that it does not change shape often.
const INDEX_UNTIL: usize = 32;

/// So many peers are looked at for one reply: in a crowd where nearly nobody announced the hash in question a reply must not
/// cost a walk through all of them.
const LOOKS_MAX: u32 = 4_096;

/// The sessions of one torrent. The boxed array has empty places behind its last session.
#[derive(Debug)]
pub(super) struct Swarm {
    slots: Box<[Record]>,
    index: Option<Box<Index>>,
    /// Where each group ends; the last end is the number of sessions.
    ends: [u32; Group::ALL.len()],
    completed: u32,
    /// When somebody came or went last.
    stirred: Tick,
    /// When somebody was known to miss bytes last, except now.
    hungry: Tick,
}

/// Who is to be chosen for a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) wants: Wants,
    /// Peers at most.
    pub(super) count: u32,
    /// Where the asker stands.
    pub(super) asker: Option<usize>,
}

impl Swarm {
    /// A torrent without sessions. `hungry` where it is not known whether somebody missed bytes before.
    pub(super) fn new(now: Tick, hungry: bool) -> Self {
        Self {
            slots: Box::default(),
            index: None,
            ends: [0; Group::ALL.len()],
            completed: 0,
            stirred: now,
            hungry: if hungry { now } else { Tick::long_before(now) },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.last().map_or(0, |&end| end as usize)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All sessions, peers first.
    pub(super) fn records(&self) -> &[Record] {
        self.slots.get(..self.len()).unwrap_or_default()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Record> {
        self.records().get(at)
    }

    /// For changes that leave the session in its group, and its member and peer id as they are.
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Record> {
        self.slots.get_mut(at)
    }

    pub(super) fn completed(&self) -> u32 {
        self.completed
    }

    pub(super) fn set_completed(&mut self, completed: u32) {
        self.completed = completed;
    }

    pub(super) fn note_completion(&mut self) {
        self.completed = self.completed.saturating_add(1);
    }

    pub(super) fn stirred(&self) -> Tick {
        self.stirred
    }

    fn range(&self, group: Group) -> std::ops::Range<usize> {
        let end = |group: usize| self.ends.get(group).map_or(0, |&end| end as usize);
        let number = group as usize;
        let start = number.checked_sub(1).map_or(0, end);
        start..end(number)
    }

    fn slice(&self, group: Group) -> &[Record] {
        self.slots.get(self.range(group)).unwrap_or_default()
    }

    fn count(&self, group: Group) -> u32 {
        u32::try_from(self.range(group).len()).unwrap_or(u32::MAX)
    }

    /// Peers of each kind; sleepers are none.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            seeders: self.count(Group::ReachedSeeder) + self.count(Group::Seeder),
            downloaders: self.count(Group::ReachedDownloader) + self.count(Group::Downloader),
            paused: self.count(Group::Paused),
        }
    }

    pub(super) fn crowd(&self) -> Crowd {
        let counts = self.counts();
        Crowd {
            peers: counts.total(),
            downloaders: counts.downloaders,
            stirred: self.stirred,
        }
    }

    /// The first of a member's sessions for which `test` holds. What `test` counts meanwhile is the caller's.
    pub(super) fn seek(&self, member: MemberId, mut test: impl FnMut(&Record) -> bool) -> Option<usize> {
        let mut is_it = |record: &Record| record.member == member && test(record);
        match &self.index {
            None => self.records().iter().position(is_it),
            Some(index) => {
                let mut chain = index.chain(member);
                chain.find(|&at| self.get(at).is_some_and(&mut is_it))
            }
        }
    }

    pub(super) fn find(&self, member: MemberId, peer_id: &PeerId) -> Option<usize> {
        self.seek(member, |record| record.peer_id == *peer_id)
    }

    /// Adds a session that is not there yet; returns where it stands.
    pub(super) fn insert(&mut self, record: Record, sums: &Sums, now: Tick) -> usize {
        let (at, group) = (self.len(), record.group());
        if at == self.slots.len() {
            self.resize(at + at / 8 + 1);
        }
        sums.moved(None, Some(record.standing()));
        self.note(Standing::Asleep, record.standing(), now);
        let member = record.member;
        let (Some(slot), Some(end)) = (self.slots.get_mut(at), self.ends.last_mut()) else {
            return at;
        };
        *slot = record;
        *end += 1;
        if let Some(index) = &mut self.index {
            index.link(at, member);
        }
        let crowded = self.index.as_ref().map(|index| index.is_crowded());
        if crowded.unwrap_or(self.len() > INDEX_FROM) {
            self.build_index();
        }
        self.shift(at, Group::Asleep, group)
    }

    /// Changes a session in any way but its member and peer id; returns where it stands then.
    pub(super) fn update(
        &mut self,
        at: usize,
        sums: &Sums,
        now: Tick,
        change: impl FnOnce(&mut Record),
    ) -> usize {
        let Some(record) = self.slots.get_mut(at) else {
            return at;
        };
        let (from, before) = (record.group(), record.standing());
        change(record);
        let (to, after) = (record.group(), record.standing());
        if before == after && from == to {
            return at;
        }
        sums.moved(Some(before), Some(after));
        self.note(before, after, now);
        self.shift(at, from, to)
    }

    /// What else a change of one session means to the torrent.
    fn note(&mut self, before: Standing, after: Standing, now: Tick) {
        if before.stirs(after) {
            self.stirred = now;
        }
        if before.sates(after) {
            self.hungry = now;
        }
    }

    /// Takes a session out for good.
    pub(super) fn remove(&mut self, at: usize, sums: &Sums) {
        let Some((group, standing)) = self.get(at).map(|record| (record.group(), record.standing())) else {
            return;
        };
        sums.moved(Some(standing), None);
        let at = self.shift(at, group, Group::Asleep);
        let last = self.len() - 1;
        self.swap(at, last);
        let member = self.get(last).map(|record| record.member);
        if let (Some(index), Some(member)) = (&mut self.index, member) {
            index.unlink(last, member);
            index.pop();
        }
        if let (Some(slot), Some(end)) = (self.slots.get_mut(last), self.ends.last_mut()) {
            *slot = Record::empty();
            *end -= 1;
        }
        self.give_back_room();
    }

    fn give_back_room(&mut self) {
        let len = self.len();
        if len < INDEX_UNTIL {
            self.index = None;
        }
        if len < self.slots.len() / 2 {
            self.resize(len + len / 8 + 1);
        }
    }

    fn resize(&mut self, capacity: usize) {
        let mut slots = std::mem::take(&mut self.slots).into_vec();
        slots.truncate(capacity);
        slots.reserve_exact(capacity.saturating_sub(slots.len()));
        slots.resize_with(capacity, Record::empty);
        self.slots = slots.into_boxed_slice();
    }

    fn build_index(&mut self) {
        let mut index = Index::with_room_for(self.len());
        for (at, record) in self.records().iter().enumerate() {
            index.link(at, record.member);
        }
        self.index = Some(Box::new(index));
    }

    /// Moves a session from one group to another, one neighbour after the other: each gives its first or last place.
    fn shift(&mut self, mut at: usize, from: Group, to: Group) -> usize {
        let (mut group, to) = (from as usize, to as usize);
        while group < to {
            let Some(end) = self.ends.get_mut(group) else {
                break;
            };
            *end -= 1;
            let last = *end as usize;
            self.swap(at, last);
            (at, group) = (last, group + 1);
        }
        while group > to {
            group -= 1;
            let Some(end) = self.ends.get_mut(group) else {
                break;
            };
            let first = *end as usize;
            *end += 1;
            self.swap(at, first);
            at = first;
        }
        at
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        let member = |at: usize| self.slots.get(at).map(|record| record.member);
        if let (Some(first), Some(second)) = (member(a), member(b))
            && let Some(index) = &mut self.index
        {
            index.unlink(a, first);
            index.unlink(b, second);
            index.link(a, second);
            index.link(b, first);
        }
        self.slots.swap(a, b);
    }

    /// Puts to sleep the member's other peers at this address: the same client under a new peer id. Returns where the session
    /// at `keep` stands then.
    pub(super) fn replace_at(&mut self, keep: usize, address: Endpoint, sums: &Sums, now: Tick) -> usize {
        let Some((member, peer_id)) = self.get(keep).map(|record| (record.member, record.peer_id)) else {
            return keep;
        };
        let other = |record: &Record| record.peer_id != peer_id && record.is_at(address);
        while let Some(at) = self.seek(member, other) {
            self.update(at, sums, now, Record::end);
        }
        self.find(member, &peer_id).unwrap_or(keep)
    }

    /// How many peers a member has, how many sessions, and its longest silent of each except one.
    pub(super) fn census(&self, member: MemberId, except: &PeerId) -> Census {
        let mut census = Census::default();
        self.seek(member, |record| {
            let spared = record.peer_id == *except;
            let line = if record.is_here() {
                &mut census.peers
            } else {
                &mut census.sleepers
            };
            line.count += 1;
            if !spared && line.oldest.is_none_or(|(heard, _)| record.heard() < heard) {
                line.oldest = Some((record.heard(), record.peer_id));
            }
            false
        });
        census
    }

    /// Hands peers to `take`, those of use and known to be reachable first, each group from a random place on, until it has
    /// accepted as many as are wished for. Returns how many that were.
    pub(super) fn choose(
        &self,
        wish: Wish,
        rng: &mut impl Rng,
        take: &mut impl FnMut(&Record) -> bool,
    ) -> u32 {
        let mut offer = Offer {
            looks: LOOKS_MAX,
            asker: wish.asker.and_then(|at| self.get(at)),
            taken: 0,
        };
        if wish.count == 0 {
            return 0;
        }
        let everyone = wish.wants == Wants::Everyone;
        let mut seeders = self.rows([Group::ReachedSeeder, Group::Seeder], rng);
        let mut downloaders = self.rows([Group::ReachedDownloader, Group::Downloader], rng);
        if everyone {
            let asker_leeches = offer
                .asker
                .is_some_and(|asker| asker.is_here() && asker.kind() != Kind::Seeder);
            let others = self.counts().leechers() - u32::from(asker_leeches);
            let seats = wish.count.div_ceil(2).max(wish.count.saturating_sub(others));
            offer.make(&mut seeders, seats, take);
        }
        offer.make(&mut downloaders, wish.count, take);
        if everyone {
            offer.make(&mut row(self.slice(Group::Paused), rng), wish.count, take);
            // Leechers who cannot be given, as they announced another hash, leave their seats.
            offer.make(&mut seeders, wish.count, take);
        }
        offer.taken
    }

    /// Two groups, one behind the other, each from a random place on.
    fn rows<'a, D: Rng>(
        &'a self,
        groups: [Group; 2],
        rng: &mut D,
    ) -> impl Iterator<Item = &'a Record> + use<'a, D> {
        let [first, second] = groups.map(|group| self.slice(group));
        let first = row(first, rng);
        first.chain(row(second, rng))
    }

    /// Forgets addresses that were silent for too long; returns how many peers fell asleep.
    pub(super) fn forget_silent(&mut self, silence: Silence, sums: &Sums) -> u64 {
        let now = silence.now();
        self.stirred.keep_past(now);
        self.hungry.keep_past(now);
        let mut fell_asleep = 0;
        // From the last peer to the first: whoever is moved to a place already looked at has been looked at.
        for at in (0..self.range(Group::Asleep).start).rev() {
            let silent = self.get(at).is_some_and(|record| record.is_silent(silence));
            if silent {
                let at = self.update(at, sums, now, |record| record.forget_silent(silence));
                fell_asleep += u64::from(!self.get(at).is_some_and(Record::is_here));
            }
        }
        fell_asleep
    }

    /// Takes out sessions that nobody has continued for too long, and hands them to `forgotten`.
    pub(super) fn forget_old(
        &mut self,
        date: Date,
        age: Duration,
        sums: &Sums,
        mut forgotten: impl FnMut(&Record),
    ) -> u64 {
        let mut count = 0;
        for at in self.range(Group::Asleep).rev() {
            let Some(record) = self.get(at) else { continue };
            if date.since(record.heard()) > age {
                forgotten(record);
                self.remove(at, sums);
                count += 1;
            }
        }
        count
    }

    /// Did anybody but the session at `at` miss bytes within the last `time`, or may somebody have?
    pub(super) fn wanted(&self, at: Option<usize>, time: Duration, now: Tick) -> bool {
        let asker = at.and_then(|at| self.get(at));
        let asker = asker.is_some_and(|asker| asker.is_here() && asker.kind() != Kind::Seeder);
        self.counts().leechers() > u32::from(asker) || self.hungry.may_be_within(time, now)
    }

    /// Notes whether a member's peers at an address could be reached.
    pub(super) fn set_reached(&mut self, member: MemberId, address: Endpoint, reached: bool, sums: &Sums) {
        let (now, is_v6) = (self.stirred, address.is_v6());
        let differs = |record: &Record| record.is_at(address) && record.is_reached_in(is_v6) != reached;
        while let Some(at) = self.seek(member, differs) {
            self.update(at, sums, now, |record| record.set_reached(is_v6, reached));
        }
    }

    /// Hands over the marks that the store has not seen.
    pub(super) fn collect(&mut self, torrent: TorrentId, sessions: &mut BTreeMap<SessionKey, Mark>) {
        let count = self.len();
        for record in self.slots.iter_mut().take(count) {
            if record.is_changed() {
                record.set_changed(false);
                let key = SessionKey {
                    torrent,
                    member: record.member,
                    peer_id: record.peer_id,
                };
                sessions.insert(key, record.mark());
            }
        }
    }

    /// Appends the torrent as a snapshot holds it.
    pub(super) fn encode(&self, torrent: TorrentId, now: Tick, out: &mut Vec<u8>) {
        out.extend_from_slice(&torrent.0.to_le_bytes());
        out.extend_from_slice(&self.completed.to_le_bytes());
        out.extend_from_slice(&self.stirred.age(now).to_le_bytes());
        out.extend_from_slice(&self.hungry.age(now).to_le_bytes());
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for record in self.records() {
            record.encode(now, out);
        }
    }

    /// Reads what [`Self::encode`] wrote behind the torrent's number; returns how many sessions that were. Those that are here
    /// already stay as they are.
    pub(super) fn decode(
        &mut self,
        reader: &mut Reader<'_>,
        past: Past,
        sums: &Sums,
    ) -> Result<usize, SnapshotError> {
        let Past { age, now, .. } = past;
        self.completed = self.completed.max(reader.u32()?);
        let ago = |ticks| {
            Tick::before(now, age.saturating_add(Tick::duration(ticks))).unwrap_or(Tick::long_before(now))
        };
        let (stirred, hungry) = (ago(reader.u16()?), ago(reader.u16()?));
        let count = reader.u32()? as usize;
        // What a stranger's count could make us reserve, its bytes must be there for.
        let room = count.min(reader.len() / ENCODED_MIN);
        if self.is_empty() && room > 0 {
            self.resize(room);
        }
        for _ in 0..count {
            let record = Record::decode(reader, past).ok_or(SnapshotError::Cut)?;
            if self.find(record.member, &record.peer_id).is_none() {
                self.insert(record, sums, now);
            }
        }
        (self.stirred, self.hungry) = (stirred, hungry);
        Ok(count)
    }

    /// Every group stands together, each session has its place in the index, nobody is there twice.
    pub(super) fn is_sound(&self) -> bool {
        let grouped = Group::ALL
            .into_iter()
            .all(|group| self.slice(group).iter().all(|record| record.group() == group));
        let found = |(at, record): (usize, &Record)| self.find(record.member, &record.peer_id) == Some(at);
        grouped && self.records().iter().enumerate().all(found)
    }
}

/// Part of a member's sessions in a torrent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) count: u32,
    /// The longest silent.
    pub(super) oldest: Option<(Date, PeerId)>,
}

/// A member's sessions in a torrent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Census {
    pub(super) peers: Line,
    pub(super) sleepers: Line,
}

/// One reply in the making.
struct Offer<'a> {
    looks: u32,
    asker: Option<&'a Record>,
    taken: u32,
}

impl Offer<'_> {
    /// Offers peers until `seats` are taken in all.
    fn make<'r>(
        &mut self,
        peers: &mut impl Iterator<Item = &'r Record>,
        seats: u32,
        take: &mut impl FnMut(&Record) -> bool,
    ) {
        while self.taken < seats && self.looks > 0 {
            let Some(peer) = peers.next() else { break };
            self.looks -= 1;
            if !self.asker.is_some_and(|asker| std::ptr::eq(asker, peer)) {
                self.taken += u32::from(take(peer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Sighting;
    use super::*;
    use crate::members::ids::Which;

    #[test]
    fn a_session_is_one_cache_line_and_a_torrent_is_small() {
        assert_eq!((size_of::<Record>(), size_of::<Swarm>()), (64, 56));
    }

    fn record(member: u32) -> Record {
        let mark = Mark {
            uploaded: 0,
            downloaded: 0,
            left: u64::from(member % 3),
            heard: Date(1),
            ended: false,
        };
        let mut record = Record::new(MemberId(member), PeerId([1; 20]), &mark);
        if !member.is_multiple_of(5) {
            let [_, b, c, d] = member.to_be_bytes();
            record.sight(Sighting {
                at: Endpoint::V4([16, b, c, d, 0, 1]),
                which: Which::First,
                tick: Tick(0),
            });
        }
        record
    }

    #[test]
    fn everybody_is_found_while_a_torrent_grows_and_shrinks() {
        let (mut swarm, sums) = (Swarm::new(Tick(0), false), Sums::default());
        for member in 0..5_000 {
            swarm.insert(record(member), &sums, Tick(0));
        }
        assert!(swarm.is_sound() && swarm.index.is_some());
        for member in 20..5_000 {
            let at = swarm.find(MemberId(member), &PeerId([1; 20])).unwrap();
            swarm.update(at, &sums, Tick(0), Record::sleep);
            let at = swarm.find(MemberId(member), &PeerId([1; 20])).unwrap();
            swarm.remove(at, &sums);
        }
        assert!(swarm.is_sound() && swarm.index.is_none());
        assert_eq!(
            (swarm.len(), sums.read().peers(), sums.read().asleep),
            (20, 16, 4)
        );
        assert!(swarm.slots.len() < 60, "{}", swarm.slots.len());
    }

    #[test]
    fn a_crowd_leaves_little_room_unused() {
        let (mut swarm, sums) = (Swarm::new(Tick(0), false), Sums::default());
        for member in 0..50_000 {
            swarm.insert(record(member), &sums, Tick(0));
        }
        assert!(swarm.slots.len() <= 50_000 / 8 * 9, "{}", swarm.slots.len());
    }
}
