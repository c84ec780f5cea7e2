//! Which pieces somebody has: one bit a piece, the first piece in the highest bit of the first byte (BEP 3).

use crate::geometry::{Geometry, PieceIndex};

/// The bytes of a `bitfield` message do not fit the torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitfieldError {
    #[error("a bitfield of {actual} bytes, where the torrent needs {expected}")]
    Length { actual: usize, expected: usize },
    #[error("a bitfield with bits set past the last piece")]
    SpareBits,
}

/// The pieces of one torrent that somebody has. Spare bits are always zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Vec<u8>,
    piece_count: u32,
    ones: u32,
}

impl Bitfield {
    /// No piece at all.
    pub fn none(geometry: &Geometry) -> Self {
        let piece_count = geometry.piece_count();
        Self {
            bytes: vec![0; piece_count.div_ceil(8) as usize],
            piece_count,
            ones: 0,
        }
    }

    /// Every piece.
    pub fn all(geometry: &Geometry) -> Self {
        let mut bits = Self::none(geometry);
        for piece in geometry.pieces() {
            bits.set(piece);
        }
        bits
    }

    /// Reads the payload of a `bitfield` message: the exact length, and no bit past the last piece.
    pub fn from_bytes(geometry: &Geometry, bytes: &[u8]) -> Result<Self, BitfieldError> {
        let expected = geometry.piece_count().div_ceil(8) as usize;
        if bytes.len() != expected {
            return Err(BitfieldError::Length {
                actual: bytes.len(),
                expected,
            });
        }
        let used = geometry.piece_count() % 8;
        if used != 0 && bytes.last().is_some_and(|last| last << used != 0) {
            return Err(BitfieldError::SpareBits);
        }
        let ones = bytes.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self {
            bytes: bytes.to_vec(),
            piece_count: geometry.piece_count(),
            ones,
        })
    }

    /// The payload of a `bitfield` message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Is this piece there?
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.bytes
            .get(piece.as_usize() / 8)
            .is_some_and(|byte| byte & mask(piece) != 0)
    }

    /// Adds a piece; says whether it was missing.
    pub fn set(&mut self, piece: PieceIndex) -> bool {
        let missing = !self.has(piece);
        if let Some(byte) = self.bytes.get_mut(piece.as_usize() / 8).filter(|_| missing) {
            *byte |= mask(piece);
            self.ones += 1;
        }
        missing
    }

    /// Takes a piece away; says whether it was there.
    pub fn unset(&mut self, piece: PieceIndex) -> bool {
        let there = self.has(piece);
        if let Some(byte) = self.bytes.get_mut(piece.as_usize() / 8).filter(|_| there) {
            *byte &= !mask(piece);
            self.ones -= 1;
        }
        there
    }

    /// Adds all pieces of another bitfield of the same torrent.
    pub fn include(&mut self, other: &Self) {
        for (byte, more) in self.bytes.iter_mut().zip(&other.bytes) {
            *byte |= more;
        }
        self.ones = self.bytes.iter().map(|byte| byte.count_ones()).sum();
    }

    /// How many pieces are there.
    pub const fn count(&self) -> u32 {
        self.ones
    }

    /// Every piece is there.
    pub const fn is_complete(&self) -> bool {
        self.ones == self.piece_count
    }

    /// No piece is there.
    pub const fn is_empty(&self) -> bool {
        self.ones == 0
    }
}

const fn mask(piece: PieceIndex) -> u8 {
    0x80 >> (piece.number() % 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ten() -> Geometry {
        Geometry::v1(16_384, 10 * 16_384).unwrap()
    }

    #[test]
    fn the_first_piece_is_the_highest_bit() {
        let geometry = ten();
        let mut bits = Bitfield::none(&geometry);
        assert!(bits.set(geometry.piece(0).unwrap()));
        assert!(!bits.set(geometry.piece(0).unwrap()));
        assert!(bits.set(geometry.piece(9).unwrap()));
        assert_eq!((bits.as_bytes(), bits.count()), (&[0x80, 0x40][..], 2));
        assert!(bits.unset(geometry.piece(0).unwrap()));
        assert_eq!(bits.count(), 1);
    }

    #[test]
    fn a_bitfield_from_the_wire_must_fit_exactly() {
        let geometry = ten();
        assert_eq!(
            Bitfield::from_bytes(&geometry, &[0xff]),
            Err(BitfieldError::Length {
                actual: 1,
                expected: 2
            })
        );
        assert_eq!(
            Bitfield::from_bytes(&geometry, &[0xff, 0xe0]),
            Err(BitfieldError::SpareBits)
        );
        let full = Bitfield::from_bytes(&geometry, &[0xff, 0xc0]).unwrap();
        assert!(full.is_complete());
        assert_eq!(full, Bitfield::all(&geometry));
    }
}
