//! The networks that this machine is in, beside those that the standards call private: a household's IPv6 addresses look like
//! everybody else's, and still its peers are at home.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

/// Where Linux shows its IPv6 addresses. Elsewhere there is no such file, and no such network is known.
const ADDRESSES: &str = "/proc/net/if_inet6";

/// A provider's network is larger than a household's, and a lone address is no network.
const PREFIXES: std::ops::RangeInclusive<u8> = 56..=126;

/// So many are believed.
const NETWORKS_MAX: usize = 64;

/// The networks now. They change when a provider gives the household others.
pub(crate) fn networks() -> Vec<IpNet> {
    // It is made by the kernel as it is read: no disk is waited for.
    let text = std::fs::read_to_string(ADDRESSES).unwrap_or_default();
    let mut networks: Vec<IpNet> = text.lines().filter_map(network).take(NETWORKS_MAX).collect();
    networks.sort_unstable();
    networks.dedup();
    networks
}

/// A line is an address, the number of its interface, the length of its prefix, its scope and flags in hexadecimal digits,
/// and the interface's name.
fn network(line: &str) -> Option<IpNet> {
    let mut fields = line.split_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let prefix = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
    let everywhere = fields.next()? == "00";
    if !everywhere || !PREFIXES.contains(&prefix) {
        return None;
    }
    let network = Ipv6Net::new(Ipv6Addr::from_bits(address), prefix).ok()?;
    IpNet::new(IpAddr::V6(network.network()), prefix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_household_is_known_by_its_prefix_and_other_scopes_and_lengths_are_passed_over() {
        let drawn = |line: &str| network(line).map(|network| network.to_string());
        let home = "20010db8000500070211223344556677 02 40 00 00     eth0";
        assert_eq!(drawn(home).as_deref(), Some("2001:db8:5:7::/64"));
        for line in [
            "fe800000000000000211223344556677 02 40 20 80     eth0",
            "00000000000000000000000000000001 01 80 10 80       lo",
            "20010db8000500070000000000000001 02 80 00 80     eth0",
            "20010db8000500070000000000000001 02 20 00 80     eth0",
            "",
            "rubbish",
            "20010db8 02",
        ] {
            assert_eq!(drawn(line), None, "{line}");
        }
    }
}
