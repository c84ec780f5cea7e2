//! Time, the only place where the seeder asks for it. Tokio's clock, so that tests may pause it.

use std::time::Duration;

use jiff::{Timestamp, Zoned};
use shared::moment::Moment;
use tokio::time::Instant;

/// Turns real time into [`Moment`]s and back. Copies of one clock agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that shows [`Moment::START`] now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The time now.
    pub fn now(self) -> Moment {
        Moment::START + self.start.elapsed()
    }

    /// The seconds since 1970 that this moment is, by the system's clock as it stands now.
    pub fn unix(self, moment: Moment) -> i64 {
        let wall = Timestamp::now().as_millisecond();
        let now = i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX);
        let then = i64::try_from(moment.as_millis()).unwrap_or(i64::MAX);
        (wall - now + then).div_euclid(1_000)
    }

    /// The seconds since 1970 now.
    pub fn unix_now(self) -> i64 {
        self.unix(self.now())
    }

    /// The day of the week (Monday is 0) and the minute of the day, where the program runs.
    pub fn weekday_and_minute(self) -> (u8, u16) {
        let now = Zoned::now();
        let weekday = now.weekday().to_monday_zero_offset().unsigned_abs();
        let minute = i16::from(now.hour()) * 60 + i16::from(now.minute());
        (weekday, minute.unsigned_abs())
    }

    /// The instant so far from now.
    pub fn after(self, duration: Duration) -> Instant {
        Instant::now() + duration
    }

    /// The instant to sleep until. A moment is cut to whole milliseconds, so the next one is waited for: a timer that
    /// fires early would find nothing due and spin.
    pub fn instant(self, moment: Moment) -> Instant {
        self.start + Duration::from_millis(moment.as_millis()) + Duration::from_millis(1)
    }
}
