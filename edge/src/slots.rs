//! How many connections are open, in all and from one address. A slot is taken when a connection is accepted and comes
//! back when its holder is dropped, on whatever thread that happens.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The program holds as many connections as it may.
    Program,
    /// This address does.
    Address,
}

/// The count of open connections and its bounds.
#[derive(Debug)]
pub struct Slots {
    open: AtomicUsize,
    open_max: AtomicUsize,
    by_source: DashMap<Source, usize, ahash::RandomState>,
    by_source_max: AtomicUsize,
}

/// One open connection.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    source: Option<Source>,
}

/// One customer's addresses: an IPv4 address or an IPv6 /64. Connections and guesses are counted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(u64);

impl Source {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // Whatever begins with ff is multicast in IPv6 and opens no connection, so the families cannot meet.
            IpAddr::V4(v4) => Self(0xFFFF_FFFF_0000_0000 | u64::from(u32::from(v4))),
            IpAddr::V6(v6) => Self(u64::try_from(u128::from(v6) >> 64).unwrap_or_default()),
        }
    }
}

impl Slots {
    pub fn new(open_max: usize, by_source_max: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            open_max: open_max.into(),
            by_source: DashMap::default(),
            by_source_max: by_source_max.into(),
        })
    }

    /// New bounds. Who is in stays, also where there would be no room now.
    pub fn set_bounds(&self, open_max: usize, by_source_max: usize) {
        self.open_max.store(open_max, Ordering::Relaxed);
        self.by_source_max.store(by_source_max, Ordering::Relaxed);
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Room for one more connection from there, if there is any.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Full> {
        // A proxy on this machine itself speaks for everyone.
        self.take_of((!address.is_loopback()).then(|| Source::of(address)))
    }

    /// Room for one more connection that speaks for many: a trusted proxy's, or one over a Unix socket.
    pub fn take_shared(self: &Arc<Self>) -> Result<Slot, Full> {
        self.take_of(None)
    }

    fn take_of(self: &Arc<Self>, source: Option<Source>) -> Result<Slot, Full> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        // From here on dropping the slot gives back what was taken.
        let mut slot = Slot {
            slots: Arc::clone(self),
            source: None,
        };
        if before >= self.open_max.load(Ordering::Relaxed) {
            return Err(Full::Program);
        }
        if let Some(source) = source {
            self.count(source)?;
            slot.source = Some(source);
        }
        Ok(slot)
    }

    fn count(&self, source: Source) -> Result<(), Full> {
        let mut count = self.by_source.entry(source).or_insert(0);
        if *count >= self.by_source_max.load(Ordering::Relaxed) {
            return Err(Full::Address);
        }
        *count += 1;
        Ok(())
    }

    fn uncount(&self, source: Source) {
        if let Entry::Occupied(mut count) = self.by_source.entry(source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(source) = self.source {
            self.slots.uncount(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_slot_comes_back_when_its_holder_is_gone() {
        let slots = Slots::new(1, 9);
        let held = slots.take(address("192.0.2.1")).unwrap();
        assert_eq!(slots.take(address("192.0.2.2")).unwrap_err(), Full::Program);
        drop(held);
        drop(slots.take(address("192.0.2.2")).unwrap());
        assert_eq!((slots.open(), slots.by_source.len()), (0, 0));
    }

    #[test]
    fn one_address_cannot_take_every_slot() {
        let slots = Slots::new(9, 2);
        let _held = [
            slots.take(address("192.0.2.1")).unwrap(),
            slots.take(address("192.0.2.1")).unwrap(),
        ];
        assert_eq!(slots.take(address("192.0.2.1")).unwrap_err(), Full::Address);
        assert!(slots.take(address("192.0.2.2")).is_ok());
    }

    #[test]
    fn the_addresses_of_one_customer_are_one() {
        let slots = Slots::new(9, 1);
        let _held = slots.take(address("2001:db8:1:2:3::4")).unwrap();
        assert_eq!(slots.take(address("2001:db8:1:2::1")).unwrap_err(), Full::Address);
        assert!(slots.take(address("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn bounds_can_change_while_connections_are_open() {
        let slots = Slots::new(1, 1);
        let _held = slots.take(address("192.0.2.1")).unwrap();
        slots.set_bounds(3, 2);
        let _more = [
            slots.take(address("192.0.2.1")).unwrap(),
            slots.take(address("192.0.2.2")).unwrap(),
        ];
        slots.set_bounds(2, 1);
        assert_eq!(slots.take(address("192.0.2.3")).unwrap_err(), Full::Program);
        assert_eq!(slots.open(), 3);
    }

    #[test]
    fn this_machine_itself_is_bounded_only_by_the_whole() {
        let slots = Slots::new(2, 1);
        let _held = [
            slots.take(address("127.0.0.1")).unwrap(),
            slots.take(address("127.0.0.1")).unwrap(),
        ];
        assert_eq!(slots.take(address("::1")).unwrap_err(), Full::Program);
    }
}
