//! The piece layers of a v2 torrent (BEP 52): checked against the roots in the info dictionary, since the info-hash does
//! not cover them.

use data_encoding::HEXLOWER;

use crate::bencode::Value;
use crate::hash_tree::{Layers, Tree, Trees};
use crate::merkle::Hash;

use super::MetainfoError;
use super::info::File;

/// The trees of all files longer than a piece, with as many layers as there are. Each must belong to such a file and lead to
/// its root; some may be missing.
pub(super) fn read(
    layers: Option<Value<'_>>,
    files: &[File],
    piece_length: u32,
) -> Result<Trees, MetainfoError> {
    let mut trees = Trees::new(files.iter().filter_map(|file| tree(file, piece_length)));
    let mut read = Layers::new();
    for (key, value) in layers.and_then(|layers| layers.dict()).into_iter().flatten() {
        let root: Hash = key.try_into().map_err(|_| wrong(key))?;
        let layer = hashes(value.bytes().unwrap_or_default()).ok_or_else(|| wrong(key))?;
        read.insert(root, layer);
    }
    trees.fill(read).map_err(|root| wrong(&root))?;
    Ok(trees)
}

/// The layer of this root, or what was to be one, is wrong.
pub(super) fn wrong(root: &[u8]) -> MetainfoError {
    MetainfoError::PieceLayer(HEXLOWER.encode(root.get(..root.len().min(32)).unwrap_or_default()))
}

fn tree(file: &File, piece_length: u32) -> Option<Tree> {
    let first_piece = u32::try_from(file.offset / u64::from(piece_length)).ok()?;
    Tree::new(file.pieces_root?, file.length, piece_length, first_piece)
}

fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks();
    rest.is_empty().then(|| hashes.to_vec())
}
