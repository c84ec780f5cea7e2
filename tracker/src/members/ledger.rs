//! What must not be forgotten: entries of the journal, and the changes that the store has not seen yet. Plain facts; they are
//! made under a shard's lock in `swarm::private`, and written by `journal` and `books`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use shared::id::PeerId;

use super::ids::{Date, MemberId, TorrentId, Which};
use super::rules::{Mark, Report};

/// A client of a member in a torrent, for as long as it keeps its peer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub torrent: TorrentId,
    pub member: MemberId,
    pub peer_id: PeerId,
}

/// An opening or a closing of a session: what the journal holds, and all that is needed to repeat it after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub session: SessionKey,
    pub which: Which,
    /// Where the peer listens.
    pub address: SocketAddr,
    /// The session as it stood when the report came in; none at first sight. Counters between openings and closings are in
    /// no journal: without this a `started` that begins anew would lose those before it (`rules::replay`).
    pub before: Option<Mark>,
    pub report: Report,
}

/// Takes entries in the order in which they were applied. Called under a shard's lock: it may queue, never wait.
pub trait Scribe {
    /// `segment` is the part of the journal that the entry belongs to; the flush that follows makes all of it superfluous.
    fn enter(&self, segment: u64, entry: &Entry);
}

/// What an account, (member, torrent), has gained since the store saw it last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountDelta {
    /// Bytes, as the clients count them.
    pub uploaded: u64,
    pub downloaded: u64,
    /// The same bytes at the tariff of their time.
    pub upload_credit: u64,
    pub download_charge: u64,
    pub seeded_secs: u64,
    pub completions: u32,
    /// Bytes missing, as last reported.
    pub left: u64,
    pub first_seen: Date,
    pub last_seen: Date,
    /// The beginning of the peer id, by which the client is known.
    pub client: [u8; 8],
}

/// Everything that one flush writes, in one transaction. A flush that fails keeps it, and the next is merged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sessions as they are now.
    pub sessions: BTreeMap<SessionKey, Mark>,
    /// Sessions that were silent for too long to be continued. One that is among `sessions` too has come back since.
    pub forgotten: Vec<SessionKey>,
    /// Accounts, by what they have gained.
    pub accounts: BTreeMap<(MemberId, TorrentId), AccountDelta>,
}

impl AccountDelta {
    /// Adds what was gained later.
    pub fn add(&mut self, later: &Self) {
        let sums = [
            (&mut self.uploaded, later.uploaded),
            (&mut self.downloaded, later.downloaded),
            (&mut self.upload_credit, later.upload_credit),
            (&mut self.download_charge, later.download_charge),
            (&mut self.seeded_secs, later.seeded_secs),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        self.completions = self.completions.saturating_add(later.completions);
        self.first_seen = self.first_seen.min(later.first_seen);
        self.last_seen = self.last_seen.max(later.last_seen);
        (self.left, self.client) = (later.left, later.client);
    }
}
