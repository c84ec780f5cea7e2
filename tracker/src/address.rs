//! The address that others use for this tracker: what the owner says, else the best one that it listens on. Announce URLs and
//! invitations begin with it.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Config;

/// What stands before `/{passkey}/announce`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub url: String,
    /// Nobody said so: `public_url` is not set, and others may need another address.
    pub guessed: bool,
}

impl Base {
    /// The address to give to people, for a tracker that listens there; one that listens nowhere without TLS is asked over TLS.
    pub fn of(config: &Config, listening: &[SocketAddr]) -> Self {
        if let Some(url) = config.public_url.clone() {
            return Self { url, guessed: false };
        }
        let (scheme, listening) = match (&config.http.tls, listening) {
            (Some(tls), []) => ("https", tls.listen.as_slice()),
            _ => ("http", listening),
        };
        Self {
            url: format!(
                "{scheme}://{}",
                best(listening, &config.announce.external_addresses)
            ),
            guessed: true,
        }
    }
}

/// How far an address reaches, narrow before wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Cannot be written into a URL: link-local, multicast.
    Nowhere,
    ThisMachine,
    LocalNetwork,
    Everyone,
}

fn best(listening: &[SocketAddr], external: &[IpAddr]) -> SocketAddr {
    let here = || SocketAddr::from(([127, 0, 0, 1], 6969));
    let own = own_addresses();
    choose(listening, external, &own).unwrap_or_else(here)
}

/// The widest address; among equals IPv4, which every client speaks, and the machine's own order.
fn choose(listening: &[SocketAddr], external: &[IpAddr], own: &[IpAddr]) -> Option<SocketAddr> {
    let mut found = Vec::new();
    for listener in listening {
        let ip = listener.ip();
        let same_family = |address: &&IpAddr| address.is_ipv4() == ip.is_ipv4();
        let wildcard = external.iter().chain(own).filter(same_family);
        let loopback = if ip.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        let addresses: Vec<IpAddr> = if ip.is_unspecified() {
            wildcard.copied().chain([loopback]).collect()
        } else {
            vec![ip]
        };
        found.extend(
            addresses
                .into_iter()
                .map(|ip| SocketAddr::new(ip, listener.port())),
        );
    }
    found.retain(|address| reach(address.ip()) > Reach::Nowhere);
    found.into_iter().min_by_key(|address| {
        let ours = external.contains(&address.ip());
        (Reverse(ours), Reverse(reach(address.ip())), address.is_ipv6())
    })
}

/// The addresses of this machine's interfaces that are up, bridges to containers last.
fn own_addresses() -> Vec<IpAddr> {
    const BRIDGES: [&str; 8] = ["docker", "br-", "virbr", "veth", "vmnet", "lxc", "podman", "cni"];

    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.retain(|interface| interface.oper_status != if_addrs::IfOperStatus::Down);
    interfaces.sort_by_key(|interface| BRIDGES.iter().any(|name| interface.name.starts_with(name)));
    interfaces.iter().map(if_addrs::Interface::ip).collect()
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| reach_v6(v6), reach_v4),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [first, second, ..] = address.octets();
    // 100.64.0.0/10 lies behind a provider's gateway, or belongs to a private overlay network (RFC 6598).
    let shared = first == 100 && (64..128).contains(&second);
    if address.is_loopback() {
        Reach::ThisMachine
    } else if address.is_private() || shared {
        Reach::LocalNetwork
    } else if first == 0 || address.is_link_local() || address.is_multicast() || address.is_broadcast() {
        Reach::Nowhere
    } else {
        Reach::Everyone
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if address.is_loopback() {
        Reach::ThisMachine
    } else if address.is_unique_local() {
        Reach::LocalNetwork
    } else if address.is_unspecified() || address.is_unicast_link_local() || address.is_multicast() {
        Reach::Nowhere
    } else {
        Reach::Everyone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tls;

    #[track_caller]
    fn chosen(listening: &[&str], external: &[&str], own: &[&str], best: &str) {
        let listening: Vec<_> = listening.iter().map(|address| address.parse().unwrap()).collect();
        let ips = |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|ip| ip.parse().unwrap()).collect() };
        let found = choose(&listening, &ips(external), &ips(own)).unwrap();
        assert_eq!(found.to_string(), best);
    }

    #[test]
    fn the_widest_address_is_given_with_the_port_that_listens() {
        let both = ["0.0.0.0:6969", "[::]:6970"];
        let home = ["127.0.0.1", "192.168.1.2", "::1", "fe80::1"];
        chosen(&both, &[], &home, "192.168.1.2:6969");
        chosen(&both, &[], &["192.168.1.2", "2001:db8::2"], "[2001:db8::2]:6970");
        chosen(&both, &[], &["203.0.113.2", "2001:db8::2"], "203.0.113.2:6969");
        chosen(&both, &[], &[], "127.0.0.1:6969");
        chosen(&both, &["203.0.113.9"], &["198.51.100.2"], "203.0.113.9:6969");
    }

    #[test]
    fn an_address_that_is_listened_on_by_name_is_the_one() {
        chosen(&["127.0.0.1:1234"], &[], &["203.0.113.2"], "127.0.0.1:1234");
        chosen(&["[::1]:1"], &[], &["203.0.113.2"], "[::1]:1");
    }

    #[test]
    fn who_listens_only_with_tls_is_asked_over_tls() {
        let mut config = Config::default();
        config.http.tls = Some(Tls {
            listen: vec!["192.0.2.1:443".parse().unwrap()],
            certificate: "certificate.pem".into(),
            key: "key.pem".into(),
        });
        assert_eq!(Base::of(&config, &[]).url, "https://192.0.2.1:443");
        let plain = ["192.0.2.1:80".parse().unwrap()];
        assert_eq!(Base::of(&config, &plain).url, "http://192.0.2.1:80");
    }

    #[test]
    fn what_the_owner_says_wins() {
        let mut config = Config::default();
        let listening = ["127.0.0.1:7".parse().unwrap()];
        assert_eq!(Base::of(&config, &listening).url, "http://127.0.0.1:7");
        config.public_url = Some("https://tracker.example/t".to_owned());
        let base = Base::of(&config, &listening);
        assert_eq!(
            (base.url.as_str(), base.guessed),
            ("https://tracker.example/t", false)
        );
    }
}
