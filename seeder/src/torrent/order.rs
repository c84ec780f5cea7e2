//! Missing pieces in the order of their availability, the rarest first; one such order for each priority. One array with a
//! border between every two counts: a piece that gains or loses a peer changes places with the one at the border, so nothing
//! is ever sorted or searched.
//!
//! ```text
//! pieces   9 2 7 | 4 0 | 1 5 3 8
//! peers      0      1       2
//! ```

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use rand::Rng;
use rand::seq::SliceRandom;
use shared::bitfield::Bitfield;
use shared::geometry::{Geometry, PieceIndex};

use super::events::Priority;
use super::wanted::Wanted;

/// Not in the order.
const ABSENT: u32 = u32::MAX;

/// Most wanted first, then from the first to the last.
pub(super) type Rank = (Reverse<Priority>, PieceIndex);

#[derive(Debug)]
pub(super) struct Order {
    wanted: Arc<Wanted>,
    high: Class,
    normal: Class,
    low: Class,
    /// All that is in the classes.
    missing: Bitfield,
    /// By piece: where it stands in its class.
    place: Vec<u32>,
    /// By piece, present or not: how many peers have it, those who have everything not counted.
    availability: Vec<u16>,
    /// The same pieces by rank, where they are wanted one after the other.
    line: Option<BTreeSet<Rank>>,
}

/// Pieces of one priority.
#[derive(Debug, Default)]
struct Class {
    pieces: Vec<PieceIndex>,
    /// By count: where its pieces begin. The last entry is the length of `pieces`.
    begin: Vec<usize>,
}

impl Order {
    /// These pieces, nobody having any, in an order of our own: so that two leechers begin differently.
    pub(super) fn new(
        geometry: &Geometry,
        missing: Bitfield,
        wanted: Arc<Wanted>,
        rng: &mut impl Rng,
    ) -> Self {
        let count = geometry.piece_count() as usize;
        let mut order = Self {
            high: Class::default(),
            normal: Class::default(),
            low: Class::default(),
            missing: Bitfield::none(geometry),
            place: Vec::new(),
            availability: vec![0; count],
            line: None,
            wanted: Arc::clone(&wanted),
        };
        order.arrange(geometry, missing, wanted, rng);
        order
    }

    /// Begins anew with these pieces and wishes. What peers have stays counted.
    pub(super) fn arrange(
        &mut self,
        geometry: &Geometry,
        missing: Bitfield,
        wanted: Arc<Wanted>,
        rng: &mut impl Rng,
    ) {
        let mut pieces: Vec<PieceIndex> = super::bits::all(geometry, &missing).collect();
        pieces.shuffle(rng);
        pieces.sort_by_key(|piece| self.availability(*piece));
        self.place = vec![ABSENT; self.availability.len()];
        for priority in [Priority::High, Priority::Normal, Priority::Low] {
            let of_it = pieces.iter().filter(|piece| wanted.of(**piece) == priority);
            let class = Class::new(of_it.copied().collect(), &self.availability);
            for (at, piece) in (0_u32..).zip(&class.pieces) {
                set(&mut self.place, *piece, at);
            }
            if let Some(place) = self.class_mut(priority) {
                *place = class;
            }
        }
        let rank = |piece: &PieceIndex| (Reverse(wanted.of(*piece)), *piece);
        self.line = wanted.is_sequential().then(|| pieces.iter().map(rank).collect());
        self.missing = missing;
        self.wanted = wanted;
    }

    pub(super) fn len(&self) -> usize {
        self.missing.count() as usize
    }

    pub(super) fn contains(&self, piece: PieceIndex) -> bool {
        self.missing.has(piece)
    }

    pub(super) fn missing(&self) -> &Bitfield {
        &self.missing
    }

    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub(super) fn rank(&self, piece: PieceIndex) -> Rank {
        (Reverse(self.wanted.of(piece)), piece)
    }

    /// The missing pieces one after the other, if they are wanted so.
    pub(super) fn line(&self) -> Option<&BTreeSet<Rank>> {
        self.line.as_ref()
    }

    /// How many peers have it, those who have everything not counted.
    pub(super) fn availability(&self, piece: PieceIndex) -> usize {
        count_of(&self.availability, piece)
    }

    /// The rarest of this priority first. Without `everything`, pieces that only those have who have everything are left out.
    pub(super) fn rarest(&self, priority: Priority, everything: bool) -> &[PieceIndex] {
        let Some(class) = self.class(priority) else {
            return &[];
        };
        let from = if everything { 0 } else { class.begin_of(1) };
        class.pieces.get(from..).unwrap_or_default()
    }

    /// One more peer has it.
    pub(super) fn more(&mut self, piece: PieceIndex) {
        let count = self.availability(piece);
        self.count(piece, |count| count.saturating_add(1));
        self.at(piece, |class, places, at| class.rise(places, at, count));
    }

