//! One session in 64 bytes: who, the counters' marks, and, while its peer is here, where. What few peers have, IPv6 and a
//! hybrid's second hash, stands in a box.

use std::time::Duration;

use shared::compact::{LENGTH_V4, LENGTH_V6};
use shared::id::PeerId;

use crate::members::ids::{Date, MemberId, Which};
use crate::members::rules::{COUNTER_MAX, Mark};
use crate::swarm::codec::Reader;
use crate::swarm::group::Kind;
use crate::swarm::home::Endpoint;
use crate::swarm::tick::{Silence, Tick};

/// A counter in six bytes; `rules` lets none grow beyond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Six([u8; 6]);

impl Six {
    fn new(number: u64) -> Self {
        let [six @ .., _, _] = number.min(COUNTER_MAX).to_le_bytes();
        Self(six)
    }

    fn get(self) -> u64 {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(self.0) {
            *to = from;
        }
        u64::from_le_bytes(bytes)
    }
}

/// Facts of yes and no about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// The peer is here: at its IPv4 address under the first hash, and so on.
    const V4_FIRST: u16 = 1;
    const V4_SECOND: u16 = 1 << 1;
    const V6_FIRST: u16 = 1 << 2;
    const V6_SECOND: u16 = 1 << 3;
    const V4: u16 = Self::V4_FIRST | Self::V4_SECOND;
    const V6: u16 = Self::V6_FIRST | Self::V6_SECOND;
    const HERE: u16 = Self::V4 | Self::V6;
    /// It said farewell, or fell asleep.
    const ENDED: u16 = 1 << 4;
    /// Not everything, but wants nothing now (BEP 21).
    const PAUSED: u16 = 1 << 5;
    /// A check has reached it.
    const REACHED_V4: u16 = 1 << 6;
    const REACHED_V6: u16 = 1 << 7;
    const REACHED: u16 = Self::REACHED_V4 | Self::REACHED_V6;
    /// The store has not seen its mark yet.
    const CHANGED: u16 = 1 << 8;
    /// Its last announce comes from the journal: perhaps nobody answered it.
    const UNANSWERED: u16 = 1 << 9;
    /// It was told a short interval.
    const BRISK: u16 = 1 << 10;

    fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    fn set(&mut self, bits: u16, on: bool) {
        if on {
            self.0 |= bits;
        } else {
            self.0 &= !bits;
        }
    }
}

/// Every way in which a peer can be here.
const PRESENCES: [u16; 4] = [
    Flags::V4_FIRST,
    Flags::V4_SECOND,
    Flags::V6_FIRST,
    Flags::V6_SECOND,
];

/// The bit by which a peer is here.
fn presence(is_v6: bool, which: Which) -> u16 {
    match (is_v6, which) {
        (false, Which::First) => Flags::V4_FIRST,
        (false, Which::Second) => Flags::V4_SECOND,
        (true, Which::First) => Flags::V6_FIRST,
        (true, Which::Second) => Flags::V6_SECOND,
    }
}

/// What few peers have.
#[derive(Clone, Debug)]
struct Rare {
    v6: [u8; LENGTH_V6],
    heard_v4_second: Tick,
    heard_v6_first: Tick,
    heard_v6_second: Tick,
}

impl Rare {
    fn heard_mut(&mut self, bit: u16) -> &mut Tick {
        match bit {
            Flags::V4_SECOND => &mut self.heard_v4_second,
            Flags::V6_FIRST => &mut self.heard_v6_first,
            _ => &mut self.heard_v6_second,
        }
    }
}

/// A session, and its peer while that has an address.
#[derive(Debug)]
pub(super) struct Record {
    rare: Option<Box<Rare>>,
    pub(super) member: MemberId,
    pub(super) peer_id: PeerId,
    uploaded: Six,
    downloaded: Six,
    left: Six,
    v4: [u8; LENGTH_V4],
    heard: Date,
    heard_v4: Tick,
    flags: Flags,
}

/// Where in a swarm's array a session stands. Known-reachable peers come before the others of their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    ReachedSeeder,
    Seeder,
    ReachedDownloader,
    Downloader,
    Paused,
    Asleep,
}

impl Group {
    pub(super) const ALL: [Self; 6] = [
        Self::ReachedSeeder,
        Self::Seeder,
        Self::ReachedDownloader,
        Self::Downloader,
        Self::Paused,
        Self::Asleep,
    ];
}

