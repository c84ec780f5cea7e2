//! Whether a piece's bytes are the torrent's, fed in order as they come: a long piece need never be in memory as a whole.
//! SHA-1 where the torrent has it, also in a hybrid, of which we join the v1 swarm; the merkle tree of its file otherwise.

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::Info;
use super::info::File;
use crate::geometry::{BLOCK_LENGTH, PieceIndex};
use crate::merkle;

/// A piece that is being hashed.
#[derive(Clone, Debug)]
pub struct PieceCheck {
    piece: PieceIndex,
    fed: u64,
    hash: Hash,
}

#[derive(Clone, Debug)]
enum Hash {
    V1(Sha1),
    /// Bytes of the file in this piece; what follows them must be zeros.
    V2 {
        inside: u64,
        block: Sha256,
        leaves: Vec<merkle::Hash>,
        padded: bool,
    },
}

impl PieceCheck {
    /// Bytes that were fed so far.
    pub fn fed(&self) -> u64 {
        self.fed
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        let Hash::V2 {
            inside,
            block,
            leaves,
            padded,
        } = &mut self.hash
        else {
            if let Hash::V1(hash) = &mut self.hash {
                hash.update(bytes);
            }
            self.fed += bytes.len() as u64;
            return;
        };
        while !bytes.is_empty() {
            let content = inside.saturating_sub(self.fed);
            let to_border = u64::from(BLOCK_LENGTH) - self.fed % u64::from(BLOCK_LENGTH);
            let length = content.min(to_border).min(bytes.len() as u64);
            // Fits: it is no longer than `bytes`.
            let (now, later) = bytes.split_at(usize::try_from(length).unwrap_or(0));
            if now.is_empty() {
                *padded &= bytes.iter().all(|byte| *byte == 0);
                self.fed += bytes.len() as u64;
                return;
            }
            block.update(now);
            self.fed += length;
            if length == to_border || self.fed == *inside {
                leaves.push(std::mem::take(block).finalize().into());
            }
            bytes = later;
        }
    }
}

impl Info {
    /// Begins to hash a piece. `None` if no hash of it is known.
    pub fn check(&self, piece: PieceIndex) -> Option<PieceCheck> {
        let hash = if self.sha1_of(piece).is_some() {
            Hash::V1(Sha1::new())
        } else {
            let start = self.geometry().start_of(piece);
            let file = self.file_at(start)?;
            let length = u64::from(self.geometry().length_of(piece));
            Hash::V2 {
                inside: (file.offset + file.length).checked_sub(start)?.min(length),
                block: Sha256::new(),
                leaves: Vec::new(),
                padded: true,
            }
        };
        Some(PieceCheck { piece, fed: 0, hash })
    }

    /// Do the bytes that were fed make up the piece?
    pub fn agrees(&self, check: PieceCheck) -> bool {
        if check.fed != u64::from(self.geometry().length_of(check.piece)) {
            return false;
        }
        match check.hash {
            Hash::V1(hash) => self
                .sha1_of(check.piece)
                .is_some_and(|expected| hash.finalize().as_slice() == expected),
            Hash::V2 { leaves, padded, .. } => {
                padded && self.check_leaves(check.piece, &leaves).unwrap_or(false)
            }
        }
    }

    /// Does this piece's content match?
    pub fn check_piece(&self, piece: PieceIndex, content: &[u8]) -> bool {
        self.check(piece).is_some_and(|mut check| {
            check.feed(content);
            self.agrees(check)
        })
    }

    /// A piece of a v2 torrent lies in one file.
    fn file_at(&self, start: u64) -> Option<&File> {
        let behind = self.files().partition_point(|file| file.offset <= start);
        self.files().get(..behind)?.iter().rfind(|file| file.length > 0)
    }

    fn check_leaves(&self, piece: PieceIndex, leaves: &[merkle::Hash]) -> Option<bool> {
        let (start, piece_length) = (self.geometry().start_of(piece), self.geometry().piece_length());
        let file = self.file_at(start)?;
        let root = file.pieces_root?;
        if file.length <= u64::from(piece_length) {
            return Some(merkle::root(leaves) == root);
        }
        let number = usize::try_from((start - file.offset) / u64::from(piece_length)).ok()?;
        Some(merkle::piece_root(leaves, piece_length) == *self.layer(&root)?.get(number)?)
    }
}
