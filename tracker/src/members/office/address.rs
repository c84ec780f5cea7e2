//! The address that others use: what stands before `/{passkey}/announce` in every announce URL.

use std::net::{IpAddr, SocketAddr};

use crate::members::keys::Passkey;

/// A member's announce URL.
pub fn announce_url(base: &str, passkey: &Passkey) -> String {
    format!("{}/{passkey}/announce", base.trim_end_matches('/'))
}

/// The address that others can reach best: the one that the owner has set, else the best of those that are listened on,
/// where `own` are this machine's own. The second half is a sentence for the owner where it was guessed.
pub fn announce_base(
    public_url: &str,
    listening: &[SocketAddr],
    tls: bool,
    own: &[IpAddr],
) -> (String, Option<&'static str>) {
    let public_url = public_url.trim().trim_end_matches('/');
    if !public_url.is_empty() {
        return (public_url.to_owned(), None);
    }
    let scheme = if tls { "https" } else { "http" };
    let reachable = listening.iter().flat_map(|listening| {
        let any = listening.ip().is_unspecified();
        let same_family = |own: &&IpAddr| own.is_ipv4() == listening.is_ipv4();
        let own = own.iter().filter(move |own| any && same_family(own)).copied();
        own.chain((!any).then_some(listening.ip()))
            .map(|ip| SocketAddr::new(ip, listening.port()))
    });
    // Ties go to the address that is listened on first.
    let best = reachable.min_by_key(|address| distance(address.ip()));
    let port = listening.first().map_or(6969, SocketAddr::port);
    let best = best.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)));
    let warning = match distance(best.ip()) {
        0 => "public_url is not set: announce URLs hold this machine's address, which may change",
        1 => "public_url is not set: announce URLs hold a private address, good at home only",
        _ => "public_url is not set: announce URLs hold an address that only this machine reaches",
    };
    (format!("{scheme}://{best}"), Some(warning))
}

/// From how far away an address can be reached: 0 from everywhere, 1 from home, 2 from here.
fn distance(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() => 2,
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() => 1,
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() => 2,
        IpAddr::V6(ip) if ip.is_unique_local() => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The base for a tracker that listens there, on a machine with these addresses.
    #[track_caller]
    fn check(listening: &[&str], own: &[&str], wanted: &str) {
        let listening: Vec<SocketAddr> = listening.iter().map(|text| text.parse().unwrap()).collect();
        let own: Vec<IpAddr> = own.iter().map(|text| text.parse().unwrap()).collect();
        let (base, warning) = announce_base("", &listening, false, &own);
        assert_eq!(base, wanted);
        assert!(warning.is_some());
    }

    #[test]
    fn the_address_that_is_reached_from_farthest_away_is_taken_with_its_real_port() {
        check(
            &["0.0.0.0:6969"],
            &["127.0.0.1", "192.168.1.5"],
            "http://192.168.1.5:6969",
        );
        check(
            &["0.0.0.0:1", "[::]:2"],
            &["192.168.1.5", "2001:db8::5"],
            "http://[2001:db8::5]:2",
        );
        check(
            &["0.0.0.0:1", "[::]:2"],
            &["203.0.113.5", "2001:db8::5"],
            "http://203.0.113.5:1",
        );
        check(
            &["0.0.0.0:1", "[::]:2"],
            &["10.0.0.5", "fe80::5", "fd00::5"],
            "http://10.0.0.5:1",
        );
        check(&["127.0.0.1:34567"], &["203.0.113.5"], "http://127.0.0.1:34567");
        check(&["[::1]:34567"], &[], "http://[::1]:34567");
        check(&["0.0.0.0:7"], &[], "http://127.0.0.1:7");
        check(&[], &[], "http://127.0.0.1:6969");
    }

    #[test]
    fn what_the_owner_has_set_is_taken_with_or_without_a_slash_behind() {
        let key = crate::members::keys::Secret::new(&[1; 32]).derive(&crate::members::keys::KeyFields {
            kind: crate::members::keys::KeyKind::Member,
            member: crate::members::ids::MemberId(1),
            generation: 1,
            scope: None,
        });
        for set in ["https://kin.example/t", " https://kin.example/t// "] {
            let (base, warning) = announce_base(set, &[], true, &[]);
            assert_eq!(warning, None);
            assert_eq!(
                announce_url(&base, &key),
                format!("https://kin.example/t/{key}/announce")
            );
            assert_eq!(announce_url(&format!("{base}/"), &key), announce_url(&base, &key));
        }
    }

    #[test]
    fn with_tls_the_guessed_address_is_https() {
        let listening = ["192.0.2.1:443".parse().unwrap()];
        assert_eq!(
            announce_base("", &listening, true, &[]).0,
            "https://192.0.2.1:443"
        );
    }
}