/// Which addresses a peer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::swarm) enum Families {
    V4,
    V6,
    Both,
}

/// What a session counts as in the sums of all swarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::swarm) enum Standing {
    Asleep,
    Here { kind: Kind, families: Families },
}

impl Standing {
    fn is_here(self) -> bool {
        self != Self::Asleep
    }

    /// A peer that wants something, or might once it is no longer paused.
    fn leeches(self) -> bool {
        matches!(
            self,
            Self::Here {
                kind: Kind::Downloader | Kind::Paused,
                ..
            }
        )
    }

    /// Somebody came or went between both.
    pub(super) fn stirs(self, after: Self) -> bool {
        self.is_here() != after.is_here()
    }

    /// Somebody who missed bytes does so no longer.
    pub(super) fn sates(self, after: Self) -> bool {
        self.leeches() && !after.leeches()
    }
}

/// Where a peer was heard, under which hash and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) at: Endpoint,
    pub(super) which: Which,
    pub(super) tick: Tick,
}

impl Record {
    /// A session asleep.
    pub(super) fn new(member: MemberId, peer_id: PeerId, mark: &Mark) -> Self {
        let mut record = Self {
            member,
            peer_id,
            ..Self::empty()
        };
        record.set_mark(mark);
        record
    }

    /// Fills places in an array that nobody has taken.
    pub(super) const fn empty() -> Self {
        Self {
            rare: None,
            member: MemberId(0),
            peer_id: PeerId([0; 20]),
            uploaded: Six([0; 6]),
            downloaded: Six([0; 6]),
            left: Six([0; 6]),
            v4: [0; LENGTH_V4],
            heard: Date(0),
            heard_v4: Tick(0),
            flags: Flags(0),
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            uploaded: self.uploaded.get(),
            downloaded: self.downloaded.get(),
            left: self.left.get(),
            heard: self.heard,
            ended: self.flags.has(Flags::ENDED),
        }
    }

    pub(super) fn set_mark(&mut self, mark: &Mark) {
        self.uploaded = Six::new(mark.uploaded);
        self.downloaded = Six::new(mark.downloaded);
        self.left = Six::new(mark.left);
        self.heard = mark.heard;
        self.flags.set(Flags::ENDED, mark.ended);
    }

    pub(super) fn heard(&self) -> Date {
        self.heard
    }

    pub(super) fn is_here(&self) -> bool {
        self.flags.has(Flags::HERE)
    }

    pub(super) fn is_reached(&self) -> bool {
        self.flags.has(Flags::REACHED)
    }

    pub(super) fn kind(&self) -> Kind {
        if self.left == Six::default() {
            Kind::Seeder
        } else if self.flags.has(Flags::PAUSED) {
            Kind::Paused
        } else {
            Kind::Downloader
        }
    }

