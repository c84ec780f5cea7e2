//! Places for connections: a bound for the process, and one for each address, whatever torrent it comes for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::throttle::is_lan;

/// All places of the process.
#[derive(Debug)]
pub(crate) struct Places {
    per_address: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug)]
struct Taken {
    count: usize,
    most: usize,
    /// Of each source that counts, never none.
    sources: BTreeMap<IpAddr, usize>,
}

/// A place for one connection, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Place {
    source: Option<IpAddr>,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    pub(crate) fn new(all: usize, per_address: usize) -> Self {
        let taken = Taken {
            count: 0,
            most: all,
            sources: BTreeMap::new(),
        };
        Self {
            per_address,
            taken: Arc::new(Mutex::new(taken)),
        }
    }

    /// So many from now on. Nobody who has a place loses it.
    pub(crate) fn set(&self, all: usize) {
        hold(&self.taken).most = all;
    }

    /// Places that are taken, and how many there are.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let taken = hold(&self.taken);
        (taken.count, taken.most)
    }

    /// A place for a connection with this address, if there is one.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Place> {
        let source = source(address);
        let mut taken = hold(&self.taken);
        if taken.count >= taken.most {
            return None;
        }
        if let Some(source) = source {
            let its = taken.sources.get(&source).copied().unwrap_or_default();
            if its >= self.per_address {
                return None;
            }
            taken.sources.insert(source, its + 1);
        }
        taken.count += 1;
        Some(Place {
            source,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = hold(&self.taken);
        taken.count -= 1;
        let Some(source) = self.source else {
            return;
        };
        if let Some(its) = taken.sources.get_mut(&source) {
            *its -= 1;
            if *its == 0 {
                taken.sources.remove(&source);
            }
        }
    }
}

fn hold(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who counts as one: an IPv4 address, or the /64 that a household has of IPv6. None at home, where a router, a proxy or a bridge
/// of containers may speak for everybody.
pub(crate) fn source(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    (!is_lan(address, &[])).then_some(match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes places for these addresses in turn, and draws what came of each.
    #[track_caller]
    fn check(per_address: usize, addresses: &str, expected: &str) {
        let places = Places::new(5, per_address);
        let taken: Vec<_> = addresses
            .split_whitespace()
            .map(|address| places.take(address.parse().unwrap()))
            .collect();
        let drawn: String = taken
            .iter()
            .map(|place| if place.is_some() { '+' } else { '-' })
            .collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn an_address_takes_its_share_and_no_more() {
        check(2, "203.0.113.1 203.0.113.1 203.0.113.1 203.0.113.2", "++-+");
    }

    #[test]
    fn a_household_is_one_source_and_an_address_in_disguise_is_itself() {
        check(1, "2001:db8::1 2001:db8::2 2001:db8:0:1::1", "+-+");
        check(1, "203.0.113.1 ::ffff:203.0.113.1", "+-");
    }

    #[test]
    fn at_home_only_the_bound_of_the_process_counts() {
        check(
            1,
            "127.0.0.1 127.0.0.1 192.168.1.4 192.168.1.4 fd00::1 fd00::1",
            "+++++-",
        );
    }

    #[test]
    fn a_place_is_given_back_when_its_connection_ends() {
        let places = Places::new(5, 1);
        let address = IpAddr::from([203, 0, 113, 1]);
        let first = places.take(address);
        assert!(places.take(address).is_none());
        drop(first);
        assert!(places.take(address).is_some());
        assert!(
            places.taken.lock().unwrap().sources.is_empty(),
            "what nobody holds is forgotten"
        );
    }

    #[test]
    fn fewer_places_hold_as_soon_as_they_are_given_back() {
        let places = Places::new(3, 9);
        let address = IpAddr::from([203, 0, 113, 1]);
        let mut taken: Vec<_> = (0..3).map(|_| places.take(address)).collect();
        places.set(1);
        taken.pop();
        assert!(places.take(address).is_none());
        assert_eq!(places.taken(), (2, 1));
        taken.clear();
        assert!(places.take(address).is_some());
    }
}
