//! Which torrents this tracker is for: info-hash to torrent and tariff, in memory. Announces ask it; only the office changes it.

use std::sync::Arc;

use shared::id::InfoHash;

use super::ids::{Date, TorrentId, Which};
use super::rules::Tariff;

/// What is known of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Open {
        torrent: TorrentId,
        which: Which,
        tariff: Tariff,
    },
    /// With the owner's words, for as long as the settings say.
    Removed {
        reason: Arc<str>,
    },
    Unknown,
}

#[derive(Debug)]
pub struct Register {}

#[expect(clippy::todo, reason = "signatures first; bodies follow within the hour")]
impl Register {
    /// The torrent of a hash that somebody announces. An unknown one is registered here and now where the settings allow it.
    pub fn find(&self, _hash: &InfoHash, _date: Date) -> Found {
        todo!()
    }

    /// The torrent of a hash that somebody only asks about, as in a scrape.
    pub fn look_up(&self, _hash: &InfoHash) -> Option<(TorrentId, Which)> {
        todo!()
    }

    /// The tariff of a torrent at a date; what the journal's replay asks.
    pub fn tariff(&self, _torrent: TorrentId, _date: Date) -> Tariff {
        todo!()
    }

    /// Whether the tracker has just started, so that a torrent may be registered any moment.
    pub fn young(&self, _date: Date) -> bool {
        todo!()
    }

    /// Torrents that are served.
    pub fn len(&self) -> usize {
        todo!()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