    pub(super) fn group(&self) -> Group {
        match (self.is_here(), self.kind(), self.is_reached()) {
            (false, ..) => Group::Asleep,
            (true, Kind::Seeder, true) => Group::ReachedSeeder,
            (true, Kind::Seeder, false) => Group::Seeder,
            (true, Kind::Downloader, true) => Group::ReachedDownloader,
            (true, Kind::Downloader, false) => Group::Downloader,
            (true, Kind::Paused, _) => Group::Paused,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let families = match (self.flags.has(Flags::V4), self.flags.has(Flags::V6)) {
            (true, true) => Families::Both,
            (true, false) => Families::V4,
            (false, true) => Families::V6,
            (false, false) => return Standing::Asleep,
        };
        Standing::Here {
            kind: self.kind(),
            families,
        }
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.flags.set(Flags::PAUSED, paused);
    }

    pub(super) fn is_changed(&self) -> bool {
        self.flags.has(Flags::CHANGED)
    }

    pub(super) fn set_changed(&mut self, changed: bool) {
        self.flags.set(Flags::CHANGED, changed);
    }

    pub(super) fn is_unanswered(&self) -> bool {
        self.flags.has(Flags::UNANSWERED)
    }

    pub(super) fn set_unanswered(&mut self, unanswered: bool) {
        self.flags.set(Flags::UNANSWERED, unanswered);
    }

    pub(super) fn is_brisk(&self) -> bool {
        self.flags.has(Flags::BRISK)
    }

    pub(super) fn set_brisk(&mut self, brisk: bool) {
        self.flags.set(Flags::BRISK, brisk);
    }

    /// When it was heard in a family under a hash; none where it is not.
    pub(super) fn sighted(&self, is_v6: bool, which: Which) -> Option<Tick> {
        self.heard_by(presence(is_v6, which))
    }

    fn heard_by(&self, bit: u16) -> Option<Tick> {
        if !self.flags.has(bit) {
            return None;
        }
        let rare = self.rare.as_ref();
        match bit {
            Flags::V4_FIRST => Some(self.heard_v4),
            Flags::V4_SECOND => rare.map(|rare| rare.heard_v4_second),
            Flags::V6_FIRST => rare.map(|rare| rare.heard_v6_first),
            _ => rare.map(|rare| rare.heard_v6_second),
        }
    }

    /// Notes where and when the peer was heard. One address a family: a new one takes the old one's place.
    pub(super) fn sight(&mut self, sighting: Sighting) {
        let Sighting { at, which, tick } = sighting;
        let bit = match at {
            Endpoint::V4(wire) => {
                if self.v4 != wire {
                    self.flags.set(Flags::REACHED_V4, false);
                }
                self.v4 = wire;
                presence(false, which)
            }
            Endpoint::V6(wire) => {
                let rare = self.rare_mut();
                let moved = rare.v6 != wire;
                rare.v6 = wire;
                if moved {
                    self.flags.set(Flags::REACHED_V6, false);
                }
                presence(true, which)
            }
        };
        if bit == Flags::V4_FIRST {
            self.heard_v4 = tick;
        } else {
            *self.rare_mut().heard_mut(bit) = tick;
        }
        self.flags.set(bit, true);
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                v6: [0; LENGTH_V6],
                heard_v4_second: Tick(0),
                heard_v6_first: Tick(0),
                heard_v6_second: Tick(0),
            })
        })
    }

    /// The peer has gone; the session sleeps.
    pub(super) fn sleep(&mut self) {
        let gone = Flags::HERE | Flags::REACHED | Flags::UNANSWERED | Flags::BRISK | Flags::PAUSED;
        self.flags.set(gone, false);
        self.rare = None;
        self.v4 = [0; LENGTH_V4];
    }

    /// The peer has gone without a farewell: its time of seeding has ended, and the store shall know.
    pub(super) fn end(&mut self) {
        self.flags.set(Flags::ENDED | Flags::CHANGED, true);
        self.sleep();
    }

    /// Has any of its addresses been silent for too long?
    pub(super) fn is_silent(&self, silence: Silence) -> bool {
        let silent = |bit| self.heard_by(bit).is_some_and(|heard| silence.broken_by(heard));
        PRESENCES.into_iter().any(silent)
    }

    /// Forgets addresses that were silent for too long. A peer without any has gone.
    pub(super) fn forget_silent(&mut self, silence: Silence) {
        for bit in PRESENCES {
            if self.heard_by(bit).is_some_and(|heard| silence.broken_by(heard)) {
                self.flags.set(bit, false);
            }
        }
        if !self.is_here() {
            return self.end();
        }
        for (family, reached) in [(Flags::V4, Flags::REACHED_V4), (Flags::V6, Flags::REACHED_V6)] {
            if !self.flags.has(family) {
                self.flags.set(reached, false);
            }
        }
        if !self.flags.has(Flags::V6 | Flags::V4_SECOND) {
            self.rare = None;
        }
    }

    /// The IPv4 address at which others find it, under one hash or any.
    pub(super) fn v4(&self, which: Option<Which>) -> Option<[u8; LENGTH_V4]> {
        let bits = which.map_or(Flags::V4, |which| presence(false, which));
        self.flags.has(bits).then_some(self.v4)
    }

    /// The same in IPv6.
    pub(super) fn v6(&self, which: Option<Which>) -> Option<[u8; LENGTH_V6]> {
        let bits = which.map_or(Flags::V6, |which| presence(true, which));
        let rare = self.rare.as_ref().filter(|_| self.flags.has(bits))?;
        Some(rare.v6)
    }

    /// Is it found at this address?
    pub(super) fn is_at(&self, at: Endpoint) -> bool {
        match at {
            Endpoint::V4(wire) => self.v4(None) == Some(wire),
            Endpoint::V6(wire) => self.v6(None) == Some(wire),
        }
    }

    /// Notes whether it could be reached where it is.
    pub(super) fn set_reached(&mut self, is_v6: bool, reached: bool) {
        self.flags.set(reached_bit(is_v6), reached);
    }

    /// Could it be reached in this family?
    pub(super) fn is_reached_in(&self, is_v6: bool) -> bool {
        self.flags.has(reached_bit(is_v6))
    }
}

