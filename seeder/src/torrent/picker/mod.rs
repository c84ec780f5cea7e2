//! Which blocks to ask whom for: what is wanted most, of that begun pieces first, then the rarest, or the next where they are
//! wanted one after the other; the blocks of a piece in order; when everything is asked for, the same blocks from others too
//! (endgame). A piece is in exactly one of five states: unwanted, missing (it stands in the [`Order`]), begun, stored (all
//! blocks there, its hash awaited), or verified.

mod begun;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use shared::bitfield::Bitfield;
use shared::geometry::{Block, Geometry, PieceIndex};
use shared::moment::Moment;

use super::bits;
use super::blame::{Giver, Sent};
use super::events::{PeerKey, Priority};
use super::order::{Order, Rank};
use super::wanted::{Wanted, lacking};
use begun::{Begun, State};

/// Until so many pieces are verified, pieces are picked at random: a first piece to trade matters more than a rare one.
const RANDOM_FIRST: u32 = 4;
/// In the endgame no block is asked for from more peers than one above this.
const ENDGAME_ASKERS_MAX: u8 = 1;
/// So many of the rarest pieces are looked at one by one before a peer's own pieces are gone through.
const LOOKED_AT_MAX: usize = 1_024;
/// Whoever has a piece for himself and gives less than a block in this time is too slow.
const BLOCK_TIME: Duration = Duration::from_secs(1);

/// Who asks for something to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) peer: PeerKey,
    pub(super) has: &'a Bitfield,
    /// Pieces that it says it has, and refused a moment ago.
    pub(super) withheld: &'a BTreeMap<PieceIndex, Moment>,
    /// Missing pieces that it would give before others.
    pub(super) suggested: &'a [PieceIndex],
    /// Blocks that it is asked for already.
    pub(super) asked: &'a BTreeSet<Block>,
    /// How many of the missing pieces it has. Where there are none, nobody looks for them.
    pub(super) pickable: u32,
    /// The piece that it was asked for last.
    pub(super) last: Option<PieceIndex>,
    /// It gives long runs better than single blocks: whole pieces, one after the other.
    pub(super) runs: bool,
    /// Too slow for what is wanted next.
    pub(super) slow: bool,
}

impl Asker<'_> {
    fn gives(&self, piece: PieceIndex) -> bool {
        self.has.has(piece) && !self.withheld.contains_key(&piece)
    }
}

/// A block that comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arriving<'a> {
    pub(super) block: Block,
    pub(super) data: &'a [u8],
    pub(super) giver: Giver,
    /// Whether this very peer was asked for it.
    pub(super) owed: bool,
    /// What it sends is to be remembered.
    pub(super) watched: bool,
}

/// What an arriving block was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// New: to be stored. `others` says whether somebody else was asked for it, `last` whether the piece is whole now.
    Fresh { others: bool, last: bool },
    /// There already, or not wanted any more.
    Useless,
}

#[derive(Debug)]
pub(super) struct Picker {
    geometry: Geometry,
    have: Bitfield,
    /// Wanted, and not verified.
    lacking: Bitfield,
    order: Order,
    begun: BTreeMap<PieceIndex, Begun>,
    /// Those of the begun pieces that have a free block for anyone.
    open: BTreeSet<Rank>,
    /// Begun pieces that one peer has for itself, and is not done with.
    owned: BTreeMap<PieceIndex, PeerKey>,
    /// Pieces that were wrong: next time they come from one peer alone.
    contested: BTreeSet<PieceIndex>,
    /// How many pieces are fetched ahead where they are wanted one after the other.
    ahead: usize,
    /// Pieces that left (`false`) or joined (`true`) the missing ones since this was last taken.
    changes: Vec<(PieceIndex, bool)>,
}

