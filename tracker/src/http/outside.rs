//! What the world calls this network, learned from members who come from outside and say in `Host` by which address they found
//! us. Wanted where neither the settings nor the public URL know it; a member who lies is outvoted by the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use tracing::info;

use super::desk::{Caller, Via};
use super::trace::shortened;

/// An address that was confirmed so often is not given up for fewer words against it.
const VOTES_MAX: u32 = 8;

/// The addresses, as members tell.
#[derive(Debug, Default)]
pub(crate) struct Outside(Mutex<Learned>);

#[derive(Debug, Default)]
struct Learned {
    v4: Candidate<Ipv4Addr>,
    v6: Candidate<Ipv6Addr>,
}

#[derive(Debug)]
struct Candidate<T> {
    address: Option<T>,
    votes: u32,
}

impl<T> Default for Candidate<T> {
    fn default() -> Self {
        Self {
            address: None,
            votes: 0,
        }
    }
}

impl<T: Copy + PartialEq> Candidate<T> {
    /// Counts a word for an address; says whether it has just been taken for true.
    fn hear(&mut self, address: T) -> bool {
        if self.address == Some(address) {
            self.votes = (self.votes + 1).min(VOTES_MAX);
            return false;
        }
        if self.votes > 0 {
            self.votes -= 1;
            return false;
        }
        (self.address, self.votes) = (Some(address), 1);
        true
    }
}

impl Outside {
    /// Listens to an authenticated member. Costs nothing where the member is at home, or knows us by a name.
    pub(crate) fn note(&self, host: Option<&[u8]>, caller: &Caller) {
        let behind_a_router = caller.reached.is_some_and(|reached| !is_global(reached));
        if caller.via != Via::Socket || !behind_a_router || !is_global(caller.ip) {
            return;
        }
        let Some(named) = host.and_then(literal).filter(|ip| is_global(*ip)) else {
            return;
        };
        let mut learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = match named {
            IpAddr::V4(v4) => learned.v4.hear(v4),
            IpAddr::V6(v6) => learned.v6.hear(v6),
        };
        if is_new {
            info!(
                address = shortened(named),
                "members reach this network by another address than before"
            );
        }
    }

    /// What is taken for true now.
    pub(crate) fn addresses(&self) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        let learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (learned.v4.address, learned.v6.address)
    }
}

/// The address that a host is, if it is one; with or without a port.
pub(crate) fn literal(host: &[u8]) -> Option<IpAddr> {
    let is_address = host
        .first()
        .is_some_and(|byte| byte.is_ascii_digit() || *byte == b'[');
    let text = std::str::from_utf8(host).ok().filter(|_| is_address)?.trim();
    let alone = text
        .strip_prefix('[')
        .map_or(Some(text), |text| text.strip_suffix(']'))
        .and_then(|text| text.parse::<IpAddr>().ok());
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    alone.or_else(with_port).map(|ip| ip.to_canonical())
}

/// Whether an address may be somebody's on the internet.
pub(crate) fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..=127).contains(&b);
            !(a == 0 || a >= 224 || shared || v4.is_loopback() || v4.is_private() || v4.is_link_local())
        }
        IpAddr::V6(v6) => {
            !(v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(ip: &str, reached: &str) -> Caller {
        Caller {
            reached: reached.parse().ok(),
            ..Caller::from(ip.parse::<IpAddr>().unwrap())
        }
    }

    /// What is learned from words, each `caller > reached host`.
    #[track_caller]
    fn check(words: &[&str], v4: Option<&str>, v6: Option<&str>) {
        let outside = Outside::default();
        for word in words {
            let [from, _, reached, host] = word.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{word}")
            };
            outside.note(Some(host.as_bytes()), &caller(from, reached));
        }
        let expected = (
            v4.map(|address| address.parse().unwrap()),
            v6.map(|address| address.parse().unwrap()),
        );
        assert_eq!(outside.addresses(), expected, "{words:?}");
    }

    #[test]
    fn a_member_from_outside_says_what_we_are_called_there() {
        check(
            &["198.51.100.1 > 192.168.1.2 203.0.113.9:6969"],
            Some("203.0.113.9"),
            None,
        );
        check(
            &["198.51.100.1 > 172.17.0.2 203.0.113.9"],
            Some("203.0.113.9"),
            None,
        );
        check(
            &["2001:db8::1 > fd00::2 [2001:db8:f::9]:6969"],
            None,
            Some("2001:db8:f::9"),
        );
    }

    #[test]
    fn nobody_at_home_no_name_and_no_private_address_is_listened_to() {
        check(&["192.168.1.7 > 192.168.1.2 203.0.113.9:6969"], None, None);
        check(&["198.51.100.1 > 203.0.113.9 203.0.113.10:6969"], None, None);
        check(&["198.51.100.1 > - 203.0.113.9:6969"], None, None);
        for host in [
            "tracker.example:6969",
            "192.168.1.2:6969",
            "0.0.0.0",
            "[::]",
            "203.0.113",
            "[",
            "",
        ] {
            check(&[&format!("198.51.100.1 > 192.168.1.2 {host}")], None, None);
        }
    }

    #[test]
    fn a_liar_is_outvoted_and_a_new_address_wins_in_the_end() {
        let (truth, lie) = (
            "198.51.100.1 > 192.168.1.2 203.0.113.9",
            "198.51.100.2 > 192.168.1.2 203.0.113.66",
        );
        check(&[truth, truth, truth, lie, truth, lie], Some("203.0.113.9"), None);
        let moved: Vec<_> = [truth].repeat(50).into_iter().chain([lie].repeat(9)).collect();
        check(&moved, Some("203.0.113.66"), None);
        check(&moved[..58], Some("203.0.113.9"), None);
    }
}
