//! The trees of a torrent's v2 files as far as they are known: piece layers that are checked against their roots, and the
//! proofs by which peers show each other parts of a tree (BEP 52). Files that fit into one piece need no tree: their root is
//! all there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::geometry::BLOCK_LENGTH;
use crate::hash_span::{HASHES_USUAL, HashSpan};
use crate::merkle::{self, Hash};

/// Piece layers by the root of their file. Equal files share both.
pub type Layers = BTreeMap<Hash, Vec<Hash>>;

/// One of so many hashes of a piece layer is kept of the layers above it, so that a proof costs little.
const STEP_LEVELS: u32 = 9;

/// Hashes of a piece layer that one answer about a higher layer may go through.
const CLIMB_MAX: u32 = 8_192;

/// The tree of one file that is longer than a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    root: Hash,
    /// The file's first piece in the torrent.
    first_piece: u32,
    /// Pieces of the file; more than one.
    pieces: u32,
    /// Layers between the leaves and the pieces, and between the leaves and the root.
    piece_level: u32,
    height: u32,
    /// One hash a piece; empty where nobody knows them.
    layer: Vec<Hash>,
    /// Every node that stands [`STEP_LEVELS`] above the layer.
    steps: Vec<Hash>,
}

impl Tree {
    /// The tree of a file of so many bytes, nothing known of it but its root. `None` if the file fits into a piece.
    pub fn new(root: Hash, length: u64, piece_length: u32, first_piece: u32) -> Option<Self> {
        let pieces = u32::try_from(length.div_ceil(u64::from(piece_length.max(1)))).ok()?;
        let blocks = u32::try_from(length.div_ceil(u64::from(BLOCK_LENGTH))).ok()?;
        (pieces > 1).then(|| Self {
            root,
            first_piece,
            pieces,
            piece_level: (piece_length / BLOCK_LENGTH).max(1).trailing_zeros(),
            height: blocks.checked_next_power_of_two().map_or(32, u32::trailing_zeros),
            layer: Vec::new(),
            steps: Vec::new(),
        })
    }

    pub const fn root(&self) -> &Hash {
        &self.root
    }

    /// Pieces of the file; more than one.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// One hash a piece, if they are known.
    pub fn layer(&self) -> Option<&[Hash]> {
        (!self.layer.is_empty()).then_some(self.layer.as_slice())
    }

    /// Takes the piece layer, if it has the right length and leads to the root.
    #[must_use]
    pub fn fill(&mut self, layer: Vec<Hash>) -> bool {
        if layer.len() != self.pieces as usize {
            return false;
        }
        let pad = merkle::padding(self.piece_level);
        let steps = if self.height - self.piece_level < STEP_LEVELS {
            Vec::new()
        } else {
            let parts = layer.chunks(1 << STEP_LEVELS);
            parts
                .map(|part| merkle::climb(part.to_vec(), pad, STEP_LEVELS))
                .collect()
        };
        let before = (
            std::mem::replace(&mut self.layer, layer),
            std::mem::replace(&mut self.steps, steps),
        );
        let good = self.node(self.height, 0) == self.root;
        if !good {
            (self.layer, self.steps) = before;
        }
        good
    }

    /// How to ask for part `number` of the piece layer, with a proof that leads up to the root; the parts together are the layer.
    pub fn part(&self, number: u32) -> Option<HashSpan> {
        let length = self.pieces.next_power_of_two().min(HASHES_USUAL);
        let index = number.checked_mul(length).filter(|index| *index < self.pieces)?;
        let proof_layers = self.height.checked_sub(self.piece_level + 1)?;
        HashSpan::new(self.root, self.piece_level, index, length, proof_layers)
    }

    /// How many parts there are to ask for.
    pub fn parts(&self) -> u32 {
        self.pieces.div_ceil(HASHES_USUAL)
    }

