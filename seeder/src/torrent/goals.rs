//! When a torrent has been given enough (the first goal that is reached counts), and the memory of other copies that
//! "enough copies" needs. Times here are seconds of the calendar, since they outlive the program.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A copy that was not seen for so long is no longer counted.
const COPY_LIVES: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Addresses remembered. Nobody asks for more copies than this.
const COPIES_MAX: usize = 1_024;

/// When a torrent has been given enough: the first goal that is reached pauses it. None means for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Goals {
    /// Bytes given for each byte of the torrent.
    pub ratio: Option<f64>,
    /// Time as a seed.
    pub time: Option<Duration>,
    /// Other complete peers that were seen within a week.
    pub copies: Option<u32>,
}

/// What the goals are measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Payload given, over all starts of the program.
    pub uploaded: u64,
    /// Bytes of the torrent; those that are wanted, if not all are.
    pub size: u64,
    /// Time as a seed, over all starts of the program.
    pub seeding: Duration,
    /// Other complete peers that were seen within a week: [`Copies::count`].
    pub copies: u32,
}

/// A goal that was reached, with what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reached {
    Ratio(f64),
    Time(Duration),
    Copies(u32),
}

impl Goals {
    /// Nothing is asked for: the torrent is given for ever.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The first goal that is reached: copies before time before ratio, since the first two are about the torrent itself.
    /// Only to be asked of a torrent that has all it wants.
    pub fn reached(&self, given: &Given) -> Option<Reached> {
        let copies = self.copies.filter(|copies| given.copies >= *copies);
        let time = self.time.filter(|time| given.seeding >= *time);
        let ratio = self.ratio.filter(|ratio| is_ratio(*ratio, given));
        copies
            .map(Reached::Copies)
            .or(time.map(Reached::Time))
            .or(ratio.map(Reached::Ratio))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is not exact to the byte")]
fn is_ratio(ratio: f64, given: &Given) -> bool {
    given.uploaded as f64 >= ratio * given.size as f64
}

impl fmt::Display for Reached {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(ratio) => write!(to, "{ratio} bytes were given for each byte of it"),
            Self::Time(time) => write!(to, "it was given for {}", in_words(*time)),
            Self::Copies(1) => write!(to, "another complete copy was seen within a week"),
            Self::Copies(copies) => write!(to, "{copies} other complete copies were seen within a week"),
        }
    }
}

