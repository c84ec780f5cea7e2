//! Blocks on their way to the disk: gathered until a piece is whole, or until a stripe of a long piece is. Pure bookkeeping;
//! the writer carries the tasks out.

use std::collections::BTreeMap;

use bytes::Bytes;
use shared::geometry::{Block, Geometry, PieceIndex};

/// What one write brings to the disk at most. Pieces up to this length are hashed in memory, before a byte is written.
pub(super) const STRIPE: u32 = 1 << 20;

/// How a piece's hash is taken once its last blocks are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    /// All of it is in this task.
    InMemory,
    /// Parts of it were written before, so it is read back.
    OnDisk,
}

/// Work for the disk, on one piece.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) piece: PieceIndex,
    /// Blocks that follow one another, by where in the piece they begin.
    pub(super) runs: Vec<(u32, Vec<Bytes>)>,
    /// `None` for a stripe of a piece that misses others still.
    pub(super) verify: Option<Verify>,
}

impl Task {
    /// Bytes of blocks in it.
    pub(super) fn bytes(&self) -> u64 {
        self.runs
            .iter()
            .flat_map(|(_, parts)| parts)
            .map(|part| part.len() as u64)
            .sum()
    }
}

/// Blocks of pieces that are under way.
#[derive(Debug)]
pub(super) struct Gather {
    geometry: Geometry,
    pieces: BTreeMap<PieceIndex, Gathered>,
    held: u64,
    /// Beyond this, incomplete pieces are written as far as they are: every byte of credit stuck in them would be the end.
    held_max: u64,
}

#[derive(Debug, Default)]
struct Gathered {
    blocks: BTreeMap<u32, Bytes>,
    bytes: u64,
    /// Some of it was written already.
    spilled: bool,
}

impl Gather {
    pub(super) fn new(geometry: Geometry, held_max: u64) -> Self {
        Self {
            geometry,
            pieces: BTreeMap::new(),
            held: 0,
            held_max,
        }
    }

    /// Takes a block; gives back what is now worth writing.
    pub(super) fn store(&mut self, block: Block, data: Bytes) -> Option<Task> {
        let piece = block.piece();
        let gathered = self.pieces.entry(piece).or_default();
        let length = data.len() as u64;
        if gathered.blocks.insert(block.begin(), data).is_none() {
            gathered.bytes += length;
            self.held += length;
        }
        if self.geometry.length_of(piece) > STRIPE {
            self.full_stripe(block)
        } else {
            None
        }
        .or_else(|| self.overflow())
    }

    fn full_stripe(&mut self, block: Block) -> Option<Task> {
        let piece = block.piece();
        let start = block.begin() / STRIPE * STRIPE;
        let end = self.geometry.length_of(piece).min(start.saturating_add(STRIPE));
        let gathered = self.pieces.get_mut(&piece)?;
        let there: u64 = gathered
            .blocks
            .range(start..end)
            .map(|(_, data)| data.len() as u64)
            .sum();
        if there < u64::from(end - start) {
            return None;
        }
        let mut stripe = gathered.blocks.split_off(&start);
        gathered.blocks.append(&mut stripe.split_off(&end));
        gathered.bytes -= there;
        gathered.spilled = true;
        self.held -= there;
        Some(Task {
            piece,
            runs: runs(stripe),
            verify: None,
        })
    }

    fn overflow(&mut self) -> Option<Task> {
        if self.held <= self.held_max {
            return None;
        }
        let (&piece, gathered) = self
            .pieces
            .iter_mut()
            .max_by_key(|(_, gathered)| gathered.bytes)?;
        self.held -= gathered.bytes;
        gathered.bytes = 0;
        gathered.spilled = true;
        Some(Task {
            piece,
            runs: runs(std::mem::take(&mut gathered.blocks)),
            verify: None,
        })
    }