fn reached_bit(is_v6: bool) -> u16 {
    if is_v6 {
        Flags::REACHED_V6
    } else {
        Flags::REACHED_V4
    }
}

/// What a snapshot is read against: how old it is, and what time it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) age: Duration,
    pub(super) now: Tick,
    pub(super) date: Date,
}

/// The length of a record in a snapshot, without what few have.
pub(super) const ENCODED_MIN: usize = 20 + 4 + 3 * 6 + 4 + 2;

impl Record {
    /// Appends the record as a snapshot holds it. Times become ages.
    pub(super) fn encode(&self, now: Tick, out: &mut Vec<u8>) {
        let lasting = Flags(self.flags.0 & !Flags::CHANGED);
        out.extend_from_slice(&self.member.0.to_le_bytes());
        out.extend_from_slice(self.peer_id.as_bytes());
        for Six(bytes) in [self.uploaded, self.downloaded, self.left] {
            out.extend_from_slice(&bytes);
        }
        out.extend_from_slice(&self.heard.0.to_le_bytes());
        out.extend_from_slice(&lasting.0.to_le_bytes());
        if let Some(wire) = self.v4(None) {
            out.extend_from_slice(&wire);
        }
        if let Some(wire) = self.v6(None) {
            out.extend_from_slice(&wire);
        }
        for bit in PRESENCES {
            if let Some(heard) = self.heard_by(bit) {
                out.extend_from_slice(&heard.age(now).to_le_bytes());
            }
        }
    }

    /// Reads what [`Self::encode`] wrote; ages grow by `age`, and an address older than can be told is not here any more.
    pub(super) fn decode(reader: &mut Reader<'_>, past: Past) -> Option<Self> {
        let mut record = Self::empty();
        record.member = MemberId(u32::from_le_bytes(reader.take()?));
        record.peer_id = PeerId(reader.take()?);
        record.uploaded = Six(reader.take()?);
        record.downloaded = Six(reader.take()?);
        record.left = Six(reader.take()?);
        // Where clocks were put back, nobody is heard in the future.
        record.heard = Date(u32::from_le_bytes(reader.take()?)).min(past.date);
        let flags = Flags(u16::from_le_bytes(reader.take()?));
        let v4 = if flags.has(Flags::V4) {
            Some(reader.take()?)
        } else {
            None
        };
        let v6 = if flags.has(Flags::V6) {
            Some(reader.take()?)
        } else {
            None
        };
        for bit in PRESENCES {
            if !flags.has(bit) {
                continue;
            }
            let old = u16::from_le_bytes(reader.take()?);
            let at = match (bit & Flags::V4 != 0, v4, v6) {
                (true, Some(wire), _) => Endpoint::V4(wire),
                (false, _, Some(wire)) => Endpoint::V6(wire),
                _ => return None,
            };
            let which = if bit & (Flags::V4_FIRST | Flags::V6_FIRST) != 0 {
                Which::First
            } else {
                Which::Second
            };
            if let Some(tick) = Tick::before(past.now, past.age.saturating_add(Tick::duration(old))) {
                record.sight(Sighting { at, which, tick });
            }
        }
        record.restore_flags(flags);
        Some(record)
    }

    /// The flags that a snapshot may hold, as far as they fit what is here.
    fn restore_flags(&mut self, flags: Flags) {
        self.flags.set(Flags::ENDED, flags.has(Flags::ENDED));
        if self.is_here() {
            for bit in [Flags::PAUSED, Flags::UNANSWERED, Flags::BRISK] {
                self.flags.set(bit, flags.has(bit));
            }
        }
        for (family, reached) in [(Flags::V4, Flags::REACHED_V4), (Flags::V6, Flags::REACHED_V6)] {
            let is_here = self.flags.has(family);
            self.flags.set(reached, is_here && flags.has(reached));
        }
    }
}