    /// Do these hashes, the span's own and then its uncles, lead to the root? A span that is proved to less than the root
    /// proves nothing.
    pub fn proves(&self, span: &HashSpan, hashes: &[Hash]) -> bool {
        let top = span.base() + span.levels() + span.uncles();
        let Some((own, uncles)) = hashes.split_at_checked(span.length() as usize) else {
            return false;
        };
        if top != self.height || uncles.len() != span.uncles() as usize || !self.holds(span) {
            return false;
        }
        let node = merkle::climb(own.to_vec(), [0; 32], span.levels());
        let mut place = span.index() >> span.levels();
        let root = uncles.iter().fold(node, |node, uncle| {
            let left = place.is_multiple_of(2);
            place >>= 1;
            if left {
                merkle::parent(&node, uncle)
            } else {
                merkle::parent(uncle, &node)
            }
        });
        root == self.root && *span.root() == root
    }

    /// The hashes of a span in the piece layer or above it, and its uncles. `None` for what is not in the tree, what is
    /// not known, and what would take too long.
    pub fn answer(&self, span: &HashSpan) -> Option<Vec<Hash>> {
        let above = span.base().checked_sub(self.piece_level)?;
        let cheap = above == 0
            || span
                .length()
                .checked_shl(above)
                .is_some_and(|cost| cost <= CLIMB_MAX);
        if self.layer.is_empty() || !self.holds(span) || !cheap || span.length() > HASHES_USUAL {
            return None;
        }
        let own = (span.index()..span.index() + span.length()).map(|place| self.node(span.base(), place));
        Some(own.chain(self.uncles(span, span.levels())).collect())
    }

    /// The piece of the torrent of whose leaves this span is made, if it lies inside one below the piece layer.
    pub fn piece_of(&self, span: &HashSpan) -> Option<u32> {
        let inside = span.base() < self.piece_level && span.base() + span.levels() <= self.piece_level;
        let number = span.index() >> self.piece_level.checked_sub(span.base())?;
        (inside && self.holds(span) && number < self.pieces && !self.layer.is_empty())
            .then_some(self.first_piece + number)
    }

    /// The hashes of a span below the piece layer and its uncles, from the leaves of [`Tree::piece_of`].
    pub fn answer_from(&self, span: &HashSpan, leaves: &[Hash]) -> Option<Vec<Hash>> {
        self.piece_of(span)?;
        let inside = |level: u32, place: u32| {
            // Nodes of the same level that the pieces before have.
            let place = place & ((1 << (self.piece_level - level)) - 1);
            merkle::node(leaves, merkle::padding(0), level, place)
        };
        let own = (span.index()..span.index() + span.length()).map(|place| inside(span.base(), place));
        let mut answer: Vec<Hash> = own.collect();
        let uncles_inside = (self.piece_level - span.base() - span.levels()).min(span.uncles());
        for step in 0..uncles_inside {
            let up = span.levels() + step;
            answer.push(inside(span.base() + up, (span.index() >> up) ^ 1));
        }
        answer.extend(self.uncles(span, span.levels() + uncles_inside));
        Some(answer)
    }

    /// The uncles of a span from so many levels above its base on.
    fn uncles<'a>(&'a self, span: &HashSpan, from: u32) -> impl Iterator<Item = Hash> + use<'a> {
        let (base, index) = (span.base(), span.index());
        let end = span.levels() + span.uncles();
        (from..end).map(move |up| self.node(base + up, (index >> up) ^ 1))
    }

    /// Is every node of the span, and every uncle, a node of this tree?
    fn holds(&self, span: &HashSpan) -> bool {
        let top = span.base() + span.levels() + span.uncles();
        let width = self
            .height
            .checked_sub(span.base())
            .map(|levels| 1_u64 << levels.min(32));
        let end = u64::from(span.index()) + u64::from(span.length());
        top <= self.height && width.is_some_and(|width| end <= width)
    }

    /// A node in the piece layer or above it.
    fn node(&self, level: u32, place: u32) -> Hash {
        let (known, above) = self.split(level);
        let row = if known == self.piece_level {
            &self.layer
        } else {
            &self.steps
        };
        merkle::node(row, merkle::padding(known), above, place)
    }

    /// The nearest level below that is known, and how far it is.
    fn split(&self, level: u32) -> (u32, u32) {
        let above = level - self.piece_level;
        if above >= STEP_LEVELS {
            (self.piece_level + STEP_LEVELS, above - STEP_LEVELS)
        } else {
            (self.piece_level, above)
        }
    }
}

