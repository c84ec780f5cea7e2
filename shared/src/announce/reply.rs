//! What a tracker answers, as a client reads it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// More peers than this are not taken from one reply.
pub const PEERS_MAX: usize = 2_000;

/// A tracker's answer to an announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Reply(AnnounceReply),
    Failure(Failure),
}

/// The tracker knows us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnounceReply {
    /// When to announce again; zero where the tracker did not say.
    pub interval: Duration,
    /// Not sooner than this.
    pub min_interval: Option<Duration>,
    /// Seeders.
    pub complete: Option<u32>,
    /// Leechers.
    pub incomplete: Option<u32>,
    /// Those of the leechers that still want something (BEP 21).
    pub downloaders: Option<u32>,
    /// Peers that can be dialled, of either family, at most [`PEERS_MAX`].
    pub peers: Vec<SocketAddr>,
    /// Our own address, as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    pub warning: Option<String>,
    /// To be sent with the next announce.
    pub tracker_id: Option<Vec<u8>>,
}

/// The tracker refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    /// Whether trying again makes sense (BEP 31).
    pub retry_in: Option<RetryIn>,
    pub interval: Option<Duration>,
    pub min_interval: Option<Duration>,
}

/// What `retry in` asks for (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryIn {
    Never,
    After(Duration),
}
