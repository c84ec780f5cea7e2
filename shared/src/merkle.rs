//! Merkle trees of v2 torrents (BEP 52): SHA-256 over blocks of 16 KiB, two children a node. Leaves past the end of a
//! file are zero hashes, not hashes of zeros. A *layer* is the row of the tree with one hash a piece.

use sha2::{Digest, Sha256};

use crate::geometry::BLOCK_LENGTH;
pub use crate::hash_tree::{Layers, Tree, Trees};

/// One node of a tree.
pub type Hash = [u8; 32];

/// A leaf past the end of the file.
const NOTHING: Hash = [0; 32];

/// The leaf of one block: at most 16 KiB, shorter only at the end of a file.
pub fn leaf(block: &[u8]) -> Hash {
    Sha256::digest(block).into()
}

/// The leaves of content that begins at a block's border.
pub fn leaves(content: &[u8]) -> Vec<Hash> {
    content.chunks(BLOCK_LENGTH as usize).map(leaf).collect()
}

/// The root over `leaves`, widened with zero hashes to the next power of two: the `pieces root` of a file no longer than a piece.
pub fn root(leaves: &[Hash]) -> Hash {
    climb(leaves.to_vec(), NOTHING, levels(leaves.len()))
}

/// The hash of one piece in a file of several: its leaves, widened with zero hashes to a whole piece.
pub fn piece_root(leaves: &[Hash], piece_length: u32) -> Hash {
    climb(leaves.to_vec(), NOTHING, piece_levels(piece_length))
}

/// The layer over all leaves of a file: one hash a piece.
pub fn layer(leaves: &[Hash], piece_length: u32) -> Vec<Hash> {
    let blocks = (piece_length / BLOCK_LENGTH).max(1) as usize;
    leaves
        .chunks(blocks)
        .map(|piece| piece_root(piece, piece_length))
        .collect()
}

/// The `pieces root` of a file from its layer. Missing pieces at the end are subtrees of zero hashes.
pub fn root_of_layer(layer: &[Hash], piece_length: u32) -> Hash {
    climb(
        layer.to_vec(),
        padding(piece_levels(piece_length)),
        levels(layer.len()),
    )
}

/// The `pieces root` of a file from all its leaves, whatever its length.
pub fn file_root(leaves: &[Hash], piece_length: u32) -> Hash {
    let blocks = (piece_length / BLOCK_LENGTH) as usize;
    if leaves.len() <= blocks {
        root(leaves)
    } else {
        root_of_layer(&layer(leaves, piece_length), piece_length)
    }
}

/// The root of a subtree, so many levels high, that lies wholly past the end of the file.
pub fn padding(levels: u32) -> Hash {
    (0..levels).fold(NOTHING, |below, _| parent(&below, &below))
}

/// Levels between `count` nodes, widened to a power of two, and the root.
fn levels(count: usize) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

/// Levels between the leaves and a piece's hash.
fn piece_levels(piece_length: u32) -> u32 {
    levels((piece_length / BLOCK_LENGTH).max(1) as usize)
}

pub(crate) fn parent(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// Node `place` so many levels above a row; `pad` stands for every node that is missing at the row's right end.
pub(crate) fn node(row: &[Hash], pad: Hash, levels: u32, place: u32) -> Hash {
    let (start, width) = (u64::from(place) << levels.min(32), 1_u64 << levels.min(32));
    let clip = |end: u64| usize::try_from(end).unwrap_or(usize::MAX).min(row.len());
    let below = row.get(clip(start)..clip(start + width)).unwrap_or_default();
    climb(below.to_vec(), pad, levels)
}

/// Climbs so many levels from a row of nodes; `pad` stands for every node that is missing at its right end.
pub(crate) fn climb(mut row: Vec<Hash>, mut pad: Hash, levels: u32) -> Hash {
    for _ in 0..levels {
        row = row.chunks(2).map(|pair| join(pair, &pad)).collect();
        pad = parent(&pad, &pad);
    }
    row.first().copied().unwrap_or(pad)
}

fn join(pair: &[Hash], pad: &Hash) -> Hash {
    match pair {
        [left, right] => parent(left, right),
        [left, ..] => parent(left, pad),
        [] => parent(pad, pad),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tree as the specification draws it: all leaves, zeros to the next power of two, pair by pair.
    fn drawn(leaves: &[Hash], width: usize) -> Hash {
        let mut row = leaves.to_vec();
        row.resize(width, NOTHING);
        while row.len() > 1 {
            row = row.chunks(2).map(|pair| parent(&pair[0], &pair[1])).collect();
        }
        row[0]
    }

    #[test]
    fn one_block_is_its_own_root() {
        assert_eq!(root(&leaves(b"hello")), leaf(b"hello"));
        assert_eq!(leaves(&vec![0; 40_000]).len(), 3);
    }

    #[test]
    fn padding_is_a_tree_of_zero_hashes() {
        assert_eq!(padding(0), NOTHING);
        assert_eq!(padding(3), drawn(&[], 8));
    }

    #[test]
    fn an_empty_row_is_all_padding() {
        assert_eq!(piece_root(&[], 65_536), padding(2));
    }

    proptest! {
        #[test]
        fn every_way_to_the_root_agrees_with_the_drawing(count in 1_usize..70, shift in 0_u32..4) {
            let leaves: Vec<Hash> = (0..count).map(|number| leaf(&number.to_be_bytes())).collect();
            let piece_length = BLOCK_LENGTH << shift;
            let blocks = 1_usize << shift;
            if count > blocks {
                let width = count.next_multiple_of(blocks).next_power_of_two();
                let layer = layer(&leaves, piece_length);
                prop_assert_eq!(layer.len(), count.div_ceil(blocks));
                prop_assert_eq!(root_of_layer(&layer, piece_length), drawn(&leaves, width));
            } else {
                prop_assert_eq!(root(&leaves), drawn(&leaves, count.next_power_of_two()));
                prop_assert_eq!(piece_root(&leaves, piece_length), drawn(&leaves, blocks));
            }
            prop_assert_eq!(file_root(&leaves, piece_length), drawn(&leaves, count.next_power_of_two()));
        }
    }
}
