//! Addresses at home: under which address is a peer given to whom? A peer behind the same router as the tracker announces
//! from a private address, one on the tracker's own machine from a loopback address; neither means anything further away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use shared::compact::{self, LENGTH_V4, LENGTH_V6};

use super::policy::Policy;

/// How far an address carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// The tracker's own machine.
    Machine,
    /// Networks at home: RFC 1918, link-local, shared (RFC 6598, which overlay networks use too), unique local.
    Home,
    Everywhere,
}

impl Reach {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, ..] = ip.octets();
        match (a, b) {
            (127, _) => Self::Machine,
            (10, _) | (192, 168) | (169, 254) | (172, 16..=31) | (100, 64..=127) => Self::Home,
            _ => Self::Everywhere,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        if ip.is_loopback() {
            Self::Machine
        } else if ip.is_unique_local() || ip.is_unicast_link_local() {
            Self::Home
        } else {
            Self::Everywhere
        }
    }
}

/// A peer as the wire names it, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Endpoint {
    V4([u8; LENGTH_V4]),
    V6([u8; LENGTH_V6]),
}

impl Endpoint {
    pub(super) fn new(ip: IpAddr, port: u16) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(compact::encode_v4(ip, port)),
            IpAddr::V6(ip) => Self::V6(compact::encode_v6(ip, port)),
        }
    }
}

/// Who asks, and what the peers at home are called where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    ip: IpAddr,
    endpoint: Endpoint,
    reach: Reach,
    /// What peers at home go by for this asker; none where nobody knows.
    outside_v4: Option<Ipv4Addr>,
    outside_v6: Option<Ipv6Addr>,
}

