//! Time, the only place where the tracker asks for it. It asks tokio, so that paused tests can move it.

use std::time::{Duration, UNIX_EPOCH};

use shared::moment::Moment;
use tokio::time::Instant;

use crate::members::ids::Date;

/// Counts from the moment it was made. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// The date at the start, for a clock that does not ask the system's calendar.
    calendar: Option<Date>,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            calendar: None,
        }
    }

    /// A clock that starts now and calls it `date`, whatever the system's calendar says: with paused time, a test's own.
    pub fn start_at(date: Date) -> Self {
        Self {
            calendar: Some(date),
            ..Self::start()
        }
    }

    /// The calendar's time. It may jump where the system's is put right; what must not jump asks for [`Self::now`].
    pub fn date(&self) -> Date {
        if let Some(date) = self.calendar {
            return date + self.elapsed();
        }
        #[expect(clippy::disallowed_methods, reason = "this is the place that asks")]
        let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
        Date(since.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX)))
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        Moment::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Time since the start, finer than a [`Moment`]; for measuring.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The instant that a timer needs for a moment.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.since(Moment::START)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_of_its_own_calendar_goes_on_from_there() {
        let clock = Clock::start_at(Date(1_000));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!((clock.date(), clock.now()), (Date(1_005), Moment::from_secs(5)));
    }

    #[test]
    fn the_calendar_is_past_the_day_this_was_written() {
        assert!(Clock::start().date() > Date(1_700_000_000));
    }
}
