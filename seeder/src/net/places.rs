//! Places for connections: a bound for the process, and one for each address, whatever torrent it comes for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::throttle::is_lan;

/// All places of the process.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// How many there are.
    count: AtomicUsize,
    per_address: usize,
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A place for one connection, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Option<Counted>,
}

/// One of an address's connections.
#[derive(Debug)]
struct Counted {
    source: IpAddr,
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Places {
    pub(crate) fn new(all: usize, per_address: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            count: AtomicUsize::new(all),
            per_address,
            taken: Arc::default(),
        }
    }

    /// So many from now on. Nobody who has a place loses it.
    pub(crate) fn set(&self, all: usize) {
        let before = self.count.load(Ordering::Relaxed);
        let after = if all >= before {
            self.all.add_permits(all - before);
            all
        } else {
            before - self.all.forget_permits(before - all)
        };
        self.count.store(after, Ordering::Relaxed);
    }

    /// Places that are taken, and how many there are.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let count = self.count.load(Ordering::Relaxed);
        (count.saturating_sub(self.all.available_permits()), count)
    }

    /// A place for a connection with this address, if there is one.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let counted = match source(address) {
            Some(source) => Some(self.count(source)?),
            None => None,
        };
        Some(Place {
            _permit: permit,
            _counted: counted,
        })
    }

    fn count(&self, source: IpAddr) -> Option<Counted> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(source).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Counted {
            source,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

/// Who counts as one: an IPv4 address, or the /64 that a household has of IPv6. None at home, where a router, a proxy or a bridge
/// of containers may speak for everybody.
fn source(address: IpAddr) -> Option<IpAddr> {
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
            places.taken.lock().unwrap().is_empty(),
            "what nobody holds is forgotten"
        );
    }
}