    /// All blocks of the piece were stored: what is left of it, to be written and verified.
    pub(super) fn complete(&mut self, piece: PieceIndex) -> Task {
        let gathered = self.pieces.remove(&piece).unwrap_or_default();
        self.held -= gathered.bytes;
        let verify = if gathered.spilled {
            Verify::OnDisk
        } else {
            Verify::InMemory
        };
        Task {
            piece,
            runs: runs(gathered.blocks),
            verify: Some(verify),
        }
    }
}

/// Joins blocks that follow one another.
fn runs(blocks: BTreeMap<u32, Bytes>) -> Vec<(u32, Vec<Bytes>)> {
    let (mut runs, mut end): (Vec<(u32, Vec<Bytes>)>, u32) = (Vec::new(), 0);
    for (begin, data) in blocks {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match runs.last_mut() {
            Some((_, parts)) if begin == end => parts.push(data),
            _ => runs.push((begin, vec![data])),
        }
        end = begin.saturating_add(length);
    }
    runs
}

#[cfg(test)]
mod tests {
    use shared::geometry::BLOCK_LENGTH;

    use super::*;

    const BLOCKS: u32 = STRIPE / BLOCK_LENGTH;

    fn stored(gather: &mut Gather, piece: u32, number: u32) -> Option<Task> {
        let piece = gather.geometry.piece(piece).unwrap();
        let block = gather.geometry.block(piece, number).unwrap();
        gather.store(block, Bytes::from(vec![0; block.length() as usize]))
    }

    /// A task as `piece:begin+length,…`, with how it is verified.
    fn drawn(task: &Task) -> String {
        let length = |parts: &[Bytes]| parts.iter().map(Bytes::len).sum::<usize>() / 16_384;
        let runs = task
            .runs
            .iter()
            .map(|(begin, parts)| format!("{}+{}", begin / BLOCK_LENGTH, length(parts)));
        format!(
            "{}:{} {:?}",
            task.piece.number(),
            runs.collect::<Vec<_>>().join(","),
            task.verify
        )
    }

    #[test]
    fn a_short_piece_stays_in_memory_until_it_is_whole() {
        let mut gather = Gather::new(Geometry::v1(65_536, 200_000).unwrap(), 1 << 30);
        for number in [3, 0, 1, 2] {
            assert!(stored(&mut gather, 1, number).is_none());
        }
        let piece = gather.geometry.piece(1).unwrap();
        assert_eq!(drawn(&gather.complete(piece)), "1:0+4 Some(InMemory)");
        assert_eq!(gather.held, 0);
    }

    #[test]
    fn a_long_piece_leaves_in_stripes_and_is_read_back() {
        let length = u64::from(STRIPE) * 2 + 16_384;
        let mut gather = Gather::new(Geometry::v1(length, length * 3).unwrap(), 1 << 30);
        for number in (1..BLOCKS).chain([2 * BLOCKS]) {
            assert!(stored(&mut gather, 0, number).is_none() || number == 2 * BLOCKS);
        }
        assert_eq!(drawn(&stored(&mut gather, 0, 0).unwrap()), "0:0+64 None");
        let piece = gather.geometry.piece(0).unwrap();
        assert_eq!(drawn(&gather.complete(piece)), "0: Some(OnDisk)");
    }

    #[test]
    fn too_much_that_is_incomplete_is_written_as_it_is() {
        let mut gather = Gather::new(Geometry::v1(65_536, 1 << 20).unwrap(), 3 * 16_384);
        for (piece, number) in [(0, 0), (1, 0), (1, 2)] {
            assert!(stored(&mut gather, piece, number).is_none());
        }
        assert_eq!(drawn(&stored(&mut gather, 2, 1).unwrap()), "1:0+1,2+1 None");
        assert!(stored(&mut gather, 1, 1).is_none());
        let piece = gather.geometry.piece(1).unwrap();
        assert_eq!(drawn(&gather.complete(piece)), "1:1+1 Some(OnDisk)");
    }
}