    /// One peer fewer has it.
    pub(super) fn fewer(&mut self, piece: PieceIndex) {
        let count = self.availability(piece);
        debug_assert!(count > 0, "{piece:?} had no peer to lose");
        self.count(piece, |count| count.saturating_sub(1));
        if count > 0 {
            self.at(piece, |class, places, at| class.sink(places, at, count));
        }
    }

    /// It is missing no more, or somebody has begun it.
    pub(super) fn remove(&mut self, piece: PieceIndex) -> bool {
        let count = self.availability(piece);
        self.at(piece, |class, places, at| class.take_out(places, at, count));
        set(&mut self.place, piece, ABSENT);
        let rank = self.rank(piece);
        if let Some(line) = &mut self.line {
            line.remove(&rank);
        }
        self.missing.unset(piece)
    }

    /// It is missing again. What nobody wants is not missed.
    pub(super) fn insert(&mut self, piece: PieceIndex) -> bool {
        let priority = self.wanted.of(piece);
        if self.contains(piece) || priority == Priority::Skip {
            return false;
        }
        let (count, rank) = (self.availability(piece), self.rank(piece));
        let mut places = std::mem::take(&mut self.place);
        if let Some(class) = self.class_mut(priority) {
            class.put_in(&mut places, piece, count);
        }
        self.place = places;
        if let Some(line) = &mut self.line {
            line.insert(rank);
        }
        self.missing.set(piece)
    }

    /// Does something with the class of a piece that is in it.
    fn at(&mut self, piece: PieceIndex, act: impl FnOnce(&mut Class, &mut [u32], usize)) {
        let Some(at) = self.place_of(piece) else { return };
        let mut places = std::mem::take(&mut self.place);
        if let Some(class) = self.class_mut(self.wanted.of(piece)) {
            act(class, &mut places, at);
        }
        self.place = places;
    }

    fn class(&self, priority: Priority) -> Option<&Class> {
        match priority {
            Priority::High => Some(&self.high),
            Priority::Normal => Some(&self.normal),
            Priority::Low => Some(&self.low),
            Priority::Skip => None,
        }
    }

    fn class_mut(&mut self, priority: Priority) -> Option<&mut Class> {
        match priority {
            Priority::High => Some(&mut self.high),
            Priority::Normal => Some(&mut self.normal),
            Priority::Low => Some(&mut self.low),
            Priority::Skip => None,
        }
    }

    fn place_of(&self, piece: PieceIndex) -> Option<usize> {
        let place = self.place.get(piece.as_usize()).copied();
        place.filter(|place| *place != ABSENT).map(|place| place as usize)
    }

    fn count(&mut self, piece: PieceIndex, change: impl Fn(u16) -> u16) {
        if let Some(count) = self.availability.get_mut(piece.as_usize()) {
            *count = change(*count);
        }
    }

    /// Bytes of memory that it holds beside itself.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let class = |class: &Class| class.pieces.capacity() * 4 + class.begin.capacity() * 8;
        let line = self
            .line
            .as_ref()
            .map_or(0, |line| line.len() * size_of::<Rank>() * 2);
        let classes = class(&self.high) + class(&self.normal) + class(&self.low);
        classes
            + self.place.capacity() * 4
            + self.availability.capacity() * 2
            + self.missing.as_bytes().len()
            + line
            + self.wanted.heap()
    }

    /// Places, counts and borders agree.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        let mut standing = 0;
        for priority in [Priority::High, Priority::Normal, Priority::Low] {
            let Some(class) = self.class(priority) else {
                continue;
            };
            assert_eq!(class.begin.first(), Some(&0));
            assert_eq!(class.begin.last(), Some(&class.pieces.len()));
            assert!(class.begin.is_sorted(), "{:?}", class.begin);
            for (at, piece) in class.pieces.iter().enumerate() {
                assert_eq!(self.place_of(*piece), Some(at));
                assert_eq!(self.wanted.of(*piece), priority);
                assert!(self.contains(*piece));
                let count = self.availability(*piece);
                assert!(
                    (class.begin_of(count)..class.begin_of(count + 1)).contains(&at),
                    "{self:?}"
                );
            }
            standing += class.pieces.len();
        }
        assert_eq!(standing, self.len());
        let placed = self.place.iter().filter(|place| **place != ABSENT).count();
        assert_eq!(placed, standing);
        assert!(self.line.as_ref().is_none_or(|line| line.len() == standing));
    }
}

impl Class {
    /// These pieces, which stand by their counts already.
    fn new(pieces: Vec<PieceIndex>, availability: &[u16]) -> Self {
        let mut begin = vec![0];
        for (at, piece) in pieces.iter().enumerate() {
            while begin.len() <= count_of(availability, *piece) {
                begin.push(at);
            }
        }
        begin.push(pieces.len());
        Self { pieces, begin }
    }

    fn begin_of(&self, count: usize) -> usize {
        self.begin.get(count).copied().unwrap_or(self.pieces.len())
    }

    fn shift(&mut self, count: usize, to: usize) {
        if let Some(begin) = self.begin.get_mut(count) {
            *begin = to;
        }
    }

