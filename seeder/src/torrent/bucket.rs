//! A token bucket: how many bytes may pass now, and how long to wait for more. It begins empty, so that a limit holds from
//! the first second on. Times are arguments; who waits, and in which order, is the affair of `net::throttle`.

use std::time::Duration;

use shared::moment::Moment;

/// Levels are kept in thousandths of a byte, so that a millisecond of a byte a second is not lost.
const MILLI: u64 = 1_000;

/// Bytes that trickle in at a rate and are kept up to a bound.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Bytes a second.
    rate: u64,
    /// Bytes that are kept for those who come after a pause.
    burst: u64,
    /// Thousandths of a byte.
    level: u64,
    /// Until when the level is reckoned; `None` before the first use.
    reckoned: Option<Moment>,
}

impl Bucket {
    /// An empty bucket. Neither number is taken below one.
    pub fn new(rate: u64, burst: u64) -> Self {
        Self {
            rate: rate.max(1),
            burst: burst.max(1),
            level: 0,
            reckoned: None,
        }
    }

    /// Bytes a second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Another rate from now on, and another burst. What trickled in until now came at the old rate.
    pub fn set_rate(&mut self, now: Moment, rate: u64, burst: u64) {
        self.reckon(now);
        self.rate = rate.max(1);
        self.burst = burst.max(1);
        self.level = self.level.min(self.full());
    }

    /// Takes up to so many bytes, as many as there are.
    pub fn take(&mut self, now: Moment, want: u64) -> u64 {
        self.reckon(now);
        let granted = want.min(self.level / MILLI);
        self.level -= granted * MILLI;
        granted
    }

    /// How long until so many bytes are there, or as many as fit.
    pub fn wait(&mut self, now: Moment, want: u64) -> Duration {
        self.reckon(now);
        let missing = want
            .min(self.burst)
            .saturating_mul(MILLI)
            .saturating_sub(self.level);
        Duration::from_millis(missing.div_ceil(self.rate))
    }

    /// Bytes that were taken and not used come back.
    pub fn give_back(&mut self, bytes: u64) {
        self.level = self
            .level
            .saturating_add(bytes.saturating_mul(MILLI))
            .min(self.full());
    }

    fn full(&self) -> u64 {
        self.burst.saturating_mul(MILLI)
    }

    fn reckon(&mut self, now: Moment) {
        let passed = self.reckoned.map_or(Duration::ZERO, |then| now.since(then));
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        self.level = self
            .level
            .saturating_add(passed.saturating_mul(self.rate))
            .min(self.full());
        self.reckoned = self.reckoned.max(Some(now));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn bytes_trickle_in_and_are_kept_up_to_the_burst() {
        let mut bucket = Bucket::new(1_000, 500);
        assert_eq!(bucket.take(at(0), 100), 0);
        assert_eq!(bucket.take(at(100), 1_000), 100);
        assert_eq!(bucket.take(at(60_000), 10_000), 500);
    }

    #[test]
    fn a_byte_a_second_is_not_lost_between_milliseconds() {
        let mut bucket = Bucket::new(1, 10);
        let taken: u64 = (0..=5_000).map(|millis| bucket.take(at(millis), 9)).sum();
        assert_eq!(taken, 5);
    }

    #[test]
    fn the_wait_is_for_what_is_missing_and_never_for_more_than_fits() {
        let mut bucket = Bucket::new(1_000, 500);
        bucket.take(at(0), 1);
        assert_eq!(bucket.wait(at(0), 100), Duration::from_millis(100));
        assert_eq!(bucket.wait(at(0), 9_000), Duration::from_millis(500));
        assert_eq!(bucket.wait(at(100), 100), Duration::ZERO);
    }

    #[test]
    fn a_new_rate_counts_from_its_moment_on() {
        let mut bucket = Bucket::new(1_000, 1_000);
        bucket.take(at(0), 1);
        bucket.set_rate(at(100), 10, 1_000);
        assert_eq!(bucket.take(at(1_100), 1_000), 110);
        bucket.set_rate(at(1_100), 1_000_000, 5);
        assert_eq!(bucket.take(at(2_000), 1_000), 5);
    }

    #[test]
    fn what_comes_back_can_be_taken_again_and_does_not_overflow() {
        let mut bucket = Bucket::new(1_000, 500);
        bucket.take(at(0), 1);
        assert_eq!(bucket.take(at(500), 500), 500);
        bucket.give_back(200);
        assert_eq!(bucket.take(at(500), 500), 200);
        bucket.give_back(u64::MAX);
        assert_eq!(bucket.take(at(500), 9_000), 500);
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_passes_than_the_rate_and_one_burst(
            rate in 1_u64..1 << 40, burst in 1_u64..1 << 40,
            steps in prop::collection::vec((0_u64..5_000, 0_u64..1 << 41), 1..60),
        ) {
            let mut bucket = Bucket::new(rate, burst);
            let (mut now, mut passed) = (7, 0_u128);
            for (wait, want) in steps {
                now += wait;
                passed += u128::from(bucket.take(at(now), want));
            }
            let most = u128::from(rate) * u128::from(now) / 1_000 + u128::from(burst);
            prop_assert!(passed <= most);
        }

        #[test]
        fn who_waits_as_long_as_told_gets_what_it_waited_for(
            rate in 1_u64..1 << 40, burst in 1_u64..1 << 30, want in 1_u64..1 << 31,
        ) {
            let mut bucket = Bucket::new(rate, burst);
            let wait = bucket.wait(at(0), want);
            prop_assert_eq!(bucket.take(at(0) + wait, want), want.min(burst));
        }

        #[test]
        fn no_number_makes_it_panic(rate: u64, burst: u64, now: u64, want: u64) {
            let mut bucket = Bucket::new(rate, burst);
            bucket.take(at(0), want);
            bucket.take(at(now), want);
            bucket.give_back(want);
            bucket.wait(at(now / 2), want);
            bucket.set_rate(at(u64::MAX), want, now);
        }
    }
}
