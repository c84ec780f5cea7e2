//! The peers of one swarm in one family. Most swarms are tiny, so two peers cost no allocation, sixty-four are one array
//! that a search reads through, and only more than that need tables.

use ahash::RandomState;
use rand::{Rng, RngExt};

use super::family::Record;
use super::group::{self, Counts, Kind};
use super::table::{Place, Table};
use super::tick::{Silence, Tick};

const FEW: usize = 2;
/// From here on a search through one array costs more than a look into a table.
const SOME_MAX: usize = 64;
/// A swarm this small gives its tables up again; well below the other bound, so that it does not change shape often.
const MANY_MIN: u32 = 32;

#[derive(Debug)]
pub(super) enum Peers<R> {
    Few { records: [R; FEW], counts: Counts<u8> },
    Some { records: Box<[R]>, counts: Counts<u8> },
    Many(Box<Many<R>>),
}

/// A table for each kind.
#[derive(Debug)]
pub(super) struct Many<R> {
    seeders: Table<R>,
    downloaders: Table<R>,
    paused: Table<R>,
}

/// What became of an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Joined,
    /// It was there, as this, heard then.
    Was(Kind, Tick),
    /// It was not there and there was no room.
    Full,
}

/// Who is of use to the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// A downloader: seeders up to half of the reply, then other downloaders.
    Everyone,
    /// A seeder or a paused partial seed: only those who want something.
    Downloaders,
}

impl<R: Record> Default for Peers<R> {
    fn default() -> Self {
        Self::Few {
            records: [R::EMPTY; FEW],
            counts: Counts::default(),
        }
    }
}

impl<R: Record> Peers<R> {
    pub(super) fn counts(&self) -> Counts {
        match self {
            Self::Few { counts, .. } | Self::Some { counts, .. } => counts.widen(),
            Self::Many(many) => many.counts(),
        }
    }

    /// Notes that a peer was heard, and as what. A new one joins only where there is room.
    pub(super) fn place(&mut self, peer: R, kind: Kind, room: bool, hasher: &RandomState) -> Placed {
        let before = match self {
            Self::Few { records, counts } => place_in_array(records, counts, peer, kind),
            Self::Some { records, counts } => place_in_array(records, counts, peer, kind),
            Self::Many(many) => many.place(peer, kind, hasher),
        };
        match before {
            Some((kind, heard)) => Placed::Was(kind, heard),
            None if !room => Placed::Full,
            None => {
                self.join(peer, kind, hasher);
                debug_assert!(self.is_sound(), "after a peer joined");
                Placed::Joined
            }
        }
    }

    /// Nobody is there twice and everybody has a place. Tables count themselves, and the tests look into them.
    fn is_sound(&self) -> bool {
        let sound = |records: &[R], counts: Counts<u8>| {
            let peers = records.get(..counts.total() as usize);
            peers.is_some_and(|peers| {
                let twice =
                    |(at, peer): (usize, &R)| peers.iter().skip(at + 1).any(|other| other.same_peer(peer));
                !peers.iter().enumerate().any(twice)
            })
        };
        match self {
            Self::Few { records, counts } => sound(records, *counts),
            Self::Some { records, counts } => sound(records, *counts),
            Self::Many(many) => many.counts().total() >= MANY_MIN,
        }
    }

    fn join(&mut self, peer: R, kind: Kind, hasher: &RandomState) {
        self.make_room(hasher);
        match self {
            Self::Few { records, counts } => group::insert(records, counts, kind, peer),
            Self::Some { records, counts } => group::insert(records, counts, kind, peer),
            Self::Many(many) => many.table_mut(kind).insert(peer, hasher),
        }
    }

    /// Takes a peer out; says what it was.
    pub(super) fn remove(&mut self, peer: &R, hasher: &RandomState) -> Option<Kind> {
        let was = match self {
            Self::Few { records, counts } => remove_from_array(records, counts, peer),
            Self::Some { records, counts } => remove_from_array(records, counts, peer),
            Self::Many(many) => many.remove(peer, hasher),
        };
        self.give_back_room();
        debug_assert!(self.is_sound(), "after a peer left");
        was
    }

    /// Forgets everybody who has been silent for too long.
    pub(super) fn forget_silent(&mut self, silence: Silence) {
        match self {
            Self::Few { records, counts } => forget_in_array(records, counts, silence),
            Self::Some { records, counts } => forget_in_array(records, counts, silence),
            Self::Many(many) => many.retain(|peer| !silence.broken_by(peer.heard())),
        }
        self.give_back_room();
        debug_assert!(self.is_sound(), "after the silent were forgotten");
    }

