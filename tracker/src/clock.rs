//! Time, the only place where the tracker asks for it. It asks tokio, so that paused tests can move it.

use std::time::Duration;

use shared::moment::Moment;
use tokio::time::Instant;

/// Counts from the moment it was made. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
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
