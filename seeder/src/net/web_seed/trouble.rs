//! What can go wrong with a web seed, by what follows from it.

use std::time::Duration;

/// Pauses between attempts: the first, and the longest of our own. Each is twice the one before.
const PAUSE_FIRST: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// A server may ask for a longer one, but not for a day.
const ASKED_MAX: Duration = Duration::from_secs(3_600);

/// Why a range did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It may come later: the server is down, busy, or broke off.
    #[error("{why}")]
    Passing { why: String, after: Option<Duration> },
    /// This server has not this file, or another one by its name.
    #[error("{why}")]
    Lacks { file: usize, why: String },
    /// It is of no use, and will not be.
    #[error("{0}")]
    Useless(String),
    /// Nobody wants anything any more.
    #[error("closed by us")]
    Released,
}

impl Trouble {
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self::Passing {
            why: why.into(),
            after: None,
        }
    }
}

/// How long to leave a server alone after so many failures in a row, and what it said itself.
pub(super) fn pause(failures: u32, asked: Option<Duration>) -> Duration {
    let own = PAUSE_FIRST.saturating_mul(1 << failures.min(20)).min(PAUSE_MAX);
    asked.map_or(own, |asked| asked.clamp(PAUSE_FIRST, ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_server_may_ask_for_others_within_reason() {
        let seconds =
            |failures, asked: Option<u64>| pause(failures, asked.map(Duration::from_secs)).as_secs();
        assert_eq!(
            [0, 1, 5, 40].map(|failures| seconds(failures, None)),
            [2, 4, 64, 600]
        );
        assert_eq!(
            [0, 30, 999_999].map(|asked| seconds(3, Some(asked))),
            [2, 30, 3_600]
        );
    }
}
