//! A peer's record in each family: the bytes of the wire, then two bytes of time.

use std::fmt::Debug;
use std::hash::Hash;

use shared::compact::{LENGTH_V4, LENGTH_V6};

use super::tick::Tick;

/// What an array of peers is made of.
pub(super) trait Record: Copy + Debug + PartialEq {
    /// The peer as a compact reply holds it.
    type Wire: Copy + Debug + Eq + Ord + Hash + AsRef<[u8]>;
    /// Fills places in an array that nobody has taken.
    const EMPTY: Self;

    fn new(wire: Self::Wire, heard: Tick) -> Self;
    fn wire(&self) -> Self::Wire;
    fn heard(&self) -> Tick;
    /// The same address and port, whenever heard?
    fn same_peer(&self, other: &Self) -> bool;
}

/// IPv4: one number, so that a search compares a word a peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct V4(u64);

impl Record for V4 {
    type Wire = [u8; LENGTH_V4];
    const EMPTY: Self = Self(0);

    fn new([a, b, c, d, high, low]: Self::Wire, Tick(heard): Tick) -> Self {
        let [first, second] = heard.to_be_bytes();
        Self(u64::from_be_bytes([a, b, c, d, high, low, first, second]))
    }

    fn wire(&self) -> Self::Wire {
        let [wire @ .., _, _] = self.0.to_be_bytes();
        wire
    }

    fn heard(&self) -> Tick {
        let [.., first, second] = self.0.to_be_bytes();
        Tick(u16::from_be_bytes([first, second]))
    }

    fn same_peer(&self, other: &Self) -> bool {
        (self.0 ^ other.0) >> 16 == 0
    }
}

/// IPv6: twenty bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct V6 {
    wire: [u8; LENGTH_V6],
    heard: Tick,
}

impl Record for V6 {
    type Wire = [u8; LENGTH_V6];
    const EMPTY: Self = Self {
        wire: [0; LENGTH_V6],
        heard: Tick(0),
    };

    fn new(wire: Self::Wire, heard: Tick) -> Self {
        Self { wire, heard }
    }

    fn wire(&self) -> Self::Wire {
        self.wire
    }

    fn heard(&self) -> Tick {
        self.heard
    }

    fn same_peer(&self, other: &Self) -> bool {
        self.wire == other.wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_wire_form_and_two_bytes() {
        assert_eq!((size_of::<V4>(), size_of::<V6>()), (8, 20));
        let record = V4::new([1, 2, 3, 4, 5, 6], Tick(0x0708));
        assert_eq!(
            (record.wire(), record.heard()),
            ([1, 2, 3, 4, 5, 6], Tick(0x0708))
        );
        assert!(record.same_peer(&V4::new([1, 2, 3, 4, 5, 6], Tick(9))));
        assert!(!record.same_peer(&V4::new([1, 2, 3, 4, 5, 7], Tick(0x0708))));
    }
}
