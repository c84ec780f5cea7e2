//! How long the tests wait for something before they call it broken. The only place in the tests that asks the clock.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A moment by which something must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "real programs live in real time")]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// What is left of the time, or `None` when it is over.
    #[expect(clippy::disallowed_methods, reason = "real programs live in real time")]
    pub fn left(self) -> Option<Duration> {
        self.0
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }
}

/// Turns on the spot for less than a few milliseconds: when the test is about such a moment, no event will tell of it.
pub fn spin(time: Duration) {
    let deadline = Deadline::after(time);
    while deadline.left().is_some() {
        std::hint::spin_loop();
    }
}

/// How often a program that cannot tell by itself is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer. For facts that no line, exit or event announces.
#[track_caller]
pub fn ask_until<T>(what: &str, limit: Duration, mut question: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(limit);
    // Nobody ever sends: receiving from it is a pause that cannot be mistaken for synchronisation.
    let (_nobody, silence) = mpsc::channel::<()>();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(deadline.left().is_some(), "waited {limit:?} in vain: {what}");
        let _ = silence.recv_timeout(PAUSE);
    }
}
