//! Which blocks to ask whom for: begun pieces first, then the rarest, the blocks of a piece in order; when everything is
//! asked for, the same blocks from others too (endgame). A piece is in exactly one of four states: missing (it stands in
//! the [`Order`]), begun, stored (all blocks there, its hash awaited), or verified.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use rand::{Rng, RngExt};
use shared::bitfield::Bitfield;
use shared::geometry::{Block, Geometry, PieceIndex};
use shared::moment::Moment;

use super::events::PeerKey;
use super::order::Order;

/// Until so many pieces are verified, pieces are picked at random: a first piece to trade matters more than a rare one.
const RANDOM_FIRST: u32 = 4;

/// In the endgame no block is asked for from more peers than one above this.
const ENDGAME_ASKERS_MAX: u16 = 1;

/// Who asks for something to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) peer: PeerKey,
    pub(super) has: &'a Bitfield,
    /// Pieces that it says it has, and refused a moment ago.
    pub(super) withheld: &'a BTreeMap<PieceIndex, Moment>,
    /// It was among those who sent a wrong piece: it gets pieces for itself, so that the next wrong one convicts it.
    pub(super) alone: bool,
    /// Blocks that it is asked for already.
    pub(super) asked: &'a BTreeSet<Block>,
    /// How many of the missing pieces it has. Where there are none, nobody looks for them.
    pub(super) pickable: u32,
}

impl Asker<'_> {
    fn gives(&self, piece: PieceIndex) -> bool {
        self.has.has(piece) && !self.withheld.contains_key(&piece)
    }
}

/// What an arriving block was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// New: to be stored. `others` says whether somebody else was asked for it, `last` whether the piece is whole now.
    Fresh { others: bool, last: bool },
    /// There already, or not wanted any more.
    Useless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// By how many peers we are owed it; at least one.
    Asked(u16),
    Stored,
}

/// A piece that was begun.
#[derive(Debug)]
struct Begun {
    blocks: Vec<State>,
    free: u32,
    /// Blocks that are not stored.
    left: u32,
    /// No block before this one is free.
    cursor: usize,
    /// Who sent blocks of it.
    contributors: BTreeSet<IpAddr>,
    /// The one peer that may be asked for it.
    owner: Option<PeerKey>,
    since: Moment,
}

#[derive(Debug)]
pub(super) struct Picker {
    geometry: Geometry,
    have: Bitfield,
    order: Order,
    begun: BTreeMap<PieceIndex, Begun>,
    /// Those of the begun pieces that have a free block.
    open: BTreeSet<PieceIndex>,
    /// Pieces that left (`false`) or joined (`true`) the missing ones since this was last taken.
    changes: Vec<(PieceIndex, bool)>,
}