impl Picker {
    pub(super) fn new(geometry: Geometry, have: Bitfield, wanted: Arc<Wanted>, rng: &mut impl Rng) -> Self {
        let lacking = lacking(&geometry, &have, &wanted);
        let order = Order::new(&geometry, lacking.clone(), wanted, rng);
        Self {
            geometry,
            have,
            lacking,
            order,
            begun: BTreeMap::new(),
            open: BTreeSet::new(),
            owned: BTreeMap::new(),
            contested: BTreeSet::new(),
            ahead: 1,
            changes: Vec::new(),
        }
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What is verified; for those who check that all agree.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Wanted, and not verified.
    pub(super) fn lacks(&self, piece: PieceIndex) -> bool {
        self.lacking.has(piece)
    }

    /// All that is wanted and not verified.
    pub(super) fn lacking(&self) -> &Bitfield {
        &self.lacking
    }

    /// Wanted, missing, and not begun.
    pub(super) fn is_missing(&self, piece: PieceIndex) -> bool {
        self.order.contains(piece)
    }

    pub(super) fn is_begun(&self, piece: PieceIndex) -> bool {
        self.begun.contains_key(&piece)
    }

    /// What is missing and not begun.
    pub(super) fn missing(&self) -> &Bitfield {
        self.order.missing()
    }

    /// One more peer, which does not have everything, has this piece.
    pub(super) fn more(&mut self, piece: PieceIndex) {
        self.order.more(piece);
    }

    /// One more peer, which does not have everything, has these pieces.
    pub(super) fn more_of(&mut self, bits: &Bitfield) {
        bits::all(&self.geometry, bits).for_each(|piece| self.order.more(piece));
    }

    /// One peer fewer has these pieces.
    pub(super) fn fewer_of(&mut self, bits: &Bitfield) {
        bits::all(&self.geometry, bits).for_each(|piece| self.order.fewer(piece));
    }

    /// One peer fewer has any but this piece.
    pub(super) fn fewer_but(&mut self, piece: PieceIndex) {
        let others = self.geometry.pieces().filter(|other| *other != piece);
        others.for_each(|other| self.order.fewer(other));
    }

    /// One peer fewer has this piece, or one that had everything lost it.
    pub(super) fn fewer(&mut self, piece: PieceIndex) {
        self.order.fewer(piece);
    }

    /// Which pieces left or joined the missing ones since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<(PieceIndex, bool)> {
        std::mem::take(&mut self.changes)
    }

    /// How many pieces are fetched ahead where they are wanted one after the other.
    pub(super) fn read_ahead(&mut self, pieces: usize) {
        self.ahead = pieces.max(1);
    }

    /// Other pieces are wanted now, or in another order. Gives the begun pieces that are wanted no more and not whole: they
    /// are forgotten, and whoever owes blocks of them may be told. What stands in [`Self::take_changes`] is void.
    pub(super) fn want(&mut self, wanted: Arc<Wanted>, rng: &mut impl Rng) -> Vec<PieceIndex> {
        let unwanted = |(piece, begun): (&PieceIndex, &Begun)| {
            (!wanted.wants(*piece) && !begun.is_stored()).then_some(*piece)
        };
        let dropped: Vec<PieceIndex> = self.begun.iter().filter_map(unwanted).collect();
        for piece in &dropped {
            self.begun.remove(piece);
            self.owned.remove(piece);
        }
        self.lacking = lacking(&self.geometry, &self.have, &wanted);
        let mut missing = self.lacking.clone();
        for piece in self.begun.keys() {
            missing.unset(*piece);
        }
        self.order.arrange(&self.geometry, missing, wanted, rng);
        let open = self
            .begun
            .iter()
            .filter(|(_, begun)| begun.has_free() && begun.owner.is_none());
        self.open = open.map(|(piece, _)| self.order.rank(*piece)).collect();
        self.changes.clear();
        dropped
    }

    /// A verified piece is there no more.
    pub(super) fn lost(&mut self, piece: PieceIndex) {
        if self.have.unset(piece) && self.order.insert(piece) {
            self.lacking.set(piece);
            self.changes.push((piece, true));
        }
    }

    /// A piece that was missing is there, and nobody was asked for it.
    pub(super) fn found(&mut self, piece: PieceIndex) {
        self.abandon_piece(piece);
        if self.order.remove(piece) {
            self.changes.push((piece, false));
        }
        self.lacking.unset(piece);
        self.have.set(piece);
    }

    /// Picks up to `room` blocks and counts them as asked for.
    pub(super) fn pick(
        &mut self,
        now: Moment,
        asker: &Asker<'_>,
        room: usize,
        rng: &mut impl Rng,
    ) -> Vec<Block> {
        let mut picked = Vec::new();
        let mut asker = *asker;
        while picked.len() < room {
            let Some(piece) = self.piece_for(now, &asker, rng) else {
                break;
            };
            let before = picked.len();
            self.take_free(piece, room, &mut picked);
            debug_assert!(picked.len() > before, "an open piece without a free block");
            if picked.len() == before {
                break;
            }
            asker.last = Some(piece);
        }
        picked
    }

