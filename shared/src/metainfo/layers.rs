//! The piece layers of a v2 torrent (BEP 52): checked against the roots in the info dictionary, since the info-hash does
//! not cover them.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;

use crate::bencode::Value;
use crate::merkle::{self, Hash};

use super::MetainfoError;
use super::info::File;

/// The layer of each root.
pub(super) type Layers = BTreeMap<Hash, Vec<Hash>>;

/// Reads the layers. Each must belong to a file longer than a piece and lead to its root; some may be missing.
pub(super) fn read(
    layers: Option<Value<'_>>,
    files: &[File],
    piece_length: u32,
) -> Result<Layers, MetainfoError> {
    let mut expected = expected(files, piece_length);
    let mut read = Layers::new();
    for (key, value) in layers.and_then(|layers| layers.dict()).into_iter().flatten() {
        let wrong =
            || MetainfoError::PieceLayer(HEXLOWER.encode(key.get(..key.len().min(32)).unwrap_or_default()));
        let root: Hash = key.try_into().map_err(|_| wrong())?;
        let pieces = expected.remove(&root).ok_or_else(wrong)?;
        let layer = hashes(value.bytes().unwrap_or_default()).ok_or_else(wrong)?;
        if layer.len() as u64 != pieces || merkle::root_of_layer(&layer, piece_length) != root {
            return Err(wrong());
        }
        read.insert(root, layer);
    }
    Ok(read)
}

/// How many pieces the layer of each root has. Equal files share a root.
fn expected(files: &[File], piece_length: u32) -> BTreeMap<Hash, u64> {
    let long = files.iter().filter(|file| file.length > u64::from(piece_length));
    long.filter_map(|file| Some((file.pieces_root?, file.length.div_ceil(u64::from(piece_length)))))
        .collect()
}

fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks();
    rest.is_empty().then(|| hashes.to_vec())
}

/// Has every file that is longer than a piece its layer?
pub(super) fn complete(layers: &Layers, files: &[File], piece_length: u32) -> bool {
    expected(files, piece_length)
        .keys()
        .all(|root| layers.contains_key(root))
}
