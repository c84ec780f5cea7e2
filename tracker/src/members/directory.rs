//! The members in memory: whose key an announce carries, and what its holder has given and taken. Announces ask it; only the
//! office changes it.

use std::net::IpAddr;
use std::sync::Arc;

use super::ids::{Date, MemberId, TorrentId};
use super::refusal::Refusal;
use super::rules::{Charged, Credit};

/// A key that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub member: MemberId,
    /// A sentence for the member, where the key will soon end.
    pub warning: Option<&'static str>,
}

/// Members by what their announces would be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub active: u64,
    pub disabled: u64,
    pub expired: u64,
}

/// What a member gave and took, over all torrents and since ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberTotals {
    pub uploaded: u64,
    pub downloaded: u64,
    pub upload_credit: u64,
    pub download_charge: u64,
    pub last_seen: Option<Date>,
}

#[derive(Debug)]
pub struct Directory {}

/// While it lives, [`Directory::traced`] says yes for its member.
#[derive(Debug)]
pub struct TraceGuard {}

#[expect(clippy::todo, reason = "signatures first; bodies follow within the hour")]
impl Directory {
    /// Whose key this is, and whether it is good for the torrent today. Notes the network it came from. Never waits for more
    /// than another announce of the same member; costs no HMAC, or one for a key of one torrent.
    pub fn admit(
        &self,
        _key: &[u8],
        _torrent: Option<TorrentId>,
        _from: IpAddr,
        _date: Date,
    ) -> Result<Admitted, Refusal> {
        todo!()
    }

    /// Whose key this is, if it is or was one of ours, even where [`Directory::admit`] refuses it. For traces.
    pub fn whose(&self, _key: &[u8], _torrent: Option<TorrentId>) -> Option<MemberId> {
        todo!()
    }

    /// Adds what an announce was worth.
    pub fn add_credit(&self, _member: MemberId, _credit: &Credit, _charged: &Charged, _date: Date) {
        todo!()
    }

    pub fn totals(&self, _member: MemberId) -> Option<MemberTotals> {
        todo!()
    }

    /// How many members' keys come from too many networks. Forgets networks that are too old.
    pub fn alarms(&self, _date: Date) -> usize {
        todo!()
    }

    pub fn census(&self, _date: Date) -> Census {
        todo!()
    }

    /// Whether somebody watches this member's announces; one atomic load where nobody watches any.
    pub fn traced(&self, _member: MemberId) -> bool {
        todo!()
    }

    /// Starts watching a member.
    pub fn trace(self: &Arc<Self>, _member: MemberId) -> Option<TraceGuard> {
        todo!()
    }
}
