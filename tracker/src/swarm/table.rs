//! Many peers of one kind: buckets of some dozens, grown and shrunk one bucket at a time (linear hashing), so that neither
//! a search nor growth ever walks the whole swarm, and slack stays below an eighth of a bucket.

use ahash::RandomState;
use rand::{Rng, RngExt};

use super::family::Record;

/// Peers a bucket on average: a search compares about a kilobyte, and a bucket's own 24 bytes weigh half a byte a peer.
const BUCKET_TARGET: usize = 48;

#[derive(Debug)]
pub(super) struct Table<R> {
    buckets: Vec<Vec<R>>,
    length: u32,
}

/// Where a peer stands in a [`Table`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    bucket: usize,
    at: usize,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            buckets: Vec::new(),
            length: 0,
        }
    }
}

impl<R: Record> Table<R> {
    pub(super) fn len(&self) -> u32 {
        self.length
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &R> {
        self.buckets.iter().flatten()
    }

    pub(super) fn find(&self, peer: &R, hash: u64) -> Option<Place> {
        let bucket = bucket_of(hash, self.buckets.len());
        let at = self
            .buckets
            .get(bucket)?
            .iter()
            .position(|record| record.same_peer(peer))?;
        Some(Place { bucket, at })
    }

    pub(super) fn get(&self, place: Place) -> Option<&R> {
        self.buckets.get(place.bucket)?.get(place.at)
    }

    pub(super) fn replace(&mut self, place: Place, peer: R) {
        if let Some(record) = self
            .buckets
            .get_mut(place.bucket)
            .and_then(|bucket| bucket.get_mut(place.at))
        {
            *record = peer;
        }
    }

    /// Adds a peer that is not there.
    pub(super) fn insert(&mut self, peer: R, hasher: &RandomState) {
        if self.buckets.is_empty() {
            self.buckets.push(Vec::new());
        }
        let bucket = bucket_of(hasher.hash_one(peer.wire()), self.buckets.len());
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            push(bucket, peer);
            self.length += 1;
        }
        if self.length as usize > self.buckets.len() * BUCKET_TARGET {
            self.split(hasher);
        }
    }

    pub(super) fn remove(&mut self, place: Place) {
        if let Some(bucket) = self.buckets.get_mut(place.bucket) {
            bucket.swap_remove(place.at);
            tighten(bucket);
            self.length -= 1;
            self.merge();
        }
    }

    /// Keeps those for whom `keep` holds.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&R) -> bool) {
        let mut length = 0;
        for bucket in &mut self.buckets {
            bucket.retain(&mut keep);
            tighten(bucket);
            length += bucket.len();
        }
        self.length = u32::try_from(length).unwrap_or(u32::MAX);
        self.merge();
    }

    /// Peers in a row from a random place on, once round.
    pub(super) fn row(&self, rng: &mut impl Rng) -> impl Iterator<Item = &R> {
        let first = if self.buckets.is_empty() {
            0
        } else {
            rng.random_range(0..self.buckets.len())
        };
        let (before, from) = self.buckets.split_at(first);
        let start = from
            .first()
            .map_or(0, |bucket| rng.random_range(0..=bucket.len()));
        let (head, tail) = from
            .first()
            .map_or((&[][..], &[][..]), |bucket| bucket.split_at(start));
        tail.iter()
            .chain(from.iter().skip(1).flatten())
            .chain(before.iter().flatten())
            .chain(head)
    }

    /// One bucket more: the peers of its partner are shared out between both.
    fn split(&mut self, hasher: &RandomState) {
        let new = self.buckets.len();
        let Some(partner) = self.buckets.get_mut(partner_of(new)) else {
            return;
        };
        let goes = |peer: &mut R| bucket_of(hasher.hash_one(peer.wire()), new + 1) == new;
        let mut bucket: Vec<R> = partner.extract_if(.., goes).collect();
        bucket.shrink_to_fit();
        partner.shrink_to_fit();
        push(&mut self.buckets, bucket);
    }

    /// As many buckets fewer as the peers need: the last one goes back to its partner.
    fn merge(&mut self) {
        while self.buckets.len() > 1 && (self.length as usize) < self.buckets.len() * BUCKET_TARGET / 4 {
            let last = self.buckets.pop().unwrap_or_default();
            let partner = partner_of(self.buckets.len());
            if let Some(partner) = self.buckets.get_mut(partner) {
                partner.reserve_exact(last.len());
                partner.extend(last);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self, hasher: &RandomState) {
        assert_eq!(
            self.length as usize,
            self.buckets.iter().map(Vec::len).sum::<usize>()
        );
        for (number, bucket) in self.buckets.iter().enumerate() {
            for peer in bucket {
                assert_eq!(
                    bucket_of(hasher.hash_one(peer.wire()), self.buckets.len()),
                    number
                );
            }
        }
    }
}

/// Among `count` buckets: by the low bits of the hash, one bit fewer where that bucket is not there yet.
fn bucket_of(hash: u64, count: usize) -> usize {
    let mask = count.next_power_of_two() - 1;
    let bucket = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() & mask;
    if bucket < count {
        bucket
    } else {
        bucket & (mask >> 1)
    }
}

/// The bucket that the `new`-th is split from: the same number without its highest bit.
fn partner_of(new: usize) -> usize {
    new.checked_ilog2().map_or(0, |bits| new - (1 << bits))
}

/// Grows by an eighth instead of twofold.
fn push<T>(items: &mut Vec<T>, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len() / 8 + 1);
    }
    items.push(item);
}

fn tighten<T>(items: &mut Vec<T>) {
    if items.len() < items.capacity() / 2 {
        items.shrink_to(items.len() + items.len() / 8 + 1);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::swarm::family::V4;
    use crate::swarm::tick::Tick;

    fn peer(number: u32) -> V4 {
        let [a, b, c, d] = number.to_be_bytes();
        V4::new([a, b, c, d, 0, 1], Tick(0))
    }

    fn filled(count: u32, hasher: &RandomState) -> Table<V4> {
        let mut table = Table::default();
        for number in 0..count {
            table.insert(peer(number), hasher);
        }
        table
    }

    #[test]
    fn everybody_is_found_while_the_table_grows_and_shrinks() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut table = filled(5_000, &hasher);
        table.check(&hasher);
        for number in 0..4_990 {
            let place = table
                .find(&peer(number), hasher.hash_one(peer(number).wire()))
                .unwrap();
            table.remove(place);
        }
        table.check(&hasher);
        assert_eq!((table.len(), table.buckets.len()), (10, 1));
        assert!((4_990..5_000).all(|n| table.find(&peer(n), hasher.hash_one(peer(n).wire())).is_some()));
    }

    #[test]
    fn no_bucket_is_long_and_little_is_wasted() {
        let table = filled(100_000, &RandomState::with_seeds(1, 2, 3, 4));
        let longest = table.buckets.iter().map(Vec::len).max().unwrap();
        assert!(longest < 4 * BUCKET_TARGET, "{longest}");
        let room: usize = table.buckets.iter().map(Vec::capacity).sum();
        assert!(room < 112_500, "{room}");
    }

    #[test]
    fn a_walk_from_anywhere_meets_everybody_once() {
        let table = filled(1_000, &RandomState::with_seeds(1, 2, 3, 4));
        for seed in 0..20 {
            let mut met: Vec<_> = table
                .row(&mut SmallRng::seed_from_u64(seed))
                .map(Record::wire)
                .collect();
            met.sort_unstable();
            assert_eq!(met, (0..1_000).map(|n| peer(n).wire()).collect::<Vec<_>>());
        }
    }
}
