//! Missing pieces in the order of their availability, the rarest first. One array with a border between every two counts:
//! a piece that gains or loses a peer changes places with the one at the border, so nothing is ever sorted or searched.
//!
//! ```text
//! pieces   9 2 7 | 4 0 | 1 5 3 8
//! peers      0      1       2
//! ```

use rand::Rng;
use rand::seq::SliceRandom;
use shared::geometry::{Geometry, PieceIndex};

/// Not in the order.
const ABSENT: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Order {
    pieces: Vec<PieceIndex>,
    /// By piece: where it stands in `pieces`.
    place: Vec<u32>,
    /// By piece, present or not: how many peers have it, those who have everything not counted.
    availability: Vec<u16>,
    /// By count: where its pieces begin. The last entry is the length of `pieces`.
    begin: Vec<usize>,
}

impl Order {
    /// All pieces that are wanted, nobody having any, in an order of our own: so that two leechers begin differently.
    pub(super) fn new(geometry: &Geometry, wanted: impl Fn(PieceIndex) -> bool, rng: &mut impl Rng) -> Self {
        let mut pieces: Vec<PieceIndex> = geometry.pieces().filter(|piece| wanted(*piece)).collect();
        pieces.shuffle(rng);
        let count = geometry.piece_count() as usize;
        let mut place = vec![ABSENT; count];
        for (at, piece) in (0_u32..).zip(&pieces) {
            set(&mut place, *piece, at);
        }
        let begin = vec![0, pieces.len()];
        Self {
            pieces,
            place,
            availability: vec![0; count],
            begin,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn contains(&self, piece: PieceIndex) -> bool {
        self.place_of(piece).is_some()
    }

    /// How many peers have it, those who have everything not counted.
    pub(super) fn availability(&self, piece: PieceIndex) -> usize {
        self.availability
            .get(piece.as_usize())
            .copied()
            .unwrap_or_default()
            .into()
    }

    /// The rarest first. Without `everything`, pieces that only those have who have everything are left out.
    pub(super) fn rarest(&self, everything: bool) -> &[PieceIndex] {
        let from = if everything { 0 } else { self.begin_of(1) };
        self.pieces.get(from..).unwrap_or_default()
    }

    /// One more peer has it.
    pub(super) fn more(&mut self, piece: PieceIndex) {
        let count = self.availability(piece);
        self.count(piece, |count| count.saturating_add(1));
        if let Some(place) = self.place_of(piece) {
            if self.begin.len() < count + 3 {
                self.begin.push(self.pieces.len());
            }
            let last = self.begin_of(count + 1) - 1;
            self.swap(place, last);
            self.shift(count + 1, last);
        }
    }

    /// One peer fewer has it.
    pub(super) fn fewer(&mut self, piece: PieceIndex) {
        let count = self.availability(piece);
        debug_assert!(count > 0, "{piece:?} had no peer to lose");
        self.count(piece, |count| count.saturating_sub(1));
        if let Some(place) = self.place_of(piece).filter(|_| count > 0) {
            let first = self.begin_of(count);
            self.swap(place, first);
            self.shift(count, first + 1);
        }
    }

    /// It is missing no more, or somebody has begun it.
    pub(super) fn remove(&mut self, piece: PieceIndex) -> bool {
        let Some(mut place) = self.place_of(piece) else {
            return false;
        };
        for count in self.availability(piece) + 1..self.begin.len() {
            let last = self.begin_of(count) - 1;
            self.swap(place, last);
            self.shift(count, last);
            place = last;
        }
        self.pieces.pop();
        set(&mut self.place, piece, ABSENT);
        true
    }

    /// It is missing again.
    pub(super) fn insert(&mut self, piece: PieceIndex) {
        if self.contains(piece) {
            return;
        }
        let count = self.availability(piece);
        while self.begin.len() < count + 2 {
            self.begin.push(self.pieces.len());
        }
        let mut place = self.pieces.len();
        self.pieces.push(piece);
        set(&mut self.place, piece, u32::try_from(place).unwrap_or(ABSENT));
        let top = self.begin.len() - 1;
        self.shift(top, place + 1);
        for count in (count + 1..top).rev() {
            let first = self.begin_of(count);
            self.swap(place, first);
            self.shift(count, first + 1);
            place = first;
        }
    }

    fn place_of(&self, piece: PieceIndex) -> Option<usize> {
        self.place
            .get(piece.as_usize())
            .copied()
            .filter(|place| *place != ABSENT)
            .map(|place| place as usize)
    }

    fn begin_of(&self, count: usize) -> usize {
        self.begin.get(count).copied().unwrap_or(self.pieces.len())
    }

    fn shift(&mut self, count: usize, to: usize) {
        if let Some(begin) = self.begin.get_mut(count) {
            *begin = to;
        }
    }

    fn count(&mut self, piece: PieceIndex, change: impl Fn(u16) -> u16) {
        if let Some(count) = self.availability.get_mut(piece.as_usize()) {
            *count = change(*count);
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.pieces.swap(a, b);
        for at in [a, b] {
            if let (Some(piece), Ok(number)) = (self.pieces.get(at), u32::try_from(at)) {
                set(&mut self.place, *piece, number);
            }
        }
    }

    /// Places, counts and borders agree.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.begin.first(), Some(&0));
        assert_eq!(self.begin.last(), Some(&self.pieces.len()));
        assert!(self.begin.is_sorted(), "{:?}", self.begin);
        for (at, piece) in self.pieces.iter().enumerate() {
            assert_eq!(self.place_of(*piece), Some(at));
            let count = self.availability(*piece);
            assert!(
                (self.begin_of(count)..self.begin_of(count + 1)).contains(&at),
                "{self:?}"
            );
        }
        assert_eq!(
            self.place.iter().filter(|place| **place != ABSENT).count(),
            self.pieces.len()
        );
    }
}

fn set(places: &mut [u32], piece: PieceIndex, place: u32) {
    if let Some(slot) = places.get_mut(piece.as_usize()) {
        *slot = place;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn order(piece_count: u64) -> (Geometry, Order) {
        let geometry = Geometry::v1(16_384, 16_384 * piece_count).unwrap();
        let order = Order::new(&geometry, |_| true, &mut SmallRng::seed_from_u64(3));
        (geometry, order)
    }

    #[test]
    fn pieces_stand_by_how_many_have_them() {
        let (geometry, mut order) = order(4);
        for number in [1, 2, 2, 3, 3, 3] {
            order.more(geometry.piece(number).unwrap());
        }
        let numbers = |pieces: &[PieceIndex]| pieces.iter().map(|piece| piece.number()).collect::<Vec<_>>();
        assert_eq!(numbers(order.rarest(true)), [0, 1, 2, 3]);
        assert_eq!(numbers(order.rarest(false)), [1, 2, 3]);
        order.fewer(geometry.piece(3).unwrap());
        order.fewer(geometry.piece(3).unwrap());
        order.fewer(geometry.piece(3).unwrap());
        order.more(geometry.piece(0).unwrap());
        assert_eq!(numbers(order.rarest(true)).first(), Some(&3));
    }

    proptest! {
        #[test]
        fn whatever_happens_borders_and_places_agree(steps in prop::collection::vec((0..4, 0_u32..12), 0..200)) {
            let (geometry, mut order) = order(12);
            for (step, number) in steps {
                let piece = geometry.piece(number).unwrap();
                match step {
                    0 => order.more(piece),
                    1 if order.availability(piece) > 0 => order.fewer(piece),
                    2 => _ = order.remove(piece),
                    3 => order.insert(piece),
                    _ => (),
                }
                order.check_invariants();
            }
        }
    }
}
