//! How many blocks a peer is asked for at a time: as many as it gives in a few seconds, quickly found at the start, and of
//! scarce memory no more than its share. So a fast link is never idle, and a slow one holds little that others could have.

use std::time::Duration;

use shared::geometry::BLOCK_LENGTH;
use shared::moment::Moment;

use super::rate::Rate;

/// The queue to begin with. With every block that comes it grows by one, so it doubles with every round trip.
const FIRST: usize = 8;
/// After so long there is a rate to go by.
const START: Duration = Duration::from_secs(3);
/// No queue is shorter, so that a slow start can become a fast end.
const MIN: usize = 4;
/// A queue holds what arrives in so many seconds.
const QUEUE_SECS: u64 = 3;

/// What a torrent's memory allows each peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    /// Blocks that all of them may hold.
    blocks: usize,
    /// Peers that can be asked, and what they give together.
    peers: usize,
    rate: u64,
}

impl Shares {
    /// Memory for so many blocks, for peers with these rates.
    pub(super) fn new(blocks: usize, rates: impl Iterator<Item = u64>) -> Self {
        rates.fold(
            Self {
                blocks,
                ..Self::default()
            },
            |shares, rate| Self {
                peers: shares.peers + 1,
                rate: shares.rate.saturating_add(rate),
                ..shares
            },
        )
    }

    /// What a peer of this rate may hold: its share by rate, or an equal one, so that nobody is without.
    fn of(&self, rate: u64) -> usize {
        if self.peers <= 1 {
            return usize::MAX;
        }
        let equal = self.blocks / self.peers;
        let by_rate = u128::from(rate) * self.blocks as u128 / u128::from(self.rate.max(1));
        usize::try_from(by_rate).unwrap_or(usize::MAX).max(equal).max(MIN)
    }

    /// It gives so little beside the others that what is wanted at once should come from them.
    pub(super) fn is_slow(&self, rate: u64) -> bool {
        self.peers > 1 && rate.saturating_mul(self.peers as u64 * 4) < self.rate
    }
}

/// One peer's queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth {
    /// When its first block came, and how many have come since.
    began: Option<Moment>,
    came: usize,
}

impl Depth {
    /// A block has come.
    pub(super) fn came(&mut self, now: Moment) {
        self.began.get_or_insert(now);
        self.came = self.came.saturating_add(1);
    }

    /// It is asked again after a time of nothing: what was measured is old.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// How many blocks it should owe us now.
    pub(super) fn blocks(&self, now: Moment, rate: &Rate, shares: &Shares) -> usize {
        let rate = rate.per_second(now);
        let measured = rate.saturating_mul(QUEUE_SECS) / u64::from(BLOCK_LENGTH);
        let measured = usize::try_from(measured).unwrap_or(usize::MAX);
        let starts = self.began.is_none_or(|began| now.since(began) < START);
        let wanted = if starts { FIRST + self.came } else { measured };
        wanted.max(MIN).min(shares.of(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOTS: Shares = Shares {
        blocks: 4_096,
        peers: 1,
        rate: 0,
    };

    /// Lets a peer give so many blocks in each of these seconds; says how deep its queue is in the end.
    fn after(blocks_per_second: &[u64]) -> usize {
        let (mut depth, mut rate) = (Depth::default(), Rate::default());
        for (second, blocks) in (100..).zip(blocks_per_second) {
            for _ in 0..*blocks {
                depth.came(Moment::from_secs(second));
                rate.add(Moment::from_secs(second), 16_384);
            }
        }
        let end = 99 + blocks_per_second.len() as u64;
        depth.blocks(Moment::from_secs(end), &rate, &LOTS)
    }

    #[test]
    fn a_queue_begins_small_grows_quickly_and_then_holds_three_seconds() {
        assert_eq!(after(&[0]), 8);
        assert_eq!(after(&[100]), 108);
        assert_eq!(after(&[100; 8]), 300);
        assert_eq!(after(&[1; 8]), MIN);
        assert_eq!(after(&[2_000; 8]), 6_000);
    }

    #[test]
    fn scarce_memory_is_shared_by_rate_and_nobody_is_without() {
        let rates = [9_000_000, 500_000, 500_000, 0];
        let shares = Shares::new(100, rates.into_iter());
        let parts: Vec<usize> = rates.iter().map(|rate| shares.of(*rate)).collect();
        assert_eq!(parts, [90, 25, 25, 25]);
        assert!(shares.is_slow(500_000) && !shares.is_slow(9_000_000));
        assert!(!Shares::new(100, [0].into_iter()).is_slow(0));
    }
}
