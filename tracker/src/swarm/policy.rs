//! What the owner has settled: how often, how many, under which address.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rand::{Rng, RngExt};

use super::tick::Tick;

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

/// What the interval depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    pub(super) peers: u32,
    pub(super) downloaders: u32,
    /// When somebody came or went last.
    pub(super) stirred: Tick,
}

/// What a reply says about time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) interval: u64,
    pub(super) min: u64,
}

/// Reading the dice, clocks and trains that are a little early.
const TOLERANCE_MIN: Duration = Duration::from_secs(10);

impl Policy {
    /// Is the swarm small and young, and does somebody still want something?
    pub(super) fn is_brisk(&self, crowd: Crowd, now: Tick) -> bool {
        let pace = &self.pace;
        crowd.downloaders > 0
            && crowd.peers <= pace.small_peers
            && pace.small_interval < self.interval
            && crowd.stirred.may_be_within(pace.young, now)
    }

    /// The `min interval` of such a swarm, or of others.
    pub(super) fn least(&self, brisk: bool) -> Duration {
        if brisk {
            // What jitter leaves of the interval, in whole seconds.
            let shortest = self.pace.small_interval.as_secs();
            self.min_interval
                .min(Duration::from_secs(shortest - shortest / 10))
        } else {
            self.min_interval.min(self.interval)
        }
    }

    /// When the next announce is due. Nobody is sent away for longer than the tracker remembers.
    pub(super) fn tell(&self, brisk: bool, rng: &mut impl Rng) -> Told {
        let least = self.least(brisk).as_secs();
        let (interval, jitter) = if brisk {
            let interval = self.pace.small_interval;
            (interval, self.jitter.min(interval / 10))
        } else {
            (self.interval, self.jitter)
        };
        let percent = u64::from(self.pace.load_percent.clamp(LOAD_NONE, LOAD_MAX));
        let longest = self.pace.longest.as_secs().max(least).max(1);
        let mean = (interval.as_secs().saturating_mul(percent) / u64::from(LOAD_NONE)).min(longest);
        let jitter = jitter.as_secs();
        let low = mean.saturating_sub(jitter).max(least).max(1);
        let high = mean.saturating_add(jitter).min(longest).max(low);
        Told {
            interval: if jitter == 0 {
                mean
            } else {
                rng.random_range(low..=high)
            },
            min: least.min(mean),
        }
    }

    /// Who came too early may come again as soon as anybody may.
    pub(super) fn tell_early(&self, brisk: bool) -> Told {
        let least = self.least(brisk).as_secs();
        Told {
            interval: least,
            min: least,
        }
    }

    /// Did a peer come too early that was heard last at `heard`? Nine tenths of its time are enough, and so are ten seconds
    /// less than it.
    pub(super) fn is_early(&self, heard: Tick, brisk: bool, now: Tick) -> bool {
        let least = self.least(brisk);
        let owed = (least * 9 / 10).min(least.saturating_sub(TOLERANCE_MIN));
        heard.is_within(owed, now)
    }
}

/// Shown with a reply that holds no peers because it came too early.
pub(super) const EARLY: &str = "too early: no peers this time, please keep to min interval";

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
