//! The hashes of one piece, of either generation or both, in one pass over its bytes. Pure.

use sha1::{Digest as _, Sha1};
use shared::geometry::BLOCK_LENGTH;
use shared::merkle;
use shared::metainfo::write::{Format, PieceHash, Tree};

static ZEROS: [u8; BLOCK_LENGTH as usize] = [0; BLOCK_LENGTH as usize];

/// A piece that is being hashed.
#[derive(Debug)]
pub struct Digest {
    v1: Option<Sha1>,
    /// SHA-256 of every block so far.
    v2: Option<Vec<[u8; 32]>>,
}

impl Digest {
    pub fn new(format: Format) -> Self {
        Self {
            v1: format.has_v1().then(Sha1::new),
            v2: format.has_v2().then(Vec::new),
        }
    }

    /// Takes the next bytes: whole blocks, but for the last ones of a file.
    pub fn content(&mut self, bytes: &[u8]) {
        let Some(leaves) = &mut self.v2 else {
            return self.padding(bytes);
        };
        // Block by block, so that the second hash finds the bytes where the first one left them: in the nearest cache.
        for block in bytes.chunks(BLOCK_LENGTH as usize) {
            if let Some(v1) = &mut self.v1 {
                v1.update(block);
            }
            leaves.push(merkle::leaf(block));
        }
    }

    /// Takes padding, which only v1 sees.
    pub fn zeros(&mut self, mut length: u64) {
        while self.v1.is_some() && length > 0 {
            let rest = usize::try_from(length).unwrap_or(usize::MAX).min(ZEROS.len());
            let (run, _) = ZEROS.split_at(rest);
            self.padding(run);
            length -= rest as u64;
        }
    }

    fn padding(&mut self, bytes: &[u8]) {
        if let Some(v1) = &mut self.v1 {
            v1.update(bytes);
        }
    }

    /// The hashes, that of v2 over a tree of this height.
    pub fn finish(self, tree: Tree) -> PieceHash {
        PieceHash {
            v1: self.v1.map_or([0; 20], |v1| v1.finalize().into()),
            v2: self.v2.map_or([0; 32], |leaves| tree.root(&leaves)),
        }
    }
}
