//! One announce, made ready for its torrent: where the client is found, by what it says and by where it stands, and what the
//! accounts make of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use shared::announce::{AnnounceRequest, Event};
use shared::compact::can_be_dialled;
use shared::id::PeerId;

use super::record::{Record, Sighting};
use super::swarm::Swarm;
use super::swarms::MemberVisit;
use crate::members::ids::{MemberId, Which};
use crate::members::rules::{Credit, Mark};
use crate::swarm::home::{Endpoint, Reach};
use crate::swarm::policy::Policy;
use crate::swarm::tick::Tick;
use crate::swarm::totals::Sums;

/// Where a client is found. Its own family's address comes from its connection; a member at home may name others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// By the family it announced in.
    pub(super) main: Endpoint,
    /// What it says of the other family.
    pub(super) other: Option<Endpoint>,
}

impl Addresses {
    /// Believes `ip=`, `ipv4=` and `ipv6=` only from a loopback or private address (DESIGN decision 8): there a client behind
    /// a router or in a container may know better, and elsewhere anybody could send anybody to anywhere.
    pub(super) fn of(visit: &MemberVisit<'_>) -> Self {
        let request = visit.request;
        let sender = visit.sender.to_canonical();
        let named = (Reach::of(sender) < Reach::Everywhere).then(|| Self::named(request));
        let [ip, v4, v6] = named.unwrap_or_default();
        let seen = ip.unwrap_or(SocketAddr::new(sender, request.port));
        let (main, other) = if seen.is_ipv4() {
            (v4.unwrap_or(seen), v6)
        } else {
            (v6.unwrap_or(seen), v4)
        };
        let endpoint = |at: SocketAddr| Endpoint::new(at.ip(), at.port());
        Self {
            main: endpoint(main),
            other: other.map(endpoint),
        }
    }

    /// What the client names: any address, one of IPv4, one of IPv6.
    fn named(request: &AnnounceRequest) -> [Option<SocketAddr>; 3] {
        let ip = request
            .ip
            .map(|ip| SocketAddr::new(ip.to_canonical(), request.port));
        let v6 = request.ipv6.filter(|at| at.ip().to_ipv4_mapped().is_none());
        [ip, request.ipv4.map(SocketAddr::V4), v6.map(SocketAddr::V6)]
            .map(|at| at.filter(|at| can_be_dialled(at) || is_at_home(at)))
    }
}

/// An address of this house may be named although the world cannot dial it.
fn is_at_home(at: &SocketAddr) -> bool {
    at.port() != 0 && !at.ip().is_unspecified() && Reach::of(at.ip()) < Reach::Everywhere
}

impl Endpoint {
    pub(super) fn is_v6(self) -> bool {
        matches!(self, Self::V6(_))
    }

    /// The endpoint as the journal holds it.
    pub(super) fn address(self) -> SocketAddr {
        match self {
            Self::V4(wire) => shared::compact::decode_v4(wire).into(),
            Self::V6(wire) => shared::compact::decode_v6(wire).into(),
        }
    }

    pub(super) fn of(address: SocketAddr) -> Self {
        let ip: IpAddr = address.ip().to_canonical();
        Self::new(ip, address.port())
    }
}

/// What one announce does to its session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act<'a> {
    pub(super) member: MemberId,
    pub(super) peer_id: &'a PeerId,
    pub(super) mark: Mark,
    pub(super) credit: Credit,
    pub(super) event: Event,
    /// Where its peer is; none where it may not be in the swarm.
    pub(super) place: Option<Place>,
    /// Nobody knows whether it was answered.
    pub(super) replayed: bool,
    pub(super) now: Tick,
}

/// Where and when a peer was heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) main: Sighting,
    pub(super) other: Option<Sighting>,
}

impl Place {
    /// A family that the client only speaks of counts as heard before its time, or its own announce there would be early.
    pub(super) fn new(addresses: Addresses, which: Which, now: Tick, policy: &Policy) -> Self {
        let spoken_of = Tick::before(now, policy.min_interval + Duration::from_secs(10)).unwrap_or(now);
        Self {
            main: Sighting {
                at: addresses.main,
                which,
                tick: now,
            },
            other: addresses.other.map(|at| Sighting {
                at,
                which,
                tick: spoken_of,
            }),
        }
    }

    fn sight(&self, record: &mut Record, now: Tick) {
        record.sight(self.main);
        if let Some(other) = self.other {
            let heard = record.sighted(other.at.is_v6(), other.which);
            let tick = match heard {
                Some(heard) if heard.age(now) < other.tick.age(now) => heard,
                _ => other.tick,
            };
            record.sight(Sighting { tick, ..other });
        }
    }
}

impl Act<'_> {
    /// Changes the session, or makes it; sends other peers of the member at the same address to sleep. Returns where the
    /// session stands.
    pub(super) fn apply(&self, swarm: &mut Swarm, at: Option<usize>, sums: &Sums) -> usize {
        let moved = |record: &Record, place: &Place| {
            let main = !record.is_at(place.main.at);
            main || place.other.is_some_and(|other| !record.is_at(other.at))
        };
        let (at, has_moved) = if let Some(at) = at {
            let old = swarm.get(at).zip(self.place.as_ref());
            let has_moved = old.is_some_and(|(record, place)| moved(record, place));
            let at = swarm.update(at, sums, self.now, |record| self.change(record));
            (at, has_moved)
        } else {
            let mut record = Record::new(self.member, *self.peer_id, &self.mark);
            self.change(&mut record);
            (swarm.insert(record, sums, self.now), true)
        };
        if self.credit.completed {
            swarm.note_completion();
        }
        let Some(place) = self.place.filter(|_| has_moved) else {
            return at;
        };
        let at = swarm.replace_at(at, place.main.at, sums, self.now);
        match place.other {
            Some(other) => swarm.replace_at(at, other.at, sums, self.now),
            None => at,
        }
    }

    fn change(&self, record: &mut Record) {
        record.set_mark(&self.mark);
        record.set_changed(true);
        if self.event == Event::Stopped {
            return record.sleep();
        }
        if let Some(place) = &self.place {
            place.sight(record, self.now);
            record.set_paused(self.event == Event::Paused);
            record.set_unanswered(self.replayed);
        }
    }
}
