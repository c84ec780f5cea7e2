//! Which address of this machine others can reach: the one that stands in announce URLs and magnet links.
//!
//! The choice is a function of lists; only [`own_addresses`] asks the machine.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Who can open a connection to an address. Narrow comes before wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    ThisMachine,
    LocalNetwork,
    Everyone,
}

/// One address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub address: IpAddr,
    /// The system would speak from here to the world.
    pub on_route: bool,
    /// A bridge to containers or virtual machines: nobody outside is behind it.
    pub virtual_bridge: bool,
}

/// The addresses that this machine has now.
pub fn own_addresses() -> Vec<Own> {
    let route = [
        Ipv4Addr::new(192, 0, 2, 1).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    ]
    .map(source_towards);
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .into_iter()
        .filter(|interface| interface.oper_status != if_addrs::IfOperStatus::Down)
        .map(|interface| Own {
            address: interface.ip(),
            on_route: route.contains(&Some(interface.ip())),
            virtual_bridge: is_virtual_bridge(&interface.name),
        })
        .collect()
}

/// The address from which the system would speak to `there`. Connecting a UDP socket sends nothing.
fn source_towards(there: IpAddr) -> Option<IpAddr> {
    let from: IpAddr = if there.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((there, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn is_virtual_bridge(name: &str) -> bool {
    ["docker", "br-", "virbr", "veth", "vmnet", "lxc", "podman", "cni"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Who can reach an address; `None` for one that cannot be written into a link (link-local, multicast, unspecified).
pub fn scope(address: IpAddr) -> Option<Scope> {
    match address {
        IpAddr::V4(v4) => scope_v4(v4),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| scope_v6(v6), scope_v4),
    }
}

fn scope_v4(address: Ipv4Addr) -> Option<Scope> {
    let [first, second, ..] = address.octets();
    // 100.64.0.0/10 lies behind a provider's gateway, or belongs to a private overlay network (RFC 6598).
    let shared = first == 100 && (64..128).contains(&second);
    if address.is_loopback() {
        Some(Scope::ThisMachine)
    } else if address.is_private() || shared {
        Some(Scope::LocalNetwork)
    } else if first == 0 || address.is_link_local() || address.is_multicast() || address.is_broadcast() {
        None
    } else {
        Some(Scope::Everyone)
    }
}

fn scope_v6(address: Ipv6Addr) -> Option<Scope> {
    if address.is_loopback() {
        Some(Scope::ThisMachine)
    } else if address.is_unique_local() {
        Some(Scope::LocalNetwork)
    } else if address.is_unspecified() || address.is_unicast_link_local() || address.is_multicast() {
        None
    } else {
        Some(Scope::Everyone)
    }
}

/// Where others can connect to these listeners, the best address first. The ports are those of the listeners.
pub fn reachable(listeners: &[SocketAddr], own: &[Own]) -> Vec<SocketAddr> {
    let mut found: Vec<(Scope, &Own, SocketAddr)> = Vec::new();
    for listener in listeners {
        for own in own.iter().filter(|own| accepts(listener, own.address)) {
            if let Some(scope) = scope(own.address) {
                found.push((scope, own, SocketAddr::new(own.address, listener.port())));
            }
        }
    }
    // A stable sort: among equals the system's own order stays.
    found.sort_by_key(|(scope, own, address)| {
        (
            Reverse(*scope),
            own.virtual_bridge,
            address.is_ipv6(),
            Reverse(own.on_route),
        )
    });
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for (_, _, address) in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn accepts(listener: &SocketAddr, address: IpAddr) -> bool {
    listener.ip() == address || (listener.ip().is_unspecified() && listener.is_ipv4() == address.is_ipv4())
}

/// The few addresses that a link carries: the best of each scope and family, this machine's only where there is no other.
pub fn for_link(reachable: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut chosen: Vec<SocketAddr> = Vec::new();
    for address in reachable {
        let alike = |other: &SocketAddr| {
            other.is_ipv4() == address.is_ipv4() && scope(other.ip()) == scope(address.ip())
        };
        let here_beside_others = scope(address.ip()) == Some(Scope::ThisMachine)
            && chosen
                .iter()
                .any(|other| scope(other.ip()) != Some(Scope::ThisMachine));
        if !here_beside_others && !chosen.iter().any(alike) {
            chosen.push(*address);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `192.168.1.5*` is on the route, `172.17.0.1b` a bridge.
    fn machine(drawing: &str) -> Vec<Own> {
        let own = |word: &str| Own {
            address: word.trim_end_matches(['*', '@']).parse().unwrap(),
            on_route: word.ends_with('*'),
            virtual_bridge: word.ends_with('@'),
        };
        drawing.split_whitespace().map(own).collect()
    }

    fn sockets(words: &str) -> Vec<SocketAddr> {
        words
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    }

    #[track_caller]
    fn check(listeners: &str, own: &str, best_first: &str) {
        assert_eq!(reachable(&sockets(listeners), &machine(own)), sockets(best_first));
    }

    const BOTH: &str = "0.0.0.0:6969 [::]:6969";

    #[test]
    fn the_world_comes_before_the_house_and_the_house_before_the_machine() {
        check(
            BOTH,
            "127.0.0.1 ::1 192.168.1.5* 203.0.113.7 fd00::5",
            "203.0.113.7:6969 192.168.1.5:6969 [fd00::5]:6969 127.0.0.1:6969 [::1]:6969",
        );
    }

    #[test]
    fn the_address_on_the_way_out_wins_and_bridges_to_containers_come_last() {
        check(
            "0.0.0.0:1",
            "172.17.0.1@ 10.8.0.2 192.168.1.5* 127.0.0.1",
            "192.168.1.5:1 10.8.0.2:1 172.17.0.1:1 127.0.0.1:1",
        );
    }

    #[test]
    fn only_addresses_that_are_listened_on_count_and_ports_are_real() {
        check("127.0.0.1:4321", "127.0.0.1 192.168.1.5* ::1", "127.0.0.1:4321");
        check(
            "[::]:7 0.0.0.0:8",
            "192.168.1.5 fd00::5",
            "192.168.1.5:8 [fd00::5]:7",
        );
        check("10.0.0.1:7", "192.168.1.5", "");
    }

    #[test]
    fn addresses_that_no_link_can_carry_are_left_out() {
        check(BOTH, "fe80::1 169.254.3.3 2001:db8::9*", "[2001:db8::9]:6969");
    }

    #[test]
    fn an_overlay_network_is_local_and_a_mapped_address_is_what_it_maps() {
        assert_eq!(
            scope("100.101.102.103".parse().unwrap()),
            Some(Scope::LocalNetwork)
        );
        assert_eq!(
            scope("::ffff:127.0.0.1".parse().unwrap()),
            Some(Scope::ThisMachine)
        );
    }

    #[test]
    fn a_link_names_each_kind_of_address_once_and_loopback_only_when_alone() {
        let reachable = sockets("203.0.113.7:1 203.0.113.8:1 [2001:db8::9]:1 192.168.1.5:1 127.0.0.1:1");
        assert_eq!(
            for_link(&reachable),
            sockets("203.0.113.7:1 [2001:db8::9]:1 192.168.1.5:1")
        );
        assert_eq!(
            for_link(&sockets("127.0.0.1:1 [::1]:1")),
            sockets("127.0.0.1:1 [::1]:1")
        );
    }
}
