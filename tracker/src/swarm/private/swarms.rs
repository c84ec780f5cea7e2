//! All torrents of a private tracker, behind one map that nobody else sees.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::Rng;
use shared::announce::AnnounceRequest;
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;

use crate::members::ids::{Date, MemberId, TorrentId, Which};
use crate::members::ledger::{Changes, Entry, Scribe, SessionKey};
use crate::members::rules::{Charged, Credit, Mark, Tariff};
use crate::swarm::{Outcome, Policy, SnapshotError, SwarmLimits, Swept, Totals};

/// One announce of a member, whose key and torrent the edge has found good.
#[derive(Clone, Copy, Debug)]
pub struct MemberVisit<'a> {
    pub now: Moment,
    pub date: Date,
    pub request: &'a AnnounceRequest,
    pub member: MemberId,
    pub torrent: TorrentId,
    pub which: Which,
    /// The client's address: the socket's other end, or what a trusted proxy says.
    pub sender: IpAddr,
    /// The tracker's own address at which the client came in, where the edge knows it without asking anew.
    pub reached: Option<IpAddr>,
    pub policy: &'a Policy,
    pub tariff: Tariff,
    /// A sentence for `warning message`, if the edge has one: at most 64 characters.
    pub warning: Option<&'a str>,
}

/// The facts of one announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberAnnounced {
    pub outcome: Outcome,
    /// Peers in the reply, each with all its addresses.
    pub peers_given: u32,
    /// It came before its time and was given no peers.
    pub early: bool,
    pub credit: Credit,
    pub charged: Charged,
    /// The swarm's, the announcer included.
    pub seeders: u32,
    pub leechers: u32,
    /// Since this session's report before; none at first sight.
    pub elapsed: Option<Duration>,
    /// Somebody else of the torrent missed bytes at some time since that report, or nobody can tell.
    pub wanted: bool,
    /// Something was entered into the journal: settle before answering.
    pub entered: bool,
}

/// A session as its member and the owner see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberSession {
    pub torrent: TorrentId,
    pub peer_id: PeerId,
    pub mark: Mark,
    /// Where its peer is; none while it sleeps.
    pub v4: Option<SocketAddr>,
    pub v6: Option<SocketAddr>,
    /// A check has reached it at one of them.
    pub reachable: bool,
}

impl MemberSession {
    /// Is its peer in the swarm?
    pub fn is_here(&self) -> bool {
        self.v4.is_some() || self.v6.is_some()
    }
}

/// Every torrent of the tracker with its peers and sleeping sessions. Shared by reference; each call locks one shard at a time.
#[derive(Debug)]
pub struct PrivateSwarms {
    limits: SwarmLimits,
}

impl PrivateSwarms {
    /// `hash_key` must be random.
    pub fn new(limits: SwarmLimits, hash_key: [u64; 4]) -> Self {
        let _ = hash_key;
        Self { limits }
    }

    /// Takes one announce in and appends the whole reply to `out`.
    pub fn announce(
        &self,
        visit: &MemberVisit<'_>,
        scribe: &impl Scribe,
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> MemberAnnounced {
        let _ = (scribe, rng, out, self.limits, visit);
        MemberAnnounced {
            outcome: Outcome::WasNotHere,
            peers_given: 0,
            early: false,
            credit: Credit::default(),
            charged: Charged::default(),
            seeders: 0,
            leechers: 0,
            elapsed: None,
            wanted: true,
            entered: false,
        }
    }

    /// Appends the counts of some torrents (BEP 48); a hash that is not registered has nobody.
    pub fn scrape(&self, torrents: &[(InfoHash, Option<(TorrentId, Which)>)], out: &mut Vec<u8>) {
        let _ = (torrents, out);
    }

    /// Forgets in one shard addresses that were silent for longer than `timeout`; a peer without any falls asleep. Sessions
    /// that nobody has continued for `session_age` are forgotten.
    pub fn sweep_shard(
        &self,
        shard: usize,
        now: Moment,
        date: Date,
        timeout: Duration,
        session_age: Duration,
    ) -> Swept {
        let _ = (shard, now, date, timeout, session_age);
        Swept::default()
    }

    /// Adds to `changes` what one shard has changed since it was collected last, and starts its part of the journal's `segment`:
    /// entries of older segments are exactly those contained in what has been collected. With `snapshot` the whole shard is
    /// appended to it in the same moment, in a form that [`Self::restore`] reads; nothing for an empty one.
    pub fn collect_shard(
        &self,
        shard: usize,
        segment: u64,
        now: Moment,
        changes: &mut Changes,
        snapshot: Option<&mut Vec<u8>>,
    ) {
        let _ = (shard, segment, now, changes, snapshot);
    }

    /// Takes in what [`Self::collect_shard`] appended `age` ago, in whatever process: ages grow by it. Returns how many sessions
    /// it held. Sessions that are there already stay as they are.
    pub fn restore(
        &self,
        bytes: &[u8],
        age: Duration,
        now: Moment,
        date: Date,
    ) -> Result<usize, SnapshotError> {
        let _ = (bytes, age, now, date);
        Ok(0)
    }

    /// Takes in a session as the store has it, at start: the mark of one that was restored gives way, any other sleeps.
    pub fn open_session(&self, key: SessionKey, mark: Mark) {
        let _ = (key, mark);
    }

    /// How often a torrent was completed, as the store has it, at start.
    pub fn set_completed(&self, torrent: TorrentId, completed: u32) {
        let _ = (torrent, completed);
    }

    /// Repeats an entry of the journal, at start: into the accounts as the first time, its peer into the swarm with an honest age.
    pub fn replay(&self, entry: &Entry, now: Moment, date: Date, tariff: Tariff) -> Credit {
        let _ = (entry, now, date, tariff);
        Credit::default()
    }

    /// The sessions of a member in a torrent.
    pub fn sessions_of(&self, torrent: TorrentId, member: MemberId) -> Vec<MemberSession> {
        let _ = (torrent, member);
        Vec::new()
    }

    /// The sessions of a member in all torrents, `limit` at most, peers before sleepers. Walks all of them.
    pub fn member_sessions(&self, member: MemberId, limit: usize) -> Vec<MemberSession> {
        let _ = (member, limit);
        Vec::new()
    }

    /// Takes a member's peers out of all swarms, and its sessions with them where they are to be `forgotten`. Walks all of them.
    pub fn expel(&self, member: MemberId, forgotten: bool) {
        let _ = (member, forgotten);
    }

    /// Closes a torrent that was removed: its peers leave, its sessions sleep.
    pub fn close(&self, torrent: TorrentId) {
        let _ = torrent;
    }

    /// Notes whether a peer could be reached at an address, so that those who can are given first.
    pub fn set_reachable(&self, torrent: TorrentId, address: SocketAddr, reachable: bool) {
        let _ = (torrent, address, reachable);
    }

    /// Seeders and leechers of a torrent.
    pub fn counts(&self, torrent: TorrentId) -> (u32, u32) {
        let _ = torrent;
        (0, 0)
    }

    /// How much there is in all; reads atomics, walks nothing.
    pub fn totals(&self) -> Totals {
        Totals::default()
    }
}
