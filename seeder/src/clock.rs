//! Time, the only place where the seeder asks for it. Tokio's clock, so that tests may pause it.

use std::time::Duration;

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