impl Picker {
    pub(super) fn new(geometry: Geometry, have: Bitfield, rng: &mut impl Rng) -> Self {
        let order = Order::new(&geometry, |piece| !have.has(piece), rng);
        Self {
            geometry,
            have,
            order,
            begun: BTreeMap::new(),
            open: BTreeSet::new(),
            changes: Vec::new(),
        }
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What is verified.
    pub(super) fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Missing, and not begun.
    pub(super) fn is_missing(&self, piece: PieceIndex) -> bool {
        self.order.contains(piece)
    }

    pub(super) fn missing_count(&self) -> usize {
        self.order.len()
    }

    /// One more peer, which does not have everything, has this piece.
    pub(super) fn more(&mut self, piece: PieceIndex) {
        self.order.more(piece);
    }

    /// One peer fewer has this piece.
    pub(super) fn fewer(&mut self, piece: PieceIndex) {
        self.order.fewer(piece);
    }

    /// Which pieces left or joined the missing ones since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<(PieceIndex, bool)> {
        std::mem::take(&mut self.changes)
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
        while picked.len() < room {
            let piece = self.open_for(asker).or_else(|| self.begin_for(now, asker, rng));
            let Some(piece) = piece else { break };
            let before = picked.len();
            self.take_free(piece, room, &mut picked);
            debug_assert!(picked.len() > before, "an open piece without a free block");
            if picked.len() == before {
                break;
            }
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
                self.begin(now, piece, asker);
            }
            if self
                .begun
                .get(&piece)
                .is_some_and(|begun| begun.is_open_to(asker))
            {
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
        if !self.is_endgame() || asker.alone {
            return Vec::new();
        }
        let mut owed = Vec::new();
        for (piece, begun) in &self.begun {
            if begun.left == 0 || begun.owner.is_some() || !asker.gives(*piece) {
                continue;
            }
            for (block, state) in self.geometry.blocks(*piece).zip(&begun.blocks) {
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
            self.change(*block, |state| match state {
                State::Asked(times) => State::Asked(times.saturating_add(1)),
                other => other,
            });
        }
        picked
    }

    /// A peer owes us this block no more. Who owes nothing of a piece and gave nothing leaves it missing again.
    pub(super) fn release(&mut self, block: Block) {
        let piece = block.piece();
        let Some(begun) = self.begun.get_mut(&piece) else {
            return;
        };
        let Some(state) = begun.blocks.get_mut(block.number() as usize) else {
            return;
        };
        match *state {
            State::Asked(0 | 1) => {
                *state = State::Free;
                begun.free += 1;
                begun.cursor = begun.cursor.min(block.number() as usize);
                self.open.insert(piece);
                if begun.is_untouched() {
                    self.abandon_piece(piece);
                }
            }
            State::Asked(times) => *state = State::Asked(times - 1),
            State::Free | State::Stored => (),
        }
    }

    /// The same, for a block that came but cannot be kept.
    pub(super) fn release_if(&mut self, owed: bool, block: Block) {
        if owed {
            self.release(block);
        }
    }

    /// The piece that this peer has for itself is given to everyone, from the start, so that its hash accuses nobody wrongly.
    pub(super) fn disown(&mut self, peer: PeerKey) {
        let owned = |(piece, begun): (&PieceIndex, &Begun)| {
            (begun.owner == Some(peer) && begun.left > 0).then_some(*piece)
        };
        let pieces: Vec<PieceIndex> = self.begun.iter().filter_map(owned).collect();
        for piece in pieces {
            self.abandon_piece(piece);
        }
    }

    /// Peers that have had a piece for themselves for longer than this, and are not done with it.
    pub(super) fn slow_owners(&self, now: Moment, patience: Duration) -> BTreeSet<PeerKey> {
        let slow = self
            .begun
            .values()
            .filter(|begun| begun.left > 0 && now.since(begun.since) > patience);
        slow.filter_map(|begun| begun.owner).collect()
    }

    /// A block has arrived; `owed` says whether this very peer was asked for it.
    pub(super) fn arrived(&mut self, block: Block, from: IpAddr, owed: bool) -> Arrival {
        let Some(begun) = self.begun.get_mut(&block.piece()) else {
            return Arrival::Useless;
        };
        let Some(state) = begun.blocks.get_mut(block.number() as usize) else {
            return Arrival::Useless;
        };
        let others = match *state {
            State::Stored => return Arrival::Useless,
            // It came late, from a peer that has its own reasons: a piece for one peer alone stays pure.
            State::Free | State::Asked(_) if !owed && begun.owner.is_some() => return Arrival::Useless,
            State::Free => {
                begun.free = begun.free.saturating_sub(1);
                false
            }
            State::Asked(times) => u32::from(times) > u32::from(owed),
        };
        *state = State::Stored;
        begun.left = begun.left.saturating_sub(1);
        begun.contributors.insert(from);
        if begun.free == 0 {
            self.open.remove(&block.piece());
        }
        Arrival::Fresh {
            others,
            last: begun.left == 0,
        }
    }

    /// The hash of a stored piece is known. Who sent its blocks, if that was awaited.
    pub(super) fn verified(&mut self, piece: PieceIndex, good: bool) -> Option<BTreeSet<IpAddr>> {
        let begun = self.begun.get(&piece).filter(|begun| begun.left == 0)?;
        let contributors = begun.contributors.clone();
        if good {
            self.begun.remove(&piece);
            self.have.set(piece);
        } else {
            self.abandon_piece(piece);
        }
        Some(contributors)
    }

    /// Nothing of this piece is stored any more: it is missing, unless it is verified.
    pub(super) fn forget(&mut self, piece: PieceIndex) {
        self.abandon_piece(piece);
    }

    /// A begun piece without free blocks is no use; one with them is open to this asker if nobody has it for himself.
    fn open_for(&self, asker: &Asker<'_>) -> Option<PieceIndex> {
        let mut open = self.open.iter().copied();
        open.find(|piece| {
            asker.gives(*piece) && self.begun.get(piece).is_some_and(|begun| begun.is_open_to(asker))
        })
    }

    /// Begins a missing piece; a suspect for whom there is none begins anew what others have left lying.
    fn begin_for(&mut self, now: Moment, asker: &Asker<'_>, rng: &mut impl Rng) -> Option<PieceIndex> {
        let missing = if asker.pickable > 0 {
            self.rarest_for(asker, rng)
        } else {
            None
        };
        let piece = missing.or_else(|| asker.alone.then(|| self.left_lying(asker)).flatten())?;
        self.abandon_piece(piece);
        self.begin(now, piece, asker);
        Some(piece)
    }

    /// A begun piece that nobody owes us blocks of. Without it, a swarm of suspects alone would never finish.
    fn left_lying(&self, asker: &Asker<'_>) -> Option<PieceIndex> {
        let owed = |state: &State| matches!(state, State::Asked(_));
        let mut open = self.open.iter().copied();
        open.find(|piece| {
            let begun = self.begun.get(piece).filter(|begun| begun.owner.is_none());
            asker.gives(*piece) && begun.is_some_and(|begun| !begun.blocks.iter().any(owed))
        })
    }

    /// The rarest missing piece that the asker has.
    fn rarest_for(&self, asker: &Asker<'_>, rng: &mut impl Rng) -> Option<PieceIndex> {
        let pieces = self.order.rarest(asker.has.is_complete());
        // Whoever refuses some is asked for any others, or the first few would be tried for ever.
        let is_random = self.have.count() < RANDOM_FIRST || !asker.withheld.is_empty();
        let start = if is_random && pieces.len() > 1 {
            rng.random_range(0..pieces.len())
        } else {
            0
        };
        let (before, after) = pieces.split_at_checked(start)?;
        after
            .iter()
            .chain(before)
            .copied()
            .find(|piece| asker.gives(*piece))
    }

    fn begin(&mut self, now: Moment, piece: PieceIndex, asker: &Asker<'_>) {
        if self.order.remove(piece) {
            self.changes.push((piece, false));
        }
        let count = self.geometry.block_count(piece);
        let begun = Begun {
            blocks: vec![State::Free; count as usize],
            free: count,
            left: count,
            cursor: 0,
            contributors: BTreeSet::new(),
            owner: asker.alone.then_some(asker.peer),
            since: now,
        };
        self.begun.insert(piece, begun);
        self.open.insert(piece);
    }

    /// Takes free blocks in order until `picked` holds `room`.
    fn take_free(&mut self, piece: PieceIndex, room: usize, picked: &mut Vec<Block>) {
        let Some(begun) = self.begun.get_mut(&piece) else {
            return;
        };
        while picked.len() < room && begun.free > 0 {
            let Some(state) = begun.blocks.get_mut(begun.cursor) else {
                break;
            };
            if *state == State::Free {
                *state = State::Asked(1);
                begun.free -= 1;
                let number = u32::try_from(begun.cursor).unwrap_or(u32::MAX);
                picked.extend(self.geometry.block(piece, number));
            }
            begun.cursor += 1;
        }
        if begun.free == 0 {
            self.open.remove(&piece);
        }
    }

    fn change(&mut self, block: Block, change: impl Fn(State) -> State) {
        let begun = self.begun.get_mut(&block.piece());
        if let Some(state) = begun.and_then(|begun| begun.blocks.get_mut(block.number() as usize)) {
            *state = change(*state);
        }
    }

    fn abandon_piece(&mut self, piece: PieceIndex) {
        if self.begun.remove(&piece).is_some() {
            self.open.remove(&piece);
            self.order.insert(piece);
            self.changes.push((piece, true));
        }
    }

    /// Every piece is in exactly one state, and the counts are those of the blocks.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        // Looking at every piece of a large torrent at every step would make debug builds crawl.
        if self.geometry.piece_count() <= 2_048 {
            self.order.check_invariants();
        }
        let states = self.have.count() as usize + self.order.len() + self.begun.len();
        assert_eq!(
            states,
            self.geometry.piece_count() as usize,
            "a piece is in two states or none"
        );
        for (piece, begun) in &self.begun {
            assert!(
                !self.have.has(*piece) && !self.order.contains(*piece),
                "{piece:?} is in two states"
            );
            let count =
                |wanted: fn(&State) -> bool| begun.blocks.iter().filter(|state| wanted(state)).count();
            assert_eq!(count(|state| *state == State::Free), begun.free as usize);
            assert_eq!(count(|state| *state != State::Stored), begun.left as usize);
            assert_eq!(self.open.contains(piece), begun.free > 0);
            assert!(
                begun
                    .blocks
                    .iter()
                    .take(begun.cursor)
                    .all(|state| *state != State::Free)
            );
        }
    }

    /// How often all peers together owe us blocks of this torrent.
    #[cfg(debug_assertions)]
    pub(super) fn owed(&self) -> usize {
        let times = |state: &State| {
            if let State::Asked(times) = state {
                usize::from(*times)
            } else {
                0
            }
        };
        self.begun
            .values()
            .flat_map(|begun| &begun.blocks)
            .map(times)
            .sum()
    }
}

impl Begun {
    fn is_open_to(&self, asker: &Asker<'_>) -> bool {
        match self.owner {
            Some(owner) => owner == asker.peer,
            // A suspect may not join what others have begun, but what nobody has touched is as good as new.
            None => !asker.alone,
        }
    }