    /// Picks free blocks of one piece only; it may be begun for that. For pieces that a choking peer still gives.
    pub(super) fn pick_from(
        &mut self,
        now: Moment,
        piece: PieceIndex,
        asker: &Asker<'_>,
        room: usize,
    ) -> Vec<Block> {
        let mut picked = Vec::new();
        if asker.gives(piece) {
            if self.is_missing(piece) {
                self.begin(now, piece, asker.peer);
            }
            let open = self.begun.get(&piece);
            if open.is_some_and(|begun| begun.is_open_to(asker.peer)) {
                self.take_free(piece, room, &mut picked);
            }
        }
        picked
    }

    /// Every missing block is asked for from somebody.
    pub(super) fn is_endgame(&self) -> bool {
        self.order.len() == 0 && self.open.is_empty()
    }

    /// In the endgame: up to `room` blocks that others owe us, those asked for least often first.
    pub(super) fn pick_again(&mut self, asker: &Asker<'_>, room: usize, rng: &mut impl Rng) -> Vec<Block> {
        if !self.is_endgame() {
            return Vec::new();
        }
        let mut owed = Vec::new();
        for (piece, begun) in &self.begun {
            if begun.is_stored() || begun.owner.is_some() || !asker.gives(*piece) {
                continue;
            }
            for (block, state) in self.geometry.blocks(*piece).zip(begun.states()) {
                if let State::Asked(times @ 1..=ENDGAME_ASKERS_MAX) = state
                    && !asker.asked.contains(&block)
                {
                    owed.push((*times, rng.random::<u32>(), block));
                }
            }
        }
        owed.sort_unstable();
        owed.truncate(room);
        let picked: Vec<Block> = owed.into_iter().map(|(_, _, block)| block).collect();
        for block in &picked {
            if let Some(begun) = self.begun.get_mut(&block.piece()) {
                begun.ask_again(*block);
            }
        }
        picked
    }

    /// A peer owes us this block no more. What nobody owes anything of, and nothing is there of, is missing again; so is what
    /// one peer had for itself and owes nothing of any more.
    pub(super) fn release(&mut self, block: Block) {
        let piece = block.piece();
        let Some(begun) = self.begun.get_mut(&piece) else {
            return;
        };
        if !begun.release(block) {
            return;
        }
        let given_up = begun.owner.is_some() && !begun.is_owed();
        if begun.is_untouched() || given_up {
            self.abandon_piece(piece);
        } else if begun.owner.is_none() {
            self.open.insert(self.order.rank(piece));
        }
    }

    /// The same, for a block that came but cannot be kept.
    pub(super) fn release_if(&mut self, owed: bool, block: Block) {
        if owed {
            self.release(block);
        }
    }

    /// The pieces that this peer has for itself are given to everyone, from the start, so that their hashes accuse nobody wrongly.
    pub(super) fn disown(&mut self, peer: PeerKey) {
        let owned = self.owned.iter();
        let its = owned.filter_map(|(piece, owner)| (*owner == peer).then_some(*piece));
        for piece in its.collect::<Vec<_>>() {
            self.abandon_piece(piece);
        }
    }

    /// Peers that have a piece for themselves, and gave nothing of it for so long, or too little all the time.
    pub(super) fn slow_owners(&self, now: Moment, patience: Duration) -> BTreeSet<PeerKey> {
        let slow = self.owned.iter().filter(|(piece, _)| {
            self.begun.get(piece).is_some_and(|begun| {
                let blocks = u32::try_from(begun.block_count()).unwrap_or(u32::MAX);
                let whole = patience + BLOCK_TIME * blocks;
                now.since(begun.moved) > patience || now.since(begun.since) > whole
            })
        });
        slow.map(|(_, owner)| *owner).collect()
    }

    /// A block has arrived.
    pub(super) fn arrived(&mut self, now: Moment, arriving: &Arriving<'_>) -> Arrival {
        let piece = arriving.block.piece();
        let Some(begun) = self.begun.get_mut(&piece) else {
            return Arrival::Useless;
        };
        // It came late, from a peer that has its own reasons: a piece for one peer alone stays pure.
        if !arriving.owed && begun.owner.is_some() {
            return Arrival::Useless;
        }
        let Some(others) = begun.store(arriving.block, arriving.owed) else {
            return Arrival::Useless;
        };
        let remembered = arriving.watched || begun.owner.is_some();
        let data = remembered.then_some(arriving.data);
        begun.sent.note(arriving.giver, arriving.block, data);
        begun.moved = now;
        let last = begun.is_stored();
        if !begun.has_free() {
            self.open.remove(&self.order.rank(piece));
        }
        if last {
            self.owned.remove(&piece);
        }
        Arrival::Fresh { others, last }
    }