/// The trees of all files that are longer than a piece. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Trees {
    by_root: Arc<BTreeMap<Hash, Tree>>,
}

impl Trees {
    pub fn new(trees: impl IntoIterator<Item = Tree>) -> Self {
        let by_root = trees.into_iter().map(|tree| (tree.root, tree)).collect();
        Self {
            by_root: Arc::new(by_root),
        }
    }

    pub fn get(&self, root: &Hash) -> Option<&Tree> {
        self.by_root.get(root)
    }

    /// Trees without their piece layer.
    pub fn missing(&self) -> impl Iterator<Item = &Tree> {
        self.by_root.values().filter(|tree| tree.layer.is_empty())
    }

    /// Takes piece layers. The root of the first that belongs to no tree or does not lead to its root is given back, and
    /// those before it are kept.
    pub fn fill(&mut self, layers: Layers) -> Result<(), Hash> {
        let by_root = Arc::make_mut(&mut self.by_root);
        for (root, layer) in layers {
            let filled = by_root.get_mut(&root).is_some_and(|tree| tree.fill(layer));
            if !filled {
                return Err(root);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All rows of the tree over these leaves, as the specification draws it, from the leaves up.
    fn drawn(leaves: &[Hash]) -> Vec<Vec<Hash>> {
        let mut row = leaves.to_vec();
        row.resize(leaves.len().next_power_of_two(), [0; 32]);
        let mut rows = vec![row];
        while rows[rows.len() - 1].len() > 1 {
            let below = &rows[rows.len() - 1];
            rows.push(
                below
                    .chunks(2)
                    .map(|pair| merkle::parent(&pair[0], &pair[1]))
                    .collect(),
            );
        }
        rows
    }

    fn leaves(count: u32) -> Vec<Hash> {
        (0..count)
            .map(|number| merkle::leaf(&number.to_be_bytes()))
            .collect()
    }

    /// A file of so many blocks in pieces of `1 << shift` of them, and its whole tree.
    fn file(blocks: u32, shift: u32) -> (Tree, Vec<Vec<Hash>>) {
        let (leaves, piece_length) = (leaves(blocks), BLOCK_LENGTH << shift);
        let rows = drawn(&leaves);
        let root = rows[rows.len() - 1][0];
        let length = u64::from(blocks) * u64::from(BLOCK_LENGTH) - 5;
        let mut tree = Tree::new(root, length, piece_length, 7).unwrap();
        assert!(tree.fill(merkle::layer(&leaves, piece_length)));
        (tree, rows)
    }

    /// What BEP 52 wants in an answer, taken out of the whole tree.
    fn expected(rows: &[Vec<Hash>], span: &HashSpan) -> Vec<Hash> {
        let (base, index) = (span.base() as usize, span.index() as usize);
        let mut hashes = rows[base][index..index + span.length() as usize].to_vec();
        for up in span.levels() as usize..(span.levels() + span.uncles()) as usize {
            hashes.push(rows[base + up][(index >> up) ^ 1]);
        }
        hashes
    }

    #[test]
    fn a_file_within_a_piece_has_no_tree_of_its_own() {
        assert_eq!(Tree::new([1; 32], 65_536, 65_536, 0), None);
        assert_eq!(Tree::new([1; 32], 65_537, 65_536, 0).unwrap().pieces(), 2);
        assert_eq!(Tree::new([1; 32], u64::MAX, 65_536, 0), None);
    }

    #[test]
    fn a_layer_that_does_not_lead_to_the_root_is_not_taken() {
        let (whole, _) = file(40, 1);
        let mut tree = Tree::new(*whole.root(), 40 * 16_384, 32_768, 0).unwrap();
        let mut layer = whole.layer().unwrap().to_vec();
        layer[3][0] ^= 1;
        assert!(!tree.fill(layer.clone()) && tree.layer().is_none());
        layer[3][0] ^= 1;
        layer.push([0; 32]);
        assert!(!tree.fill(layer.clone()));
        layer.pop();
        assert!(tree.fill(layer));
    }

    #[test]
    fn a_long_layer_is_asked_for_in_parts_that_make_it_whole() {
        let (tree, rows) = file(2_700, 1);
        assert_eq!((tree.pieces(), tree.parts()), (1_350, 3));
        let mut layer = Vec::new();
        for part in 0..3 {
            let span = tree.part(part).unwrap();
            let answer = tree.answer(&span).unwrap();
            assert_eq!(answer, expected(&rows, &span));
            assert!(tree.proves(&span, &answer));
            layer.extend_from_slice(&answer[..512]);
        }
        layer.truncate(1_350);
        assert_eq!(Some(layer.as_slice()), tree.layer());
        assert_eq!(tree.part(3), None);
        assert_eq!(tree.part(u32::MAX), None);
    }

    #[test]
    fn what_would_take_long_is_not_answered() {
        let (tree, _) = file(40_000, 0);
        let answers = |base, length| {
            tree.answer(&HashSpan::new(*tree.root(), base, 0, length, 0).unwrap())
                .is_some()
        };
        assert!(answers(0, 512) && answers(4, 512) && answers(8, 32));
        assert!(!answers(8, 64) && !answers(0, 1_024));
    }

    proptest! {
        #[test]
        fn every_span_of_every_layer_is_as_in_the_whole_tree(
            blocks in 2_u32..200, shift in 0_u32..4, base in 0_u32..9, width in 0_u32..9, index in 0_u32..40, layers in 0_u32..9
        ) {
            prop_assume!(blocks > 1 << shift);
            let (tree, rows) = file(blocks, shift);
            let span = HashSpan::new(*tree.root(), base, index << width, 1 << width, layers).unwrap();
            let exists = rows.get(base as usize).is_some_and(|row| (index + 1) << width <= u32::try_from(row.len()).unwrap())
                && base + width + span.uncles() < u32::try_from(rows.len()).unwrap();
            if base >= shift {
                let answer = tree.answer(&span);
                prop_assert_eq!(answer.clone(), exists.then(|| expected(&rows, &span)));
                if let Some(answer) = answer {
                    let proved = base + width + span.uncles() + 1 == u32::try_from(rows.len()).unwrap();
                    prop_assert_eq!(tree.proves(&span, &answer), proved);
                }
            } else if let Some(piece) = tree.piece_of(&span) {
                prop_assert!(exists);
                let first = ((piece - 7) << shift) as usize;
                let own = &rows[0][first..(first + (1 << shift)).min(blocks as usize)];
                prop_assert_eq!(tree.answer_from(&span, own), Some(expected(&rows, &span)));
            }
        }

        #[test]
        fn a_changed_proof_proves_nothing(blocks in 5_u32..200, part in 0_u32..3, place in 0_usize..400, bit in 0_usize..256) {
            let (tree, _) = file(blocks, 1);
            let span = tree.part(part % tree.parts()).unwrap();
            let mut answer = tree.answer(&span).unwrap();
            let place = place % answer.len();
            answer[place][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!tree.proves(&span, &answer));
            answer.pop();
            prop_assert!(!tree.proves(&span, &answer));
        }
    }
}
