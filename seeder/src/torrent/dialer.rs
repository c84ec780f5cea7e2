//! Whom to call, and when again. Addresses come from strangers: they are bounded, those that cannot be called are dropped,
//! and who does not answer is called later and later.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::{Rng, RngExt};
use shared::moment::Moment;

use super::events::PeerKey;

/// A peer that was there a moment ago comes back soon, if at all.
const WAIT_FIRST: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(10 * 60);
const REST: Duration = Duration::from_secs(30 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting(Moment),
    Calling,
    Connected(PeerKey),
    /// It is ourselves, or banned.
    Shunned,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    phase: Phase,
    failures: u32,
}

#[derive(Debug)]
pub(super) struct Dialer {
    addresses_max: usize,
    known: BTreeMap<SocketAddr, Known>,
    /// Those that wait.
    due: BTreeSet<(Moment, SocketAddr)>,
    calling: usize,
}

impl Dialer {
    pub(super) fn new(addresses_max: usize) -> Self {
        Self {
            addresses_max,
            known: BTreeMap::new(),
            due: BTreeSet::new(),
            calling: 0,
        }
    }

    /// Addresses remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Calls under way.
    pub(super) fn calling(&self) -> usize {
        self.calling
    }

    /// When the next address may be called.
    pub(super) fn due(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Somebody says that a peer is there.
    pub(super) fn add(&mut self, now: Moment, address: SocketAddr) {
        if !is_callable(address) || self.known.contains_key(&address) {
            return;
        }
        if self.known.len() >= self.addresses_max && !self.make_room() {
            return;
        }
        self.known.insert(
            address,
            Known {
                phase: Phase::Shunned,
                failures: 0,
            },
        );
        self.enter(address, Phase::Waiting(now));
    }

    /// The next address to be called now: of those that failed least often, the one that ranks highest (BEP 40).
    pub(super) fn next(&mut self, now: Moment, rank: impl Fn(SocketAddr) -> u32) -> Option<SocketAddr> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now);
        let failures = |address| self.known.get(address).map_or(0, |known: &Known| known.failures);
        let best = due
            .map(|(_, address)| (std::cmp::Reverse(failures(address)), rank(*address), *address))
            .max();
        let (_, _, address) = best?;
        self.enter(address, Phase::Calling);
        Some(address)
    }

    /// Nobody answered.
    pub(super) fn failed(&mut self, now: Moment, address: SocketAddr, rng: &mut impl Rng) {
        if self.phase(address) == Some(Phase::Calling) {
            self.wait(now, address, false, rng);
        }
    }

    /// This peer is to be reached at this address, and is connected.
    pub(super) fn connected(&mut self, now: Moment, address: SocketAddr, peer: PeerKey) {
        self.add(now, address);
        self.enter(address, Phase::Connected(peer));
    }

    /// The connection is gone. A peer that was of use is called again soon.
    pub(super) fn lost(&mut self, now: Moment, peer: PeerKey, useful: bool, rng: &mut impl Rng) {
        for address in self.addresses_of(peer) {
            self.wait(now, address, useful, rng);
        }
    }

    /// There was no room for it; it is called again when it would have been after a first failure.
    pub(super) fn put_off(&mut self, now: Moment, address: SocketAddr) {
        self.enter(address, Phase::Waiting(now + WAIT_FIRST));
    }

    /// The connection is gone, and another is to be made at once.
    pub(super) fn again(&mut self, now: Moment, peer: PeerKey) {
        for address in self.addresses_of(peer) {
            self.enter(address, Phase::Waiting(now));
        }
    }

    /// The connection is gone, since neither side needs the other. Things may have changed in half an hour.
    pub(super) fn rest(&mut self, now: Moment, peer: PeerKey) {
        for address in self.addresses_of(peer) {
            self.enter(address, Phase::Waiting(now + REST));
        }
    }

    /// Things have changed: who rests, since neither side needed the other, may be called now.
    pub(super) fn wake(&mut self, now: Moment) {
        let rests = |(_, address): &&(Moment, SocketAddr)| {
            self.known.get(address).is_some_and(|known| known.failures == 0)
        };
        let resting: Vec<SocketAddr> = self
            .due
            .iter()
            .filter(rests)
            .map(|(_, address)| *address)
            .collect();
        for address in resting {
            self.enter(address, Phase::Waiting(now));
        }
    }

    /// Never again.
    pub(super) fn shun(&mut self, address: SocketAddr) {
        self.enter(address, Phase::Shunned);
    }

    /// Never again, whatever the port.
    pub(super) fn shun_all(&mut self, ip: IpAddr) {
        let addresses: Vec<SocketAddr> = self
            .known
            .keys()
            .filter(|known| known.ip() == ip)
            .copied()
            .collect();
        for address in addresses {
            self.shun(address);
        }
    }

    fn wait(&mut self, now: Moment, address: SocketAddr, useful: bool, rng: &mut impl Rng) {
        let Some(known) = self.known.get_mut(&address) else {
            return;
        };
        known.failures = if useful {
            0
        } else {
            known.failures.saturating_add(1)
        };
        let doubled = WAIT_FIRST * 2_u32.pow(known.failures.saturating_sub(1).min(6));
        let wait = doubled.min(WAIT_MAX).mul_f64(rng.random_range(1.0..1.5));
        self.enter(address, Phase::Waiting(now + wait));
    }

    fn addresses_of(&self, peer: PeerKey) -> Vec<SocketAddr> {
        let is_its = |(address, known): (&SocketAddr, &Known)| {
            (known.phase == Phase::Connected(peer)).then_some(*address)
        };
        self.known.iter().filter_map(is_its).collect()
    }

    fn phase(&self, address: SocketAddr) -> Option<Phase> {
        self.known.get(&address).map(|known| known.phase)
    }

    /// The one place that changes a phase, and what hangs on it.
    fn enter(&mut self, address: SocketAddr, phase: Phase) {
        let Some(known) = self.known.get_mut(&address) else {
            return;
        };
        match std::mem::replace(&mut known.phase, phase) {
            Phase::Waiting(due) => _ = self.due.remove(&(due, address)),
            Phase::Calling => self.calling = self.calling.saturating_sub(1),
            Phase::Connected(_) | Phase::Shunned => (),
        }
        match phase {
            Phase::Waiting(due) => _ = self.due.insert((due, address)),
            Phase::Calling => self.calling += 1,
            Phase::Connected(_) | Phase::Shunned => (),
        }
    }

    /// Forgets the address that has failed most often. Who has not failed yet is not driven out by new names.
    fn make_room(&mut self) -> bool {
        let waiting = self
            .known
            .iter()
            .filter(|(_, known)| known.failures > 0 && matches!(known.phase, Phase::Waiting(_)));
        let worst = waiting
            .max_by_key(|(_, known)| known.failures)
            .map(|(address, _)| *address);
        if let Some(address) = worst {
            self.shun(address);
            self.known.remove(&address);
        }
        worst.is_some()
    }

    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        let count =
            |wanted: fn(&Phase) -> bool| self.known.values().filter(|known| wanted(&known.phase)).count();
        assert_eq!(count(|phase| matches!(phase, Phase::Waiting(_))), self.due.len());
        assert_eq!(count(|phase| *phase == Phase::Calling), self.calling);
        assert!(self.known.len() <= self.addresses_max);
    }
}