    /// The hash of a stored piece is known. What came of it, if that was awaited.
    pub(super) fn verified(&mut self, piece: PieceIndex, good: bool) -> Option<Sent> {
        let begun = self.begun.get_mut(&piece).filter(|begun| begun.is_stored())?;
        let sent = std::mem::take(&mut begun.sent);
        if good {
            self.begun.remove(&piece);
            self.contested.remove(&piece);
            self.lacking.unset(piece);
            self.have.set(piece);
        } else {
            self.contested.insert(piece);
            self.abandon_piece(piece);
        }
        Some(sent)
    }

    /// Nothing of this piece is stored any more: it is missing, unless it is verified.
    pub(super) fn forget(&mut self, piece: PieceIndex) {
        self.abandon_piece(piece);
    }

    /// The piece to go on with: more of the last, else the most wanted.
    fn piece_for(&mut self, now: Moment, asker: &Asker<'_>, rng: &mut impl Rng) -> Option<PieceIndex> {
        if let Some(last) = asker.last.filter(|last| self.is_open_for(*last, asker)) {
            return Some(last);
        }
        let priorities = [Priority::High, Priority::Normal, Priority::Low].into_iter();
        let begun = priorities.into_iter().find_map(|priority| {
            let open = self.open_for(priority, asker).map(|piece| (piece, false));
            if let Some(open) = open.filter(|_| !asker.runs) {
                return Some(open);
            }
            let missing = self.missing_for(priority, asker, rng);
            missing.map(|piece| (piece, true)).or(open)
        });
        let (piece, is_new) = begun?;
        if is_new {
            self.begin(now, piece, asker.peer);
        }
        Some(piece)
    }

    fn is_open_for(&self, piece: PieceIndex, asker: &Asker<'_>) -> bool {
        let begun = self.begun.get(&piece);
        let open = begun.is_some_and(|begun| begun.has_free() && begun.is_open_to(asker.peer));
        open && asker.gives(piece)
    }

    /// A begun piece with free blocks that this asker has, its own before others.
    fn open_for(&self, priority: Priority, asker: &Asker<'_>) -> Option<PieceIndex> {
        let its = |(piece, owner): (&PieceIndex, &PeerKey)| (*owner == asker.peer).then_some(*piece);
        let mut own = self.owned.iter().filter_map(its);
        let own = own.find(|piece| self.rank_is(*piece, priority) && self.is_open_for(*piece, asker));
        own.or_else(|| {
            let mut open = self.open.iter().map(|(_, piece)| *piece);
            open.find(|piece| self.rank_is(*piece, priority) && asker.gives(*piece))
        })
    }

    fn rank_is(&self, piece: PieceIndex, priority: Priority) -> bool {
        self.order.wanted().of(piece) == priority
    }

    /// A missing piece of this priority to begin.
    fn missing_for(&self, priority: Priority, asker: &Asker<'_>, rng: &mut impl Rng) -> Option<PieceIndex> {
        if asker.pickable == 0 {
            return None;
        }
        let next = asker.last.filter(|_| asker.runs);
        let next = next.and_then(|last| self.geometry.piece(last.number() + 1));
        next.filter(|piece| self.is_missing(*piece) && self.rank_is(*piece, priority) && asker.gives(*piece))
            .or_else(|| self.next_in_line(priority, asker))
            .or_else(|| self.suggested_for(priority, asker))
            .or_else(|| self.rarest_for(priority, asker, rng))
    }

    /// A piece that the asker suggests, if none that it has is rarer: it may know more than we do of who has what.
    fn suggested_for(&self, priority: Priority, asker: &Asker<'_>) -> Option<PieceIndex> {
        let mut suggested = asker.suggested.iter().copied();
        let piece = suggested
            .find(|piece| self.is_missing(*piece) && self.rank_is(*piece, priority) && asker.gives(*piece))?;
        let rarest = self.order.rarest(priority, asker.has.is_complete()).iter();
        let rarest = rarest.take(LOOKED_AT_MAX).find(|piece| asker.gives(**piece));
        let rarer = |rarest| self.order.availability(rarest) < self.order.availability(piece);
        (!rarest.is_some_and(|rarest| rarer(*rarest))).then_some(piece)
    }

    /// Where pieces are wanted one after the other: the next, if it is near enough. Who is slow is kept from it.
    fn next_in_line(&self, priority: Priority, asker: &Asker<'_>) -> Option<PieceIndex> {
        let line = self.order.line().filter(|_| !asker.slow)?;
        let mut begun: Vec<Rank> = self.begun.keys().map(|piece| self.order.rank(*piece)).collect();
        begun.sort_unstable();
        for (place, rank) in line.iter().take(self.ahead).enumerate() {
            let before = begun.partition_point(|other| other < rank) + place;
            if before >= self.ahead {
                break;
            }
            if self.rank_is(rank.1, priority) && asker.gives(rank.1) {
                return Some(rank.1);
            }
        }
        None
    }

