//! What the owner has settled: how often, how many, under which address.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// How announces are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When to announce again, on average.
    pub interval: Duration,
    /// Each reply's interval is off by up to this much either way, so that clients do not come in waves.
    pub jitter: Duration,
    /// Not sooner than this.
    pub min_interval: Duration,
    /// Peers in a reply where the client does not say how many.
    pub numwant_default: u32,
    /// Peers in a reply at most.
    pub numwant_max: u32,
    /// What peers at home go by for the world.
    pub external_v4: Option<Ipv4Addr>,
    /// The same in IPv6.
    pub external_v6: Option<Ipv6Addr>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30 * 60),
            jitter: Duration::from_secs(3 * 60),
            min_interval: Duration::from_secs(5 * 60),
            numwant_default: 50,
            numwant_max: 200,
            external_v4: None,
            external_v6: None,
        }
    }
}

/// How much strangers may make the tracker remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwarmLimits {
    /// Peers in one swarm.
    pub peers_per_swarm: u32,
    /// Swarms in all.
    pub swarms: u64,
    /// Peers in all.
    pub peers: u64,
}

impl Default for SwarmLimits {
    fn default() -> Self {
        Self {
            peers_per_swarm: 200_000,
            swarms: 1_000_000,
            peers: 10_000_000,
        }
    }
}
