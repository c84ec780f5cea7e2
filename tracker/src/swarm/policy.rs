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
    /// When the interval is another.
    pub pace: Pace,
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
            pace: Pace::default(),
            numwant_default: 50,
            numwant_max: 200,
            external_v4: None,
            external_v6: None,
        }
    }
}

/// How the interval follows a swarm and the load: short where few have just met and somebody still wants something, so that
/// they find each other; longer while the tracker is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The interval in a small young swarm.
    pub small_interval: Duration,
    /// So many peers at most are a small swarm.
    pub small_peers: u32,
    /// A swarm is young for this long after somebody came or went.
    pub young: Duration,
    /// How much longer every interval is than in quiet times, in hundredths; see [`Self::load_percent`].
    pub load_percent: u32,
    /// No client is told to stay away for longer; see [`Self::longest_within`].
    pub longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            small_interval: Duration::from_secs(2 * 60),
            small_peers: 10,
            young: Duration::from_secs(30 * 60),
            load_percent: LOAD_NONE,
            longest: Duration::from_secs(60 * 60),
        }
    }
}

const LOAD_NONE: u32 = 100;

/// Intervals grow fourfold at most: beyond that peers would learn too little of each other, and a limit must do the rest.
const LOAD_MAX: u32 = 400;

/// Who is asked to come back comes within this, late trains included.
const GRACE_MAX: Duration = Duration::from_secs(5 * 60);

impl Pace {
    /// How much longer intervals become at so many announces a second, where `comfortable` is what they are meant for.
    pub fn load_percent(announces_per_sec: u64, comfortable: u64) -> u32 {
        let percent = announces_per_sec.saturating_mul(u64::from(LOAD_NONE)) / comfortable.max(1);
        u32::try_from(percent).map_or(LOAD_MAX, |percent| percent.clamp(LOAD_NONE, LOAD_MAX))
    }

    /// The longest interval for peers that are forgotten after `timeout` of silence: whoever is told to come in so long must
    /// not be forgotten before.
    pub fn longest_within(timeout: Duration) -> Duration {
        timeout.saturating_sub((timeout / 10).min(GRACE_MAX))
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
    /// Private mode: peers of one member in one swarm; one more sends the longest silent to sleep.
    pub peers_per_member: u32,
    /// Private mode: sessions of one member in one torrent, peers included; one more and the longest silent is forgotten.
    pub sessions_per_member: u32,
}

impl Default for SwarmLimits {
    fn default() -> Self {
        Self {
            peers_per_swarm: 200_000,
            swarms: 1_000_000,
            peers: 10_000_000,
            peers_per_member: 16,
            sessions_per_member: 144,
        }
    }
}