    /// The piece at this place, which had this count, has one more.
    fn rise(&mut self, places: &mut [u32], at: usize, count: usize) {
        while self.begin.len() < count + 3 {
            self.begin.push(self.pieces.len());
        }
        let last = self.begin_of(count + 1).saturating_sub(1);
        self.swap(places, at, last);
        self.shift(count + 1, last);
    }

    /// The piece at this place, which had this count, has one fewer.
    fn sink(&mut self, places: &mut [u32], at: usize, count: usize) {
        let first = self.begin_of(count);
        self.swap(places, at, first);
        self.shift(count, first + 1);
    }

    fn take_out(&mut self, places: &mut [u32], mut at: usize, count: usize) {
        for count in count + 1..self.begin.len() {
            let last = self.begin_of(count).saturating_sub(1);
            self.swap(places, at, last);
            self.shift(count, last);
            at = last;
        }
        self.pieces.pop();
    }

    fn put_in(&mut self, places: &mut [u32], piece: PieceIndex, count: usize) {
        while self.begin.len() < count + 2 {
            self.begin.push(self.pieces.len());
        }
        let mut at = self.pieces.len();
        self.pieces.push(piece);
        set(places, piece, u32::try_from(at).unwrap_or(ABSENT));
        let top = self.begin.len() - 1;
        self.shift(top, at + 1);
        for count in (count + 1..top).rev() {
            let first = self.begin_of(count);
            self.swap(places, at, first);
            self.shift(count, first + 1);
            at = first;
        }
    }

    fn swap(&mut self, places: &mut [u32], a: usize, b: usize) {
        self.pieces.swap(a, b);
        for at in [a, b] {
            if let (Some(piece), Ok(number)) = (self.pieces.get(at), u32::try_from(at)) {
                set(places, *piece, number);
            }
        }
    }
}

fn set(places: &mut [u32], piece: PieceIndex, place: u32) {
    if let Some(slot) = places.get_mut(piece.as_usize()) {
        *slot = place;
    }
}

fn count_of(availability: &[u16], piece: PieceIndex) -> usize {
    let count = availability.get(piece.as_usize()).copied();
    count.unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::super::events::{FileSpan, Wishes};
    use super::*;

    /// Pieces that are a file each.
    fn wishes(geometry: &Geometry, files: &[Priority], sequential: bool) -> Arc<Wanted> {
        let spans: Vec<FileSpan> = geometry
            .pieces()
            .map(|piece| FileSpan {
                start: geometry.start_of(piece),
                length: geometry.length_of(piece).into(),
                padding: false,
            })
            .collect();
        let wishes = Wishes {
            files: files.into(),
            sequential,
        };
        Arc::new(Wanted::new(geometry, &spans, &wishes))
    }

    fn order(piece_count: u64) -> (Geometry, Order) {
        let geometry = Geometry::v1(16_384, 16_384 * piece_count).unwrap();
        let order = Order::new(
            &geometry,
            Bitfield::all(&geometry),
            wishes(&geometry, &[], false),
            &mut SmallRng::seed_from_u64(3),
        );
        (geometry, order)
    }

    #[test]
    fn pieces_stand_by_how_many_have_them() {
        let (geometry, mut order) = order(4);
        for number in [1, 2, 2, 3, 3, 3] {
            order.more(geometry.piece(number).unwrap());
        }
        let numbers = |pieces: &[PieceIndex]| pieces.iter().map(|piece| piece.number()).collect::<Vec<_>>();
        assert_eq!(numbers(order.rarest(Priority::Normal, true)), [0, 1, 2, 3]);
        assert_eq!(numbers(order.rarest(Priority::Normal, false)), [1, 2, 3]);
        order.fewer(geometry.piece(3).unwrap());
        order.fewer(geometry.piece(3).unwrap());
        order.fewer(geometry.piece(3).unwrap());
        order.more(geometry.piece(0).unwrap());
        assert_eq!(numbers(order.rarest(Priority::Normal, true)).first(), Some(&3));
    }

    proptest! {
        #[test]
        fn whatever_happens_borders_and_places_agree(steps in prop::collection::vec((0..6, 0_u32..12), 0..200)) {
            let (geometry, mut order) = order(12);
            for (step, number) in steps {
                let piece = geometry.piece(number).unwrap();
                match step {
                    0 => order.more(piece),
                    1 if order.availability(piece) > 0 => order.fewer(piece),
                    2 => _ = order.remove(piece),
                    3 => _ = order.insert(piece),
                    4 => {
                        let mut files = [Priority::Normal; 12];
                        files[number as usize] = Priority::Skip;
                        files[(number as usize + 3) % 12] = Priority::High;
                        let mut missing = order.missing().clone();
                        missing.unset(piece);
                        let wanted = wishes(&geometry, &files, number % 2 == 0);
                        order.arrange(&geometry, missing, wanted, &mut SmallRng::seed_from_u64(1));
                    }
                    _ => (),
                }
                order.check_invariants();
            }
        }
    }
}