    /// Hands peers to `take` from random places on, until it has accepted `count`. Returns how many it accepted.
    pub(super) fn choose(
        &self,
        wants: Wants,
        count: u32,
        rng: &mut impl Rng,
        take: &mut impl FnMut(R::Wire) -> bool,
    ) -> u32 {
        let counts = self.counts();
        let mut taken = 0;
        if wants == Wants::Everyone {
            // The asker is among the leechers, but not in its own reply.
            let others = counts.leechers().saturating_sub(1);
            let seats = count.div_ceil(2).max(count.saturating_sub(others));
            taken += self.choose_of(Kind::Seeder, seats, rng, take);
        }
        taken += self.choose_of(Kind::Downloader, count - taken, rng, take);
        if wants == Wants::Everyone {
            taken += self.choose_of(Kind::Paused, count - taken, rng, take);
        }
        taken
    }

    fn choose_of(
        &self,
        kind: Kind,
        count: u32,
        rng: &mut impl Rng,
        take: &mut impl FnMut(R::Wire) -> bool,
    ) -> u32 {
        if count == 0 {
            return 0;
        }
        match self {
            Self::Few { records, counts } => {
                offer(row(group::slice(records, *counts, kind), rng), count, take)
            }
            Self::Some { records, counts } => {
                offer(row(group::slice(records, *counts, kind), rng), count, take)
            }
            Self::Many(many) => offer(many.table(kind).row(rng), count, take),
        }
    }

    fn make_room(&mut self, hasher: &RandomState) {
        match self {
            Self::Few { records, counts } if counts.total() as usize == FEW => {
                let records = resized(records.to_vec().into_boxed_slice(), grown(FEW));
                *self = Self::Some {
                    records,
                    counts: *counts,
                };
            }
            Self::Some { records, counts } if counts.total() as usize == records.len() => {
                if records.len() >= SOME_MAX {
                    *self = Self::Many(Box::new(Many::from_array(records, *counts, hasher)));
                } else {
                    let capacity = grown(records.len()).min(SOME_MAX);
                    *records = resized(std::mem::take(records), capacity);
                }
            }
            _ => (),
        }
    }

    fn give_back_room(&mut self) {
        match self {
            Self::Some { records, counts } if (counts.total() as usize) < FEW => {
                let mut few = [R::EMPTY; FEW];
                for (to, from) in few.iter_mut().zip(records.iter()) {
                    *to = *from;
                }
                *self = Self::Few {
                    records: few,
                    counts: *counts,
                };
            }
            Self::Some { records, counts } if (counts.total() as usize) < records.len() / 2 => {
                *records = resized(std::mem::take(records), grown(counts.total() as usize));
            }
            Self::Many(many) if many.counts().total() < MANY_MIN => *self = many.to_array(),
            _ => (),
        }
    }

    /// Everybody of a kind, in no order.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &R> {
        let (array, table) = match self {
            Self::Few { records, counts } => (group::slice(records, *counts, kind), None),
            Self::Some { records, counts } => (group::slice(records, *counts, kind), None),
            Self::Many(many) => (&[][..], Some(many.table(kind))),
        };
        array.iter().chain(table.into_iter().flat_map(Table::iter))
    }

    #[cfg(test)]
    pub(super) fn wires(&self, kind: Kind) -> Vec<R::Wire> {
        self.of_kind(kind).map(Record::wire).collect()
    }

    #[cfg(test)]
    pub(super) fn check(&self, hasher: &RandomState) {
        match self {
            Self::Few { .. } => (),
            Self::Some { records, counts } => assert!(counts.total() as usize <= records.len()),
            Self::Many(many) => Kind::ALL
                .into_iter()
                .for_each(|kind| many.table(kind).check(hasher)),
        }
    }
}

impl<R: Record> Many<R> {
    fn from_array(records: &[R], counts: Counts<u8>, hasher: &RandomState) -> Self {
        let mut many = Self {
            seeders: Table::default(),
            downloaders: Table::default(),
            paused: Table::default(),
        };
        for kind in Kind::ALL {
            for peer in group::slice(records, counts, kind) {
                many.table_mut(kind).insert(*peer, hasher);
            }
        }
        many
    }

    fn to_array(&self) -> Peers<R> {
        let total = self.counts().total() as usize;
        let mut records = vec![R::EMPTY; grown(total)].into_boxed_slice();
        let mut counts = Counts::default();
        for kind in Kind::ALL {
            for peer in self.table(kind).iter() {
                group::insert(&mut records, &mut counts, kind, *peer);
            }
        }
        Peers::Some { records, counts }
    }

