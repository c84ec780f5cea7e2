//! Small numbers that stand for members, torrents and dates. They are what peers' records hold; names stay in the store.

use std::time::Duration;

/// A member of the tracker, numbered by the store from 1. Never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

/// A registered torrent, numbered by the store from 1; a hybrid with its two hashes is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TorrentId(pub u32);

/// Which of a torrent's hashes a peer announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// The v1 hash, or the only one.
    First,
    /// A hybrid's v2 hash, cut to twenty bytes (BEP 52).
    Second,
}

/// Seconds since 1970 in UTC. Accounts and snapshots outlive the process, so a [`Moment`](shared::moment::Moment) will not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub u32);

impl Date {
    /// How long ago `earlier` was; zero where clocks were put back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::from(self.0.saturating_sub(earlier.0)))
    }
}

impl std::ops::Add<Duration> for Date {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let secs = u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        Self(self.0.saturating_add(secs))
    }
}
