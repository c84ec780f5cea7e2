//! Whose address an announce comes from when it came through a proxy: the right-most hop of `X-Forwarded-For` or `Forwarded`
//! (RFC 7239) that is not one of our proxies. From anyone but a trusted proxy such a field is ignored, counted and warned
//! about once: whoever wrote it could have written anything. Strangers write most of these fields; nothing here panics.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use edge::slots::{Full, Slot, Slots};
use ipnet::IpNet;
use tracing::warn;

use super::desk::{Caller, Via};
use super::trace::shortened;

/// The proxies that are believed, and whether somebody else has been caught.
#[derive(Debug)]
pub(crate) struct Trust {
    networks: ArcSwap<Vec<IpNet>>,
    warned: AtomicBool,
}

/// What a request has to say about its way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sighted {
    pub caller: Caller,
    /// It said something that was not asked for.
    pub ignored: bool,
}

/// What one kind of field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hop {
    /// There is no such field, or nothing in it.
    Absent,
    /// `unknown`, an obfuscated name, or nonsense: an address that we cannot know.
    Hidden,
    Address(IpAddr),
}

/// Room for a connection. A trusted proxy speaks for many, and is bounded only by the whole; so is a Unix socket.
pub(crate) fn take_slot(slots: &Arc<Slots>, trust: &Trust, from: Option<SocketAddr>) -> Result<Slot, Full> {
    match from {
        Some(from) if !trust.trusts(from.ip()) => slots.take(from.ip()),
        _ => slots.take_shared(),
    }
}

impl Trust {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self {
            networks: ArcSwap::from_pointee(networks),
            warned: AtomicBool::new(false),
        }
    }

    /// Believes these from now on.
    pub(crate) fn set(&self, networks: Vec<IpNet>) {
        self.networks.store(Arc::new(networks));
        self.warned.store(false, Ordering::Relaxed);
    }

    /// Whether this address is one of our proxies.
    pub(crate) fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.load().iter().any(|network| network.contains(&ip))
    }

    /// Who asks, given whose socket it is and what the fields say, each kind in the order of its lines.
    pub(crate) fn caller<'a>(
        &self,
        socket: Caller,
        forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
        forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> Sighted {
        let said = (
            self.walk(forwarded_for, |line| {
                Some(line.rsplit(|&byte| byte == b',').map(address))
            }),
            self.walk(forwarded, elements),
        );
        if socket.via != Via::UnixSocket && !self.trusts(socket.ip) {
            let ignored = said != (Hop::Absent, Hop::Absent);
            if ignored {
                self.warn_once(socket.ip);
            }
            return Sighted {
                caller: socket,
                ignored,
            };
        }
        let via = |hop| match hop {
            Hop::Address(ip) => Caller {
                ip,
                reached: None,
                via: Via::Proxy,
            },
            Hop::Hidden | Hop::Absent => Caller {
                ip: Ipv6Addr::UNSPECIFIED.into(),
                reached: None,
                via: Via::Hidden,
            },
        };
        let caller = match said {
            // A proxy's own errand, or somebody beside the proxy on its machine.
            (Hop::Absent, Hop::Absent) if socket.via != Via::UnixSocket => socket,
            (hop, Hop::Absent) | (Hop::Absent, hop) => via(hop),
            (one, other) if one == other => via(one),
            // One of them is the client's own invention, and nobody knows which.
            _ => via(Hop::Hidden),
        };
        Sighted {
            caller,
            ignored: false,
        }
    }

    /// Goes from the last hop to the first, until one is not ours.
    fn walk<'a, Hops: Iterator<Item = Option<IpAddr>>>(
        &self,
        lines: impl DoubleEndedIterator<Item = &'a [u8]>,
        hops: impl Fn(&'a [u8]) -> Option<Hops>,
    ) -> Hop {
        let mut last = Hop::Absent;
        for line in lines.rev().filter(|line| !line.trim_ascii().is_empty()) {
            let Some(hops) = hops(line) else {
                return Hop::Hidden;
            };
            for hop in hops {
                match hop {
                    None => return Hop::Hidden,
                    Some(ip) if self.trusts(ip) => last = Hop::Address(ip),
                    Some(ip) => return Hop::Address(ip),
                }
            }
        }
        last
    }

    fn warn_once(&self, from: IpAddr) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            warn!(
                from = shortened(from),
                "a sender that is no trusted proxy names another address: ignored; if it is your proxy, put its network into \
                 http.trusted_proxies"
            );
        }
    }
}