impl Asker {
    /// `reached` is the tracker's own address at which the asker came in, if the edge knows it: for a peer on the tracker's
    /// machine it is a name that the asker can use, as it just did.
    pub(super) fn new(sender: SocketAddr, reached: Option<IpAddr>, policy: &Policy) -> Self {
        let reach = Reach::of(sender.ip());
        let reached = reached
            .map(|ip| ip.to_canonical())
            .filter(|ip| !ip.is_unspecified() && Reach::of(*ip) >= reach);
        let (mut outside_v4, mut outside_v6) = (policy.external_v4, policy.external_v6);
        match reached {
            // Somebody at home reaches the tracker more surely by this than through the router from outside.
            Some(IpAddr::V4(ip)) if reach < Reach::Everywhere => outside_v4 = Some(ip),
            Some(IpAddr::V6(ip)) if reach < Reach::Everywhere => outside_v6 = Some(ip),
            Some(IpAddr::V4(ip)) => outside_v4 = outside_v4.or(Some(ip)),
            Some(IpAddr::V6(ip)) => outside_v6 = outside_v6.or(Some(ip)),
            None => (),
        }
        Self {
            ip: sender.ip(),
            endpoint: Endpoint::new(sender.ip(), sender.port()),
            reach,
            outside_v4,
            outside_v6,
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    pub(super) fn is_v6(&self) -> bool {
        self.ip.is_ipv6()
    }

    /// The asker's address as the world sees it, for BEP 24.
    pub(super) fn external_ip(&self, policy: &Policy) -> IpAddr {
        let configured = match self.ip {
            IpAddr::V4(_) => policy.external_v4.map(IpAddr::V4),
            IpAddr::V6(_) => policy.external_v6.map(IpAddr::V6),
        };
        configured
            .filter(|_| self.reach != Reach::Everywhere)
            .unwrap_or(self.ip)
    }

    /// How an IPv4 peer is given to this asker; not at all if it is the asker or cannot be reached.
    pub(super) fn given_v4(&self, wire: [u8; LENGTH_V4]) -> Option<[u8; LENGTH_V4]> {
        let [a, b, c, d, high, low] = wire;
        let given = if self.can_reach(Reach::of_v4(Ipv4Addr::new(a, b, c, d))) {
            wire
        } else {
            compact::encode_v4(self.outside_v4?, u16::from_be_bytes([high, low]))
        };
        (Endpoint::V4(given) != self.endpoint).then_some(given)
    }

    /// How an IPv6 peer is given to this asker.
    pub(super) fn given_v6(&self, wire: [u8; LENGTH_V6]) -> Option<[u8; LENGTH_V6]> {
        let peer = compact::decode_v6(wire);
        let given = if self.can_reach(Reach::of_v6(*peer.ip())) {
            wire
        } else {
            compact::encode_v6(self.outside_v6?, peer.port())
        };
        (Endpoint::V6(given) != self.endpoint).then_some(given)
    }

    /// An address carries to askers that stand no further away than it reaches.
    fn can_reach(&self, reach: Reach) -> bool {
        reach >= self.reach
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            external_v4: Some(Ipv4Addr::new(203, 0, 113, 9)),
            ..Policy::default()
        }
    }

    #[track_caller]
    fn check(asker: &str, reached: Option<&str>, peer: &str, given: Option<&str>) {
        let asker = Asker::new(
            asker.parse().unwrap(),
            reached.map(|ip| ip.parse().unwrap()),
            &policy(),
        );
        let got: Option<SocketAddr> = match peer.parse().unwrap() {
            SocketAddr::V4(peer) => asker
                .given_v4(compact::encode_v4(*peer.ip(), peer.port()))
                .map(|wire| compact::decode_v4(wire).into()),
            SocketAddr::V6(peer) => asker
                .given_v6(compact::encode_v6(*peer.ip(), peer.port()))
                .map(|wire| compact::decode_v6(wire).into()),
        };
        assert_eq!(got, given.map(|given| given.parse().unwrap()));
    }

    #[test]
    fn peers_at_home_are_given_as_such_at_home() {
        check("192.168.1.5:1", None, "192.168.1.7:2", Some("192.168.1.7:2"));
        check("127.0.0.1:1", None, "127.0.0.1:2", Some("127.0.0.1:2"));
        check("127.0.0.1:1", None, "10.0.0.7:2", Some("10.0.0.7:2"));
        check("[fd00::1]:1", None, "[fe80::2]:2", Some("[fe80::2]:2"));
        check("[::1]:1", None, "127.0.0.1:2", Some("127.0.0.1:2"));
    }

    #[test]
    fn the_world_is_given_them_under_the_external_address() {
        check("198.51.100.1:1", None, "192.168.1.7:2", Some("203.0.113.9:2"));
        check("198.51.100.1:1", None, "127.0.0.1:2", Some("203.0.113.9:2"));
        check("192.168.1.5:1", None, "127.0.0.1:2", Some("203.0.113.9:2"));
        check(
            "198.51.100.1:1",
            Some("192.168.1.1"),
            "127.0.0.1:2",
            Some("203.0.113.9:2"),
        );
    }

    #[test]
    fn an_address_that_leads_nowhere_is_not_given() {
        check("[2001:db8::1]:1", None, "[fd00::7]:2", None);
        check("[fd00::1]:1", None, "[::1]:2", None);
    }

    #[test]
    fn a_peer_on_the_trackers_machine_goes_by_the_address_the_asker_used() {
        check(
            "192.168.1.5:1",
            Some("192.168.1.1"),
            "127.0.0.1:2",
            Some("192.168.1.1:2"),
        );
        check("[fd00::1]:1", Some("fd00::9"), "[::1]:2", Some("[fd00::9]:2"));
        check(
            "[2001:db8::1]:1",
            Some("2001:db8::9"),
            "[::1]:2",
            Some("[2001:db8::9]:2"),
        );
    }

    #[test]
    fn nobody_is_given_itself_by_any_name() {
        check("198.51.100.1:1", None, "198.51.100.1:1", None);
        check("203.0.113.9:1", None, "10.0.0.2:1", None);
    }

    #[test]
    fn the_world_is_given_public_peers_as_they_are() {
        for asker in ["127.0.0.1:1", "10.0.0.1:1", "198.51.100.1:1", "[2001:db8::1]:1"] {
            check(asker, None, "198.51.100.7:2", Some("198.51.100.7:2"));
        }
    }
}
