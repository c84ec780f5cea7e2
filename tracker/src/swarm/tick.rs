//! Time as a peer's record keeps it: two bytes.

use std::time::Duration;

use shared::moment::Moment;

/// Ten seconds: half an hour of silence is known within half a percent, and the counter runs round only after a week.
const TICK_SECS: u64 = 10;

/// The longest silence that can be told from a record of the future: two threads read the clock in either order.
const AGE_MAX: u16 = u16::MAX / 2;

/// When somebody was last heard, in ticks since the start, running round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tick(pub(super) u16);

impl Tick {
    pub(super) fn at(now: Moment) -> Self {
        let ticks = now.as_secs() / TICK_SECS % (u64::from(u16::MAX) + 1);
        Self(u16::try_from(ticks).unwrap_or_default())
    }
}

/// The rule by which a sweep forgets: silent for longer than a timeout, never sooner, up to one tick later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    now: Tick,
    ticks: u16,
}

impl Silence {
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
    fn the_counter_may_run_round() {
        let round = TICK_SECS * 65_536;
        check(round - 20, round + 30, false);
        check(round - 20, round + 60, true);
    }
}