fn in_words(time: Duration) -> String {
    let (count, unit) = match time.as_secs() {
        secs if secs < 60 => (secs, "second"),
        secs if secs < 3_600 => (secs / 60, "minute"),
        secs if secs < 2 * 86_400 => (secs / 3_600, "hour"),
        secs => (secs / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Where complete peers were seen, and when. An address is one copy, whatever its ports: a family's machines behind one
/// router may be one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(IpAddr, u64)>", into = "Vec<(IpAddr, u64)>")]
pub struct Copies {
    /// Seconds of the calendar.
    seen: BTreeMap<IpAddr, u64>,
}

impl Copies {
    /// A complete peer is there. Of too many, the one that was seen longest ago is forgotten.
    pub fn saw(&mut self, address: IpAddr, unix_secs: u64) {
        let seen = self.seen.entry(household(address)).or_default();
        *seen = unix_secs.max(*seen);
        if self.seen.len() > COPIES_MAX {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| **seen);
            if let Some(address) = oldest.map(|(address, _)| *address) {
                self.seen.remove(&address);
            }
        }
    }

    /// How many were seen within a week.
    pub fn count(&self, unix_secs: u64) -> u32 {
        let fresh = self.seen.values().filter(|seen| is_fresh(**seen, unix_secs));
        u32::try_from(fresh.count()).unwrap_or(u32::MAX)
    }

    /// Drops those that count no longer.
    pub fn forget_old(&mut self, unix_secs: u64) {
        self.seen.retain(|_, seen| is_fresh(*seen, unix_secs));
    }
}

/// An IPv4 address, or the /64 within which a machine with IPv6 changes its address every day.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn is_fresh(seen: u64, now: u64) -> bool {
    now.saturating_sub(seen) < COPY_LIVES.as_secs()
}

impl From<Vec<(IpAddr, u64)>> for Copies {
    fn from(seen: Vec<(IpAddr, u64)>) -> Self {
        let mut copies = Self::default();
        for (address, when) in seen {
            copies.saw(address, when);
        }
        copies
    }
}

impl From<Copies> for Vec<(IpAddr, u64)> {
    fn from(copies: Copies) -> Self {
        copies.seen.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: u64 = 7 * 86_400;
    const NOW: u64 = 1_800_000_000;

    fn ip(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        [203, 0, high, low].into()
    }

    #[track_caller]
    fn check(goals: Goals, given: Given, words: &str) {
        let reached = goals.reached(&given).map(|reached| reached.to_string());
        assert_eq!(reached.unwrap_or_default(), words);
    }

    #[test]
    fn the_first_goal_that_is_reached_says_why_in_words() {
        let given = Given {
            uploaded: 150,
            size: 100,
            seeding: Duration::from_hours(1),
            copies: 2,
        };
        let none = Goals::default();
        check(none, given, "");
        let ratio = |ratio| Goals {
            ratio: Some(ratio),
            ..none
        };
        check(ratio(1.5), given, "1.5 bytes were given for each byte of it");
        check(ratio(1.51), given, "");
        let time = |mins| Goals {
            time: Some(Duration::from_mins(mins)),
            ..none
        };
        check(time(60), given, "it was given for 1 hour");
        check(time(61), given, "");
        let copies = |copies| Goals {
            copies: Some(copies),
            ..none
        };
        check(
            copies(2),
            given,
            "2 other complete copies were seen within a week",
        );
        check(copies(1), given, "another complete copy was seen within a week");
        check(copies(3), given, "");
        check(
            Goals {
                copies: Some(3),
                ..time(30)
            },
            given,
            "it was given for 30 minutes",
        );
        check(
            time(3 * 24 * 60),
            Given {
                seeding: Duration::from_hours(80),
                ..given
            },
            "it was given for 3 days",
        );
    }

    #[test]
    fn an_empty_torrent_and_a_ratio_of_nothing_are_given_enough() {
        let goals = Goals {
            ratio: Some(2.0),
            ..Goals::default()
        };
        assert!(goals.reached(&Given::default()).is_some());
    }

    #[test]
    fn a_copy_counts_for_a_week_and_once_an_address() {
        let mut copies = Copies::default();
        copies.saw(ip(1), NOW);
        copies.saw(ip(1), NOW + 5);
        copies.saw("::ffff:203.0.0.1".parse().unwrap(), NOW + 6);
        copies.saw(ip(2), NOW + WEEK);
        assert_eq!(copies.count(NOW + WEEK), 2);
        assert_eq!(copies.count(NOW + 6 + WEEK), 1);
        copies.forget_old(NOW + 6 + WEEK);
        let left: Vec<(IpAddr, u64)> = copies.into();
        assert_eq!(left, [(ip(2), NOW + WEEK)]);
    }

    #[test]
    fn a_clock_that_was_set_back_forgets_nothing() {
        let mut copies = Copies::default();
        copies.saw(ip(1), NOW);
        copies.saw(ip(1), NOW - 100);
        assert_eq!(copies.count(NOW - 1_000), 1);
        assert_eq!(Vec::from(copies), [(ip(1), NOW)]);
    }

    #[test]
    fn the_list_is_bounded_and_comes_back_as_it_went() {
        let mut copies = Copies::default();
        for number in 0..2_000 {
            copies.saw(ip(number), NOW + u64::from(number));
        }
        assert_eq!(copies.count(NOW + 2_000), 1_024);
        assert!(copies.seen.contains_key(&ip(1_999)) && !copies.seen.contains_key(&ip(0)));
        let text = serde_json::to_string(&copies).unwrap();
        assert_eq!(serde_json::from_str::<Copies>(&text).unwrap(), copies);
    }
}
