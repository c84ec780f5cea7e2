//! How many wrong keys an address may show. Pure: time is an argument. Whoever has guessed too often is told to wait, also with a
//! good key, or a guesser would learn which of many guesses was good.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::moment::Moment;

use crate::slots::Source;

/// Wrong keys in one go. A member who mistypes has a few tries.
const BURST: u32 = 10;

/// One more try comes back in this time: 8,640 guesses a day are nothing against 80 bits.
const RECOVERY: Duration = Duration::from_secs(10);

/// Addresses remembered. One that guesses takes 48 bytes.
const SOURCES_MAX: usize = 4_096;

/// Counts wrong keys by source: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Debug, Default)]
pub struct Guesses {
    sources: Mutex<BTreeMap<Source, Moment>>,
}

impl Guesses {
    /// How long this address must wait before it may show a key; none where it may now.
    pub fn wait(&self, address: IpAddr, now: Moment) -> Option<Duration> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = *sources.get(&Source::of(address))?;
        // The debt is the time until all tries are back.
        let wait = clear.since(now).checked_sub(RECOVERY * (BURST - 1))?;
        (!wait.is_zero()).then_some(wait)
    }

    /// Counts a wrong key.
    pub fn wrong(&self, address: IpAddr, now: Moment) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let source = Source::of(address);
        if sources.len() >= SOURCES_MAX && !sources.contains_key(&source) {
            forget(&mut sources, now);
        }
        let clear = sources.entry(source).or_insert(now);
        *clear = (*clear).max(now) + RECOVERY;
    }
}

/// Makes room: those with no debt go, and if there are none, the one with the smallest.
fn forget(sources: &mut BTreeMap<Source, Moment>, now: Moment) {
    sources.retain(|_, clear| *clear > now);
    if sources.len() >= SOURCES_MAX {
        let least = sources.iter().min_by_key(|(_, clear)| **clear);
        if let Some(source) = least.map(|(source, _)| *source) {
            sources.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_millis(secs * 1_000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_wrong_keys_are_forgiven_and_the_eleventh_try_waits() {
        let guesses = Guesses::default();
        let someone = address("192.0.2.1");
        for _ in 0..BURST {
            assert_eq!(guesses.wait(someone, at(0)), None);
            guesses.wrong(someone, at(0));
        }
        assert_eq!(guesses.wait(someone, at(0)), Some(RECOVERY));
        assert_eq!(guesses.wait(someone, at(9)), Some(Duration::from_secs(1)));
        assert_eq!(guesses.wait(someone, at(10)), None);
        guesses.wrong(someone, at(10));
        assert_eq!(guesses.wait(someone, at(10)), Some(RECOVERY));
        assert_eq!(guesses.wait(someone, at(200)), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_guesser_and_others_are_not_held_up() {
        let guesses = Guesses::default();
        for number in 0..BURST {
            guesses.wrong(address(&format!("2001:db8::{number:x}")), at(0));
        }
        assert!(guesses.wait(address("2001:db8::ffff"), at(0)).is_some());
        assert_eq!(guesses.wait(address("2001:db8:0:1::1"), at(0)), None);
        assert_eq!(guesses.wait(address("192.0.2.2"), at(0)), None);
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_the_same_guesser() {
        let guesses = Guesses::default();
        for _ in 0..BURST {
            guesses.wrong(address("::ffff:192.0.2.1"), at(0));
        }
        assert!(guesses.wait(address("192.0.2.1"), at(0)).is_some());
    }

    #[test]
    fn a_crowd_of_guessers_takes_bounded_memory_and_the_worst_is_remembered() {
        let guesses = Guesses::default();
        let worst = address("192.0.2.1");
        for _ in 0..BURST {
            guesses.wrong(worst, at(0));
        }
        for number in 0..20_000_u32 {
            guesses.wrong(IpAddr::V4((0x0a00_0000 + number).into()), at(1));
        }
        assert_eq!(guesses.sources.lock().unwrap().len(), SOURCES_MAX);
        assert!(guesses.wait(worst, at(1)).is_some());
    }
}
