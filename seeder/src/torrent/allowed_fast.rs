//! Pieces that a newcomer gets although it is choked (BEP 6): everyone who computes its set computes the same, so that it
//! gains nothing by asking many.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sha1::{Digest, Sha1};
use shared::geometry::{Geometry, PieceIndex};
use shared::id::InfoHash;

/// BEP 6 sets ten pieces. Of small torrents it is a tenth of them, lest they be given away whole.
const SET_MAX: u32 = 10;

/// The set of a peer at this address: by BEP 6 for IPv4. For IPv6, where BEP 6 has no rule, ours is the same with the
/// network (/48) of the address in place of its first three bytes.
pub(super) fn allowed_fast(geometry: &Geometry, info_hash: InfoHash, address: IpAddr) -> Vec<PieceIndex> {
    let count = SET_MAX.min(geometry.piece_count().div_ceil(10));
    let numbers = canonical(count, geometry.piece_count(), info_hash, address);
    let pieces = numbers.into_iter().filter_map(|number| geometry.piece(number));
    pieces.collect()
}

/// So many pieces of this many, in the canonical order.
fn canonical(count: u32, piece_count: u32, info_hash: InfoHash, address: IpAddr) -> Vec<u32> {
    let (mut set, mut seen) = (Vec::new(), BTreeSet::new());
    let mut start = network(address);
    start.extend_from_slice(&info_hash.0);
    let mut hash = Sha1::digest(&start);
    // A set of a tenth of the pieces is full after a few rounds; the bound is for the eye.
    for _round in 0..1_000 {
        for chunk in hash.as_chunks::<4>().0 {
            let number = u32::from_be_bytes(*chunk) % piece_count.max(1);
            if (set.len() as u64) < u64::from(count) && seen.insert(number) {
                set.push(number);
            }
        }
        if set.len() as u64 >= u64::from(count) {
            break;
        }
        hash = Sha1::digest(hash);
    }
    set
}

fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            vec![a, b, c, 0]
        }
        IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            octets.iter_mut().skip(6).for_each(|octet| *octet = 0);
            octets.to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: InfoHash = InfoHash([0xaa; 20]);

    fn numbers(count: u32, address: &str) -> Vec<u32> {
        canonical(count, 1_313, HASH, address.parse().unwrap())
    }

    #[test]
    fn the_vectors_of_bep_6_agree() {
        let expected = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508];
        assert_eq!(numbers(7, "80.4.4.200"), expected[..7]);
        assert_eq!(numbers(9, "80.4.4.200"), expected);
        assert_eq!(numbers(9, "80.4.4.1"), expected);
        assert_eq!(numbers(9, "::ffff:80.4.4.1"), expected);
    }

    #[test]
    fn a_network_of_ipv6_has_one_set() {
        assert_eq!(numbers(9, "2001:db8:1:2::3"), numbers(9, "2001:db8:1:ffff::9"));
        assert_ne!(numbers(9, "2001:db8:1::"), numbers(9, "2001:db8:2::"));
    }

    #[test]
    fn a_small_torrent_is_not_given_away() {
        let set = |pieces: u64| {
            let geometry = Geometry::v1(16_384, pieces * 16_384).unwrap();
            allowed_fast(&geometry, HASH, [80, 4, 4, 200].into()).len()
        };
        assert_eq!([1, 10, 11, 95, 1_000].map(set), [1, 1, 2, 10, 10]);
    }

    proptest! {
        #[test]
        fn every_set_is_full_and_of_different_pieces(count in 1_u32..=10, pieces in 1_u32..5_000, ip: IpAddr) {
            let set = canonical(count.min(pieces.div_ceil(10)), pieces, HASH, ip);
            let distinct: BTreeSet<&u32> = set.iter().collect();
            prop_assert_eq!(distinct.len(), count.min(pieces.div_ceil(10)) as usize);
            prop_assert!(set.iter().all(|number| *number < pieces));
        }
    }
}