/// Nothing listens at port 0, and one peer is not to be had at many addresses.
fn is_callable(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn at(number: u16) -> SocketAddr {
        ([10, 0, 0, 1], number).into()
    }

    /// Lower ports come first.
    fn by_port(address: SocketAddr) -> u32 {
        u32::from(u16::MAX - address.port())
    }

    fn now(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    #[test]
    fn an_address_is_called_once_and_again_later_and_later() {
        let (mut dialer, mut dice) = (Dialer::new(10), SmallRng::seed_from_u64(1));
        dialer.add(now(0), at(1));
        dialer.add(now(0), at(1));
        assert_eq!(dialer.next(now(0), by_port), Some(at(1)));
        assert_eq!((dialer.next(now(0), by_port), dialer.calling()), (None, 1));
        dialer.failed(now(0), at(1), &mut dice);
        let first = dialer.due().unwrap();
        assert!((10..15).contains(&first.as_secs()));
        assert_eq!(dialer.next(first, by_port), Some(at(1)));
        dialer.failed(first, at(1), &mut dice);
        assert!(dialer.due().unwrap().since(first) >= Duration::from_secs(20));
        dialer.check_invariants();
    }

    #[test]
    fn of_those_that_may_be_called_the_highest_rank_comes_first_unless_it_failed() {
        let (mut dialer, mut dice) = (Dialer::new(10), SmallRng::seed_from_u64(1));
        for port in [3, 1, 2] {
            dialer.add(now(0), at(port));
        }
        assert_eq!(dialer.next(now(0), by_port), Some(at(1)));
        dialer.failed(now(0), at(1), &mut dice);
        let later = now(60);
        assert_eq!(dialer.next(later, by_port), Some(at(2)));
        assert_eq!(dialer.next(later, by_port), Some(at(3)));
        assert_eq!(dialer.next(later, by_port), Some(at(1)));
    }

    #[test]
    fn a_connected_peer_is_not_called_and_a_lost_one_is() {
        let (mut dialer, mut dice) = (Dialer::new(10), SmallRng::seed_from_u64(1));
        dialer.connected(now(0), at(1), PeerKey(7));
        dialer.add(now(0), at(1));
        assert_eq!(dialer.due(), None);
        dialer.lost(now(0), PeerKey(7), true, &mut dice);
        assert!(dialer.due().is_some());
        dialer.shun_all(at(1).ip());
        assert_eq!(dialer.due(), None);
        dialer.connected(now(0), at(2), PeerKey(8));
        dialer.rest(now(0), PeerKey(8));
        assert_eq!(dialer.due(), Some(now(30 * 60)));
        dialer.wake(now(5));
        assert_eq!(dialer.due(), Some(now(5)));
        dialer.check_invariants();
    }

    #[test]
    fn addresses_are_bounded_and_failures_make_room() {
        let (mut dialer, mut dice) = (Dialer::new(2), SmallRng::seed_from_u64(1));
        dialer.add(now(0), at(1));
        dialer.add(now(0), at(2));
        dialer.add(now(0), at(3));
        assert_eq!(dialer.len(), 2);
        dialer.next(now(0), by_port);
        dialer.failed(now(0), at(1), &mut dice);
        dialer.add(now(0), at(3));
        assert_eq!(dialer.next(now(0), by_port), Some(at(2)));
        assert_eq!(dialer.next(now(0), by_port), Some(at(3)));
        dialer.check_invariants();
    }

    #[test]
    fn addresses_that_nobody_can_have_are_dropped() {
        let mut dialer = Dialer::new(10);
        for text in [
            "0.0.0.0:1",
            "10.0.0.1:0",
            "224.0.0.1:5",
            "255.255.255.255:5",
            "[::]:1",
            "[ff02::1]:1",
        ] {
            dialer.add(now(0), text.parse().unwrap());
        }
        assert_eq!(dialer.len(), 0);
    }
}