/// The elements of a `Forwarded` line from the last to the first, as the addresses they are for; none where its quotes do not
/// match. A backslash is nowhere needed in an address, so a line that has one is none of a proxy's.
fn elements(line: &[u8]) -> Option<impl Iterator<Item = Option<IpAddr>>> {
    let is_even = line.iter().fold(true, |even, &byte| even ^ (byte == b'"'));
    if !is_even || line.contains(&b'\\') {
        return None;
    }
    let mut quoted = false;
    let elements = line.rsplit(move |&byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    });
    Some(elements.map(|element| {
        element
            .split(|&byte| byte == b';')
            .find_map(for_value)
            .and_then(address)
    }))
}

/// What a pair `for=…` says; none where the pair is another.
fn for_value(pair: &[u8]) -> Option<&[u8]> {
    let pair = pair.trim_ascii();
    let at = pair.iter().position(|&byte| byte == b'=')?;
    let (name, value) = pair.split_at(at);
    let is_for = name.trim_ascii().eq_ignore_ascii_case(b"for");
    is_for.then(|| value.get(1..).unwrap_or_default())
}

/// An address as proxies write it: alone, in brackets, with a port, in quotes.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let text = text
        .strip_prefix('"')
        .map_or(Some(text), |text| text.strip_suffix('"'))?;
    let alone = text
        .strip_prefix('[')
        .map_or(Some(text), |text| text.strip_suffix(']'))
        .and_then(|text| text.parse::<IpAddr>().ok());
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    alone.or_else(with_port).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trust() -> Trust {
        Trust::new(vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8:ffff::/48".parse().unwrap(),
        ])
    }

    fn ask(socket: &str, forwarded_for: &[&str], forwarded: &[&str]) -> Sighted {
        let socket = if socket == "unix" {
            Caller::on_unix_socket()
        } else {
            Caller::from(socket.parse::<IpAddr>().unwrap())
        };
        trust().caller(
            socket,
            forwarded_for.iter().map(|line| line.as_bytes()),
            forwarded.iter().map(|line| line.as_bytes()),
        )
    }

    /// Where a request comes from, by socket and fields; `-` is nowhere.
    #[track_caller]
    fn check(socket: &str, forwarded_for: &[&str], forwarded: &[&str], expected: &str) {
        let caller = ask(socket, forwarded_for, forwarded).caller;
        let found = if caller.via == Via::Hidden {
            "-".to_owned()
        } else {
            caller.ip.to_string()
        };
        assert_eq!(found, expected, "{socket} {forwarded_for:?} {forwarded:?}");
    }

    #[test]
    fn the_right_most_hop_that_is_not_ours_is_the_client() {
        check("10.0.0.1", &["192.0.2.1"], &[], "192.0.2.1");
        check("10.0.0.1", &["203.0.113.9, 192.0.2.1"], &[], "192.0.2.1");
        check(
            "10.0.0.1",
            &["203.0.113.9, 192.0.2.1, 10.0.0.2"],
            &[],
            "192.0.2.1",
        );
        check(
            "10.0.0.1",
            &["203.0.113.9", "192.0.2.1 ,10.1.2.3"],
            &[],
            "192.0.2.1",
        );
        check(
            "10.0.0.1",
            &["203.0.113.9", "192.0.2.1", "10.9.9.9"],
            &[],
            "192.0.2.1",
        );
        check("10.0.0.1", &["10.0.0.7, 10.0.0.8"], &[], "10.0.0.7");
        check("::ffff:10.0.0.1", &["2001:db8::7"], &[], "2001:db8::7");
        check("2001:db8:ffff::1", &["::ffff:192.0.2.1"], &[], "192.0.2.1");
    }

    #[test]
    fn addresses_come_with_ports_brackets_and_quotes() {
        for (said, expected) in [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("\"192.0.2.1\"", "192.0.2.1"),
            ("unknown", "-"),
            ("_hidden", "-"),
            ("192.0.2", "-"),
            ("192.0.2.1,", "-"),
            ("fe80::1%eth0", "-"),
        ] {
            check("10.0.0.1", &[said], &[], expected);
        }
        for (said, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("FOR=\"192.0.2.1:80\"; proto=https; by=10.0.0.1", "192.0.2.1"),
            (
                "proto=https;for=\"[2001:db8:cafe::17]:4711\"",
                "2001:db8:cafe::17",
            ),
            ("for=203.0.113.9, for=192.0.2.1, for=\"10.0.0.2\"", "192.0.2.1"),
            (
                "for=203.0.113.9;by=\"a,b\", for=192.0.2.1;by=\"c,d\"",
                "192.0.2.1",
            ),
            ("for=unknown", "-"),
            ("for=\"_gazonk\"", "-"),
            ("proto=https", "-"),
            ("for=203.0.113.9;x=\", for=192.0.2.1", "-"),
            ("for=203.0.113.9;x=\"\\\", for=\"192.0.2.1\"", "-"),
        ] {
            check("10.0.0.1", &[], &[said], expected);
        }
    }

    #[test]
    fn a_client_cannot_hide_behind_the_kind_of_field_that_its_proxy_does_not_write() {
        check("10.0.0.1", &["192.0.2.1"], &["for=203.0.113.9"], "-");
        check("10.0.0.1", &["192.0.2.1"], &["for=192.0.2.1"], "192.0.2.1");
        check("10.0.0.1", &["192.0.2.1"], &["  "], "192.0.2.1");
    }

    #[test]
    fn a_trusted_proxy_that_says_nothing_speaks_for_itself_and_a_unix_socket_for_nobody() {
        check("10.0.0.1", &[], &[], "10.0.0.1");
        check("unix", &[], &[], "-");
        check("unix", &[""], &[], "-");
        check("unix", &["192.0.2.1"], &[], "192.0.2.1");
    }

    #[test]
    fn strangers_are_not_believed_and_are_noticed() {
        let sighted = ask("198.51.100.1", &["192.0.2.1"], &["for=192.0.2.1"]);
        assert_eq!(
            (sighted.caller.ip, sighted.ignored),
            ("198.51.100.1".parse().unwrap(), true)
        );
        assert!(!ask("198.51.100.1", &[], &[]).ignored);
        assert!(!ask("10.0.0.1", &["192.0.2.1"], &[]).ignored);
    }

    #[test]
    fn who_is_trusted_can_change_while_the_tracker_runs() {
        let trust = trust();
        trust.set(vec!["198.51.100.0/24".parse().unwrap()]);
        assert!(trust.trusts("198.51.100.1".parse().unwrap()) && !trust.trusts("10.0.0.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(one: Vec<u8>, other: Vec<u8>) {
            let proxy = Caller::from(IpAddr::from([10, 0, 0, 1]));
            let _ = trust().caller(proxy, [one.as_slice()].into_iter(), [other.as_slice()].into_iter());
        }

        #[test]
        fn whatever_a_client_writes_its_proxy_has_the_last_word(said in "[ -~]{0,60}") {
            let trust = trust();
            let proxy = Caller::from(IpAddr::from([10, 0, 0, 1]));
            let nothing = std::iter::empty::<&[u8]>;
            let appended = format!("{said}, 192.0.2.1");
            let sighted = trust.caller(proxy, [appended.as_bytes()].into_iter(), nothing());
            prop_assert_eq!(sighted.caller.ip, IpAddr::from([192, 0, 2, 1]));
            let appended = format!("{said}, for=192.0.2.1");
            let sighted = trust.caller(proxy, nothing(), [appended.as_bytes()].into_iter());
            let truth = sighted.caller.ip == IpAddr::from([192, 0, 2, 1]);
            prop_assert!(truth || sighted.caller.via == Via::Hidden);
        }
    }
}