    fn is_untouched(&self) -> bool {
        self.free as usize == self.blocks.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const NOW: Moment = Moment::from_secs(1);

    /// A picker among peers, each with what it has and what it owes us.
    struct Scene {
        picker: Picker,
        peers: BTreeMap<char, (Bitfield, BTreeSet<Block>)>,
        suspects: BTreeSet<char>,
        dice: SmallRng,
    }

    impl Scene {
        /// Pieces of `blocks` blocks: `#` is there, `.` is not. First what we have, then a peer a word: `a:##..`.
        fn new(blocks: u64, have: &str, peers: &str) -> Self {
            let length = 16_384 * blocks;
            let geometry = Geometry::v1(length, length * have.len() as u64).unwrap();
            let mut dice = SmallRng::seed_from_u64(9);
            let bits = |drawing: &str| {
                let mut bits = Bitfield::none(&geometry);
                for (piece, _) in geometry
                    .pieces()
                    .zip(drawing.chars())
                    .filter(|(_, mark)| *mark == '#')
                {
                    bits.set(piece);
                }
                bits
            };
            let mut picker = Picker::new(geometry.clone(), bits(have), &mut dice);
            let mut scene = BTreeMap::new();
            for word in peers.split_whitespace() {
                let (name, drawing) = word.split_once(':').unwrap();
                let has = bits(drawing);
                if !has.is_complete() {
                    geometry
                        .pieces()
                        .filter(|piece| has.has(*piece))
                        .for_each(|piece| picker.more(piece));
                }
                scene.insert(name.chars().next().unwrap(), (has, BTreeSet::new()));
            }
            Self {
                picker,
                peers: scene,
                suspects: BTreeSet::new(),
                dice,
            }
        }

        fn ask(&mut self, peer: char, room: usize, again: bool) -> String {
            let (has, owes) = self.peers.get_mut(&peer).unwrap();
            let alone = self.suspects.contains(&peer);
            let asker = Asker {
                peer: PeerKey(peer.into()),
                has,
                withheld: &BTreeMap::new(),
                alone,
                asked: owes,
                pickable: u32::MAX,
            };
            let picked = if again {
                self.picker.pick_again(&asker, room, &mut self.dice)
            } else {
                self.picker.pick(NOW, &asker, room, &mut self.dice)
            };
            owes.extend(&picked);
            self.picker.check_invariants();
            let names = picked
                .iter()
                .map(|block| format!("{}.{}", block.piece().number(), block.number()));
            names.collect::<Vec<_>>().join(" ")
        }

        /// What the peer is asked for, as `piece.block`.
        #[track_caller]
        fn picks(&mut self, peer: char, room: usize, expected: &str) {
            assert_eq!(self.ask(peer, room, false), expected);
        }

        fn block(&self, piece: u32, number: u32) -> Block {
            let geometry = self.picker.geometry();
            geometry.block(geometry.piece(piece).unwrap(), number).unwrap()
        }

        fn arrives(&mut self, peer: char, piece: u32, number: u32) -> Arrival {
            let block = self.block(piece, number);
            let owed = self.peers.get_mut(&peer).unwrap().1.remove(&block);
            let arrival = self.picker.arrived(block, ip(peer), owed);
            self.picker.check_invariants();
            arrival
        }
    }

    fn ip(peer: char) -> IpAddr {
        IpAddr::from([10, 0, 0, peer as u8])
    }

    #[test]
    fn the_rarest_comes_first() {
        let mut scene = Scene::new(1, "####....", "a:....#### b:....#.## c:....#..# d:....#...");
        scene.picks('a', 9, "5.0 6.0 7.0 4.0");
    }

    #[test]
    fn peers_who_have_everything_make_nothing_less_rare() {
        let mut scene = Scene::new(1, "####..", "a:###### b:#####. c:######");
        scene.picks('a', 1, "5.0");
    }

    #[test]
    fn begun_pieces_come_before_new_ones_and_blocks_in_order() {
        let mut scene = Scene::new(3, "####..", "a:....#. b:....## c:.....#");
        scene.picks('a', 2, "4.0 4.1");
        scene.picks('b', 4, "4.2 5.0 5.1 5.2");
        scene.picks('c', 4, "");
    }

    #[test]
    fn a_peer_is_asked_only_for_what_it_has_and_we_lack() {
        let mut scene = Scene::new(1, "##..", "a:#..# b:#...");
        scene.picks('a', 9, "3.0");
        scene.picks('b', 9, "");
    }

    #[test]
    fn what_a_peer_gives_up_is_free_for_others() {
        let mut scene = Scene::new(2, "####.", "a:##### b:#####");
        scene.picks('a', 2, "4.0 4.1");
        scene.picker.release(scene.block(4, 0));
        scene.picks('b', 9, "4.0");
        scene.picker.release(scene.block(4, 0));
        scene.picker.release(scene.block(4, 1));
        assert_eq!(
            scene.picker.missing_count(),
            1,
            "nobody owes anything of it: it is missing again"
        );
    }

    #[test]
    fn in_the_endgame_one_other_is_asked_too_and_the_second_copy_is_useless() {
        let mut scene = Scene::new(2, "####.", "a:##### b:##### c:#####");
        scene.picks('a', 1, "4.0");
        assert_eq!(scene.ask('b', 9, true), "", "a block is still free");
        scene.picks('a', 1, "4.1");
        assert_eq!(scene.ask('b', 1, true).len(), 3);
        assert_eq!(
            scene.ask('b', 9, true).len(),
            3,
            "the other one, not the same again"
        );
        assert_eq!(scene.ask('c', 9, true), "", "two are enough");
        assert_eq!(
            scene.arrives('a', 4, 0),
            Arrival::Fresh {
                others: true,
                last: false
            }
        );
        assert_eq!(scene.arrives('b', 4, 0), Arrival::Useless);
        assert_eq!(
            scene.arrives('b', 4, 1),
            Arrival::Fresh {
                others: true,
                last: true
            }
        );
    }

    #[test]
    fn a_verified_piece_is_had_and_a_wrong_one_missing_again() {
        let mut scene = Scene::new(2, "####..", "a:###### b:######");
        scene.ask('a', 3, false);
        scene.ask('b', 1, false);
        let (first, second) = if scene.peers[&'a'].1.contains(&scene.block(4, 1)) {
            (4, 5)
        } else {
            (5, 4)
        };
        scene.arrives('a', first, 0);
        scene.arrives('a', first, 1);
        scene.arrives('a', second, 0);
        scene.arrives('b', second, 1);
        let piece = |scene: &Scene, number| scene.picker.geometry().piece(number).unwrap();
        let (right, wrong) = (piece(&scene, first), piece(&scene, second));
        assert_eq!(scene.picker.verified(right, true), Some([ip('a')].into()));
        assert_eq!(
            scene.picker.verified(wrong, false),
            Some([ip('a'), ip('b')].into())
        );
        assert_eq!(scene.picker.verified(wrong, true), None, "nobody has asked");
        assert!(scene.picker.have().has(right) && scene.picker.is_missing(wrong));
        scene.picker.check_invariants();
    }

    #[test]
    fn a_suspect_gets_pieces_for_itself() {
        let mut scene = Scene::new(2, "####..", "a:###### b:######");
        scene.ask('b', 1, false);
        scene.suspects.insert('a');
        let own = scene.ask('a', 1, false);
        let begun_by_b = scene.peers[&'b'].1.first().unwrap().piece().number();
        assert!(
            !own.starts_with(&begun_by_b.to_string()),
            "it joined what another had begun"
        );
        assert_eq!(
            scene.ask('b', 9, false),
            format!("{begun_by_b}.1"),
            "nobody joins the suspect"
        );
        scene.picker.disown(PeerKey('a'.into()));
        scene.picker.check_invariants();
        assert_eq!(scene.picker.missing_count(), 1);
    }

    #[test]
    fn a_swarm_of_suspects_finishes_what_others_left_lying() {
        let mut scene = Scene::new(2, "####.", "a:##### b:#####");
        scene.picks('b', 1, "4.0");
        scene.suspects.insert('a');
        scene.picks('a', 9, "");
        scene.arrives('b', 4, 0);
        scene.picks('a', 9, "4.0 4.1");
    }

    #[test]
    fn the_first_pieces_are_random() {
        let firsts: BTreeSet<String> = (0..20)
            .map(|seed| {
                let mut scene = Scene::new(1, "........", "a:######## b:#......# c:#......#");
                scene.dice = SmallRng::seed_from_u64(seed);
                scene.ask('a', 1, false)
            })
            .collect();
        assert!(firsts.len() > 3, "{firsts:?}");
    }

    proptest! {
        /// Three peers ask, deliver, give up and leave in any order; no block is asked for twice outside the endgame.
        #[test]
        fn states_and_counts_always_agree(seed: u64, steps in prop::collection::vec((0..6, 0_usize..3, 1_usize..5), 1..120)) {
            let mut scene = Scene::new(3, "#.......", "a:######## b:####.... c:..####..");
            scene.dice = SmallRng::seed_from_u64(seed);
            for (step, peer, room) in steps {
                let peer = ['a', 'b', 'c'][peer];
                let owed = scene.peers[&peer].1.iter().nth(room).copied();
                match (step, owed) {
                    (0 | 1, _) => _ = scene.ask(peer, room, false),
                    (2, _) => _ = scene.ask(peer, 1, true),
                    (3 | 4, Some(block)) => {
                        let (piece, number) = (block.piece(), block.number());
                        let arrival = scene.arrives(peer, piece.number(), number);
                        scene.peers.values_mut().for_each(|(_, asked)| _ = asked.remove(&block));
                        if let Arrival::Fresh { last: true, .. } = arrival {
                            scene.picker.verified(piece, room > 1);
                        }
                    }
                    (5, Some(block)) => {
                        scene.peers.get_mut(&peer).unwrap().1.remove(&block);
                        scene.picker.release(block);
                    }
                    _ => (),
                }
                scene.picker.check_invariants();
                let owed: usize = scene.peers.values().map(|(_, asked)| asked.len()).sum();
                prop_assert_eq!(scene.picker.owed(), owed);
            }
        }
    }
}