    fn counts(&self) -> Counts {
        Counts {
            seeders: self.seeders.len(),
            downloaders: self.downloaders.len(),
            paused: self.paused.len(),
        }
    }

    fn table(&self, kind: Kind) -> &Table<R> {
        match kind {
            Kind::Seeder => &self.seeders,
            Kind::Downloader => &self.downloaders,
            Kind::Paused => &self.paused,
        }
    }

    fn table_mut(&mut self, kind: Kind) -> &mut Table<R> {
        match kind {
            Kind::Seeder => &mut self.seeders,
            Kind::Downloader => &mut self.downloaders,
            Kind::Paused => &mut self.paused,
        }
    }

    /// Looks where the peer most likely is first.
    fn find(&self, peer: &R, likely: Kind, hash: u64) -> Option<(Kind, Place)> {
        let others = Kind::ALL.into_iter().filter(|&kind| kind != likely);
        std::iter::once(likely)
            .chain(others)
            .find_map(|kind| Some((kind, self.table(kind).find(peer, hash)?)))
    }

    fn place(&mut self, peer: R, kind: Kind, hasher: &RandomState) -> Option<(Kind, Tick)> {
        let (was, place) = self.find(&peer, kind, hasher.hash_one(peer.wire()))?;
        let heard = self.table(was).get(place).map_or(peer.heard(), Record::heard);
        if was == kind {
            self.table_mut(kind).replace(place, peer);
        } else {
            self.table_mut(was).remove(place);
            self.table_mut(kind).insert(peer, hasher);
        }
        Some((was, heard))
    }

    fn remove(&mut self, peer: &R, hasher: &RandomState) -> Option<Kind> {
        let (was, place) = self.find(peer, Kind::Downloader, hasher.hash_one(peer.wire()))?;
        self.table_mut(was).remove(place);
        Some(was)
    }

    fn retain(&mut self, keep: impl Fn(&R) -> bool) {
        for kind in Kind::ALL {
            self.table_mut(kind).retain(&keep);
        }
    }
}

fn place_in_array<R: Record>(
    records: &mut [R],
    counts: &mut Counts<u8>,
    peer: R,
    kind: Kind,
) -> Option<(Kind, Tick)> {
    let (at, was) = group::find(records, *counts, &peer)?;
    let heard = records.get(at).map_or(peer.heard(), Record::heard);
    if was == kind {
        if let Some(record) = records.get_mut(at) {
            *record = peer;
        }
    } else {
        group::remove(records, counts, at, was);
        group::insert(records, counts, kind, peer);
    }
    Some((was, heard))
}

fn remove_from_array<R: Record>(records: &mut [R], counts: &mut Counts<u8>, peer: &R) -> Option<Kind> {
    let (at, was) = group::find(records, *counts, peer)?;
    group::remove(records, counts, at, was);
    Some(was)
}

/// From the end to the front: whoever moves into a freed place has been looked at.
fn forget_in_array<R: Record>(records: &mut [R], counts: &mut Counts<u8>, silence: Silence) {
    for at in (0..counts.total() as usize).rev() {
        let silent = records
            .get(at)
            .filter(|peer| silence.broken_by(peer.heard()))
            .copied();
        if let Some(peer) = silent {
            remove_from_array(records, counts, &peer);
        }
    }
}

/// A row of peers from a random place on, once round.
pub(super) fn row<'a, R, D: Rng>(
    records: &'a [R],
    rng: &mut D,
) -> impl Iterator<Item = &'a R> + use<'a, R, D> {
    let start = if records.len() < 2 {
        0
    } else {
        rng.random_range(0..records.len())
    };
    let (before, from) = records.split_at(start);
    from.iter().chain(before)
}

fn offer<'a, R: Record + 'a>(
    peers: impl Iterator<Item = &'a R>,
    count: u32,
    take: &mut impl FnMut(R::Wire) -> bool,
) -> u32 {
    let mut taken = 0;
    for peer in peers {
        if taken == count {
            break;
        }
        taken += u32::from(take(peer.wire()));
    }
    taken
}

/// Room for a ninth more at least; odd, because malloc's blocks hold 8 bytes beside multiples of 16.
fn grown(length: usize) -> usize {
    (length + length / 8 + 1) | 1
}

fn resized<R: Record>(records: Box<[R]>, capacity: usize) -> Box<[R]> {
    let mut records = records.into_vec();
    records.reserve_exact(capacity.saturating_sub(records.len()));
    records.resize(capacity, R::EMPTY);
    records.into_boxed_slice()
}
