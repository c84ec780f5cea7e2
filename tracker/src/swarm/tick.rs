//! Time as a peer's record keeps it: two bytes.

use std::time::Duration;

use shared::moment::Moment;

/// Ten seconds: half an hour of silence is known within half a percent, and the counter runs round only after a week.
const TICK_SECS: u64 = 10;

/// The longest silence that can be told from a record of the future: two threads read the clock in either order.
const AGE_MAX: u16 = u16::MAX / 2;

/// The past, well before it would turn into the future.
const LONG: u16 = AGE_MAX / 4 * 3;

/// When somebody was last heard, in ticks since the start, running round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tick(pub(super) u16);

impl Tick {
    pub(super) fn at(now: Moment) -> Self {
        let ticks = now.as_secs() / TICK_SECS % (u64::from(u16::MAX) + 1);
        Self(u16::try_from(ticks).unwrap_or_default())
    }

    /// So long ago, almost three days, that nothing which happened then matters now.
    pub(super) fn long_before(now: Self) -> Self {
        Self(now.0.wrapping_sub(LONG))
    }

    /// To be called twice a day at least: keeps what was long ago from becoming the future.
    pub(super) fn keep_past(&mut self, now: Self) {
        if self.age(now) > LONG {
            *self = Self::long_before(now);
        }
    }

    /// A moment `age` before `now`; none where it is so long ago that it would pass for the future.
    pub(super) fn before(now: Self, age: Duration) -> Option<Self> {
        let ticks = u16::try_from(age.as_secs().div_ceil(TICK_SECS)).ok()?;
        (ticks <= AGE_MAX).then(|| Self(now.0.wrapping_sub(ticks)))
    }

    /// The time that an age stands for.
    pub(super) fn duration(age: u16) -> Duration {
        Duration::from_secs(u64::from(age) * TICK_SECS)
    }

    /// How many ticks ago this was; none for a moment of the future.
    pub(super) fn age(self, now: Self) -> u16 {
        let age = now.0.wrapping_sub(self.0);
        if age > AGE_MAX { 0 } else { age }
    }

    /// Less than `time` ago, beyond doubt.
    pub(super) fn is_within(self, time: Duration, now: Self) -> bool {
        let at_most = (u64::from(self.age(now)) + 1) * TICK_SECS;
        Duration::from_secs(at_most) <= time
    }

    /// Perhaps less than `time` ago.
    pub(super) fn may_be_within(self, time: Duration, now: Self) -> bool {
        let at_least = u64::from(self.age(now).saturating_sub(1)) * TICK_SECS;
        Duration::from_secs(at_least) <= time
    }
}

/// The rule by which a sweep forgets: silent for longer than a timeout, never sooner, up to one tick later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    now: Tick,
    ticks: u16,
}

impl Silence {
    pub(super) fn now(self) -> Tick {
        self.now
    }

    pub(super) fn new(now: Moment, timeout: Duration) -> Self {
        let ticks = timeout.as_secs().div_ceil(TICK_SECS);
        Self {
            now: Tick::at(now),
            ticks: u16::try_from(ticks).unwrap_or(AGE_MAX).min(AGE_MAX - 1),
        }
    }

    /// Has it been too long?
    pub(super) fn broken_by(self, heard: Tick) -> bool {
        let age = self.now.0.wrapping_sub(heard.0);
        age > self.ticks && age <= AGE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(heard_secs: u64, now_secs: u64, forgotten: bool) {
        let silence = Silence::new(Moment::from_secs(now_secs), Duration::from_secs(60));
        assert_eq!(
            silence.broken_by(Tick::at(Moment::from_secs(heard_secs))),
            forgotten
        );
    }

    #[test]
    fn nobody_is_forgotten_before_the_timeout_and_everybody_a_tick_after_it() {
        check(9, 69, false);
        check(0, 60, false);
        check(9, 79, true);
        check(0, 70, true);
    }

    #[test]
    fn a_record_of_the_future_is_young() {
        check(100, 89, false);
    }

    #[test]
    fn the_past_stays_past_while_the_counter_runs_round() {
        let mut long_ago = Tick::long_before(Tick::at(Moment::START));
        for half_day in 0..60 {
            let now = Tick::at(Moment::from_secs(half_day * 43_200));
            assert!(
                !long_ago.may_be_within(Duration::from_secs(86_400), now),
                "{half_day}"
            );
            long_ago.keep_past(now);
        }
    }

    #[test]
    fn an_age_is_taken_as_the_tick_before_and_after_it() {
        let (then, now) = (Tick(100), Tick(103));
        assert!(then.is_within(Duration::from_secs(40), now));
        assert!(!then.is_within(Duration::from_secs(39), now));
        assert!(then.may_be_within(Duration::from_secs(20), now));
        assert!(!then.may_be_within(Duration::from_secs(19), now));
        assert!(Tick(104).is_within(Duration::from_secs(10), now), "of the future");
        assert_eq!(Tick::before(now, Duration::from_secs(30)), Some(then));
        assert_eq!(Tick::before(now, Duration::from_secs(1_000_000)), None);
    }

    #[test]
    fn the_counter_may_run_round() {
        let round = TICK_SECS * 65_536;
        check(round - 20, round + 30, false);
        check(round - 20, round + 60, true);
    }
}
