//! Blocks on their way to the disk: gathered until a piece is whole, or until the next stripe of a long piece is. Pieces are
//! hashed from their start to their end as their bytes come, so what arrives out of order waits for what is missing before
//! it, and only where memory ends is it written first and read back later. Pure bookkeeping; the writer carries the tasks out.

use std::collections::BTreeMap;

use bytes::Bytes;
use shared::geometry::{Block, Geometry, PieceIndex};

/// What one write brings to the disk at most, about. Pieces up to this length are hashed before a byte is written.
pub(super) const STRIPE: u32 = 1 << 20;

/// Work for the disk, on one piece.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) piece: PieceIndex,
    /// Blocks that follow one another, by where in the piece they begin.
    pub(super) runs: Vec<(u32, Vec<Bytes>)>,
    /// The piece can be hashed up to here; what is not in `runs` is on the disk by now.
    pub(super) hash_to: u32,
    /// All of the piece is here: is it right?
    pub(super) last: bool,
    /// Bytes of blocks that leave memory with this task.
    pub(super) credit: u64,
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
    /// Everything before this has left.
    head: u32,
    /// What left out of order: where it begins and ends.
    spilled: BTreeMap<u32, u32>,
}

impl Gathered {
    /// Moves the head over what left before its turn.
    fn pass_spilled(&mut self, mut head: u32) -> u32 {
        while let Some(end) = self.spilled.remove(&head) {
            head = end;
        }
        head
    }

    /// Where the run of blocks and of spilled ranges ends that begins at the head.
    fn reach(&self) -> u32 {
        let mut end = self.head;
        loop {
            let next = self.blocks.get(&end).map(|data| end + length(data));
            let Some(next) = next.or_else(|| self.spilled.get(&end).copied()) else {
                return end;
            };
            end = next;
        }
    }
}

fn length(data: &Bytes) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
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
        let long = self.geometry.length_of(piece) > STRIPE;
        let gathered = self.pieces.entry(piece).or_default();
        let length = data.len() as u64;
        let spilled = gathered.spilled.range(..=block.begin()).next_back();
        let left = block.begin() < gathered.head || spilled.is_some_and(|(_, end)| block.begin() < *end);
        if left || gathered.blocks.contains_key(&block.begin()) {
            // It came twice: only its memory is given back.
            return Some(Task {
                piece,
                runs: Vec::new(),
                hash_to: 0,
                last: false,
                credit: length,
            });
        }
        gathered.blocks.insert(block.begin(), data);
        gathered.bytes += length;
        self.held += length;
        let ready = long && gathered.reach() - gathered.head >= STRIPE;
        if ready {
            return self.leave(piece, false);
        }
        self.overflow()
    }

    /// Takes what can be hashed by now off the front, or all there is.
    fn leave(&mut self, piece: PieceIndex, all: bool) -> Option<Task> {
        let gathered = self.pieces.get_mut(&piece)?;
        let reach = gathered.reach();
        let later = if all {
            BTreeMap::new()
        } else {
            gathered.blocks.split_off(&reach)
        };
        let now = std::mem::replace(&mut gathered.blocks, later);
        let credit = now.values().map(|data| data.len() as u64).sum();
        gathered.bytes -= credit;
        self.held -= credit;
        let runs = runs(now);
        for (begin, parts) in &runs {
            let end = begin.saturating_add(parts.iter().map(length).sum());
            gathered.spilled.insert(*begin, end);
        }
        gathered.head = gathered.pass_spilled(gathered.head);
        Some(Task {
            piece,
            runs,
            hash_to: gathered.head,
            last: false,
            credit,
        })
    }

    fn overflow(&mut self) -> Option<Task> {
        if self.held <= self.held_max {
            return None;
        }
        let largest = self.pieces.iter().max_by_key(|(_, gathered)| gathered.bytes);
        let (piece, _) = largest?;
        self.leave(*piece, true)
    }

    /// All blocks of the piece were stored: what is left of it, to be written and verified.
    pub(super) fn complete(&mut self, piece: PieceIndex) -> Task {
        let gathered = self.pieces.remove(&piece).unwrap_or_default();
        self.held -= gathered.bytes;
        Task {
            piece,
            credit: gathered.bytes,
            runs: runs(gathered.blocks),
            hash_to: self.geometry.length_of(piece),
            last: true,
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

    /// A task as `piece:begin+length,…`, with how far it can be hashed.
    fn drawn(task: &Task) -> String {
        let length = |parts: &[Bytes]| parts.iter().map(Bytes::len).sum::<usize>() / 16_384;
        let runs = task
            .runs
            .iter()
            .map(|(begin, parts)| format!("{}+{}", begin / BLOCK_LENGTH, length(parts)));
        let runs = runs.collect::<Vec<_>>().join(",");
        let last = if task.last { " last" } else { "" };
        format!(
            "{}:{runs} to {}{last}",
            task.piece.number(),
            task.hash_to.div_ceil(BLOCK_LENGTH)
        )
    }

    fn complete(gather: &mut Gather, piece: u32) -> String {
        let piece = gather.geometry.piece(piece).unwrap();
        drawn(&gather.complete(piece))
    }

    #[test]
    fn a_short_piece_stays_in_memory_until_it_is_whole() {
        let mut gather = Gather::new(Geometry::v1(65_536, 200_000).unwrap(), 1 << 30);
        for number in [3, 0, 1, 2] {
            assert!(stored(&mut gather, 1, number).is_none());
        }
        assert_eq!(complete(&mut gather, 1), "1:0+4 to 4 last");
        assert_eq!(gather.held, 0);
    }

    #[test]
    fn a_long_piece_leaves_in_stripes_from_its_start() {
        let length = u64::from(STRIPE) * 2 + 16_384;
        let mut gather = Gather::new(Geometry::v1(length, length * 3).unwrap(), 1 << 30);
        // The first block is missing: what follows waits for it.
        for number in 1..BLOCKS + 3 {
            assert!(stored(&mut gather, 0, number).is_none());
        }
        assert_eq!(drawn(&stored(&mut gather, 0, 0).unwrap()), "0:0+67 to 67");
        for number in BLOCKS + 3..=2 * BLOCKS {
            assert!(stored(&mut gather, 0, number).is_none());
        }
        assert_eq!(complete(&mut gather, 0), "0:67+62 to 129 last");
    }

    #[test]
    fn too_much_that_is_incomplete_is_written_as_it_is_and_hashed_in_its_turn() {
        let mut gather = Gather::new(Geometry::v1(65_536, 1 << 20).unwrap(), 3 * 16_384);
        for (piece, number) in [(0, 0), (1, 0), (1, 2)] {
            assert!(stored(&mut gather, piece, number).is_none());
        }
        assert_eq!(drawn(&stored(&mut gather, 2, 1).unwrap()), "1:0+1,2+1 to 1");
        assert!(stored(&mut gather, 1, 1).is_none());
        assert_eq!(complete(&mut gather, 1), "1:1+1 to 4 last");
    }

    #[test]
    fn a_block_that_comes_twice_is_only_given_back() {
        let mut gather = Gather::new(Geometry::v1(65_536, 1 << 20).unwrap(), 0);
        assert_eq!(drawn(&stored(&mut gather, 0, 2).unwrap()), "0:2+1 to 0");
        let again = stored(&mut gather, 0, 2).unwrap();
        assert_eq!((drawn(&again).as_str(), again.credit), ("0: to 0", 16_384));
    }
}
