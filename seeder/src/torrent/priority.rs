//! Canonical peer priority (BEP 40): of all who want a place, both sides of a connection rank each other alike. So a full
//! swarm lets newcomers in, and who fills places with calls gains no more of them than its share of addresses.

use std::net::{IpAddr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};

const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// How much two peers should want each other; the same from both sides. Addresses of different families are compared as
/// IPv6.
pub(super) fn priority(ours: SocketAddr, theirs: SocketAddr) -> u32 {
    match (ours.ip().to_canonical(), theirs.ip().to_canonical()) {
        (ip, other) if ip == other => {
            let ports = [ours.port(), theirs.port()].map(u16::to_be_bytes);
            checksum(ports)
        }
        (IpAddr::V4(ip), IpAddr::V4(other)) => {
            let (ip, other) = (ip.octets(), other.octets());
            checksum(masked(ip, other, 2))
        }
        (ip, other) => {
            let (ip, other) = (wide(ip), wide(other));
            checksum(masked(ip, other, 6))
        }
    }
}

fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The first `whole` bytes count as they are, and one more for each byte that agrees from there on; of the rest every
/// second bit, so that many addresses in one network are worth little more than one.
fn masked<const N: usize>(ours: [u8; N], theirs: [u8; N], whole: usize) -> [[u8; N]; 2] {
    let agreeing = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let whole = if agreeing < whole { whole } else { agreeing + 1 };
    [ours, theirs].map(|mut bytes| {
        bytes.iter_mut().skip(whole).for_each(|byte| *byte &= 0x55);
        bytes
    })
}

fn checksum<const N: usize>(mut pair: [[u8; N]; 2]) -> u32 {
    pair.sort_unstable();
    CRC32C.checksum(pair.as_flattened())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(ours: &str, theirs: &str, expected: u32) {
        let read = |text: &str| SocketAddr::new(text.parse().unwrap(), 6_881);
        assert_eq!(priority(read(ours), read(theirs)), expected, "{ours} {theirs}");
    }

    #[test]
    fn the_vectors_of_bep_40_agree() {
        check("123.213.32.10", "98.76.54.32", 0xec2d_7224);
        check("123.213.32.10", "123.213.32.234", 0x9956_8189);
    }

    #[test]
    fn the_nearer_two_addresses_are_the_more_of_them_counts() {
        let bytes = |ours, theirs| masked(ours, theirs, 2);
        assert_eq!(
            bytes([1, 2, 255, 255], [1, 3, 255, 255]),
            [[1, 2, 0x55, 0x55], [1, 3, 0x55, 0x55]]
        );
        assert_eq!(
            bytes([1, 2, 255, 255], [1, 2, 254, 255]),
            [[1, 2, 255, 0x55], [1, 2, 254, 0x55]]
        );
        assert_eq!(
            bytes([1, 2, 3, 255], [1, 2, 3, 254]),
            [[1, 2, 3, 255], [1, 2, 3, 254]]
        );
    }

    #[test]
    fn of_one_address_the_ports_decide() {
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        assert_eq!(priority(at(1), at(2)), CRC32C.checksum(&[0, 1, 0, 2]));
        assert_ne!(priority(at(1), at(2)), priority(at(1), at(3)));
    }

    proptest! {
        #[test]
        fn both_sides_agree(ours: SocketAddr, theirs: SocketAddr) {
            prop_assert_eq!(priority(ours, theirs), priority(theirs, ours));
        }
    }
}