    /// The rarest missing piece that the asker has.
    fn rarest_for(&self, priority: Priority, asker: &Asker<'_>, rng: &mut impl Rng) -> Option<PieceIndex> {
        let pieces = self.order.rarest(priority, asker.has.is_complete());
        // Whoever refuses some is asked for any others, or the first few would be tried for ever.
        let is_random = self.have.count() < RANDOM_FIRST || !asker.withheld.is_empty();
        let start = if is_random && pieces.len() > 1 {
            rng.random_range(0..pieces.len())
        } else {
            0
        };
        let (before, after) = pieces.split_at_checked(start)?;
        let mut near = after.iter().chain(before).take(LOOKED_AT_MAX).copied();
        near.find(|piece| asker.gives(*piece)).or_else(|| {
            if pieces.len() <= LOOKED_AT_MAX {
                return None;
            }
            bits::both(&self.geometry, asker.has, self.order.missing())
                .filter(|piece| self.rank_is(*piece, priority) && asker.gives(*piece))
                .min_by_key(|piece| self.order.availability(*piece))
        })
    }

    fn begin(&mut self, now: Moment, piece: PieceIndex, peer: PeerKey) {
        if self.order.remove(piece) {
            self.changes.push((piece, false));
        }
        let owner = self.contested.contains(&piece).then_some(peer);
        let begun = Begun::new(now, self.geometry.block_count(piece), owner);
        self.begun.insert(piece, begun);
        if owner.is_some() {
            self.owned.insert(piece, peer);
        } else {
            self.open.insert(self.order.rank(piece));
        }
    }

    /// Takes free blocks in order until `picked` holds `room`.
    fn take_free(&mut self, piece: PieceIndex, room: usize, picked: &mut Vec<Block>) {
        let Some(begun) = self.begun.get_mut(&piece) else {
            return;
        };
        while picked.len() < room {
            let Some(number) = begun.take_free() else { break };
            picked.extend(self.geometry.block(piece, number));
        }
        if !begun.has_free() {
            self.open.remove(&self.order.rank(piece));
        }
    }

    fn abandon_piece(&mut self, piece: PieceIndex) {
        if self.begun.remove(&piece).is_some() {
            self.owned.remove(&piece);
            self.open.remove(&self.order.rank(piece));
            if self.order.insert(piece) {
                self.changes.push((piece, true));
            }
        }
    }

    /// Bytes of memory that it holds beside itself.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let begun: usize = self
            .begun
            .values()
            .map(|begun| begun.heap() + 2 * size_of::<Begun>())
            .sum();
        let lists = self.open.len() + self.owned.len() + self.contested.len();
        self.order.heap() + 2 * self.have.as_bytes().len() + begun + lists * 32
    }

    /// Every piece is in exactly one state, and the counts are those of the blocks.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        // Looking at every piece of a large torrent at every step would make debug builds crawl.
        if self.geometry.piece_count() <= 2_048 {
            self.order.check_invariants();
            let lacking = self.geometry.pieces().filter(|piece| self.lacks(*piece));
            let under_way = self.begun.keys().filter(|piece| self.lacks(**piece));
            assert_eq!(
                lacking.count(),
                self.order.len() + under_way.count(),
                "a wanted piece is in two states or none"
            );
        }
        for (piece, begun) in &self.begun {
            assert!(
                !self.have.has(*piece) && !self.order.contains(*piece),
                "{piece:?} is in two states"
            );
            assert!(
                begun.is_stored() || self.order.wanted().wants(*piece),
                "{piece:?} is asked for and not wanted"
            );
            begun.check_invariants();
            let open = begun.has_free() && begun.owner.is_none();
            assert_eq!(self.open.contains(&self.order.rank(*piece)), open);
            let owner = begun.owner.filter(|_| !begun.is_stored());
            assert_eq!(self.owned.get(piece).copied(), owner);
        }
        assert!(self.open.iter().all(|(_, piece)| self.is_begun(*piece)));
        assert!(self.owned.keys().all(|piece| self.is_begun(*piece)));
    }

    /// How often all peers together owe us blocks of this torrent.
    #[cfg(debug_assertions)]
    pub(super) fn owed(&self) -> usize {
        self.begun.values().map(Begun::owed).sum()
    }
}
