//! Two bitfields at once, a byte at a time: a hundred thousand pieces are looked at in microseconds.

use shared::bitfield::Bitfield;
use shared::geometry::{Geometry, PieceIndex};

/// How many pieces are in both.
pub(super) fn count_both(a: &Bitfield, b: &Bitfield) -> u32 {
    let bytes = a.as_bytes().iter().zip(b.as_bytes());
    bytes.map(|(a, b)| (a & b).count_ones()).sum()
}

/// The pieces that are in both, in their order.
pub(super) fn both<'a>(
    geometry: &'a Geometry,
    a: &'a Bitfield,
    b: &'a Bitfield,
) -> impl Iterator<Item = PieceIndex> + 'a {
    let bytes = (0_u32..).zip(a.as_bytes().iter().zip(b.as_bytes()));
    let common = bytes
        .map(|(at, (a, b))| (at, a & b))
        .filter(|(_, byte)| *byte != 0);
    common.flat_map(move |(at, byte)| {
        let set = (0_u32..8).filter(move |bit| byte & (0x80 >> bit) != 0);
        set.filter_map(move |bit| geometry.piece(at * 8 + bit))
    })
}

/// All pieces of one.
pub(super) fn all<'a>(geometry: &'a Geometry, bits: &'a Bitfield) -> impl Iterator<Item = PieceIndex> + 'a {
    both(geometry, bits, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_both_is_found_and_counted() {
        let geometry = Geometry::v1(16_384, 19 * 16_384).unwrap();
        let bits = |bytes: &[u8]| Bitfield::from_bytes(&geometry, bytes).unwrap();
        let (a, b) = (bits(&[0b1100_0001, 0, 0x60]), bits(&[0b0100_0001, 0xff, 0x40]));
        let numbers: Vec<u32> = both(&geometry, &a, &b).map(PieceIndex::number).collect();
        assert_eq!(numbers, [1, 7, 17]);
        assert_eq!(count_both(&a, &b), 3);
        assert_eq!(all(&geometry, &a).count(), 5);
    }
}
