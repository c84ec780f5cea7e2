//! How a torrent's bytes are cut: pieces, which are hashed, and blocks, which travel. A number from the wire becomes a
//! [`PieceIndex`] or a [`Block`] only here, so holding one is the proof that the torrent has it.

use std::collections::BTreeMap;

/// The unit of transfer, 16 KiB, by the convention of all clients (BEP 3 leaves it open, BEP 52 fixes it).
pub const BLOCK_LENGTH: u32 = 16 * 1024;

/// The most pieces a torrent may have: a bitfield of 256 KiB, and what libtorrent allows.
pub const PIECE_COUNT_MAX: u32 = 0x20_0000;

/// The longest piece, 512 MiB less one block, as libtorrent accepts it.
pub const PIECE_LENGTH_MAX: u32 = 0x1fff_c000;

/// A piece this torrent really has. Only [`Geometry`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The number as an index into per-piece tables.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// A range of bytes inside one piece of this torrent, one block long or shorter at the end. Only [`Geometry`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    piece: PieceIndex,
    begin: u32,
    length: u32,
}

impl Block {
    pub const fn piece(self) -> PieceIndex {
        self.piece
    }

    /// The first byte, counted from the start of the piece.
    pub const fn begin(self) -> u32 {
        self.begin
    }

    /// Bytes; at least 1.
    pub const fn length(self) -> u32 {
        self.length
    }

    /// Which block of its piece this is.
    pub const fn number(self) -> u32 {
        self.begin / BLOCK_LENGTH
    }
}

/// The numbers do not describe a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    #[error("the piece length {0} is outside 1 to {PIECE_LENGTH_MAX}")]
    PieceLength(u64),
    #[error("a torrent of 0 bytes holds nothing to share")]
    Empty,
    #[error("{0} pieces are more than {PIECE_COUNT_MAX}")]
    TooManyPieces(u64),
}

/// Piece length, total length and piece count of one torrent, and with them every question of "is this inside?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    piece_length: u32,
    piece_count: u32,
    /// Bytes of all pieces together.
    total_length: u64,
    /// Pieces shorter than `piece_length`: the last one, and in a v2 torrent the last of every file.
    short: BTreeMap<u32, u32>,
    /// Files begin pieces of their own, so there are gaps behind short ones.
    gaps: bool,
}

impl Geometry {
    /// The cut of a v1 or hybrid torrent: one run of bytes, files end to end, padding included.
    pub fn v1(piece_length: u64, total_length: u64) -> Result<Self, GeometryError> {
        Ok(Self {
            gaps: false,
            ..Self::v2(piece_length, [total_length])?
        })
    }

    /// The cut of a v2 torrent: each file begins a piece of its own and may end in a short one. Empty files have none.
    pub fn v2(piece_length: u64, file_lengths: impl IntoIterator<Item = u64>) -> Result<Self, GeometryError> {
        let cut = u32::try_from(piece_length)
            .ok()
            .filter(|length| (1..=PIECE_LENGTH_MAX).contains(length))
            .ok_or(GeometryError::PieceLength(piece_length))?;
        let (mut count, mut total, mut short) = (0_u64, 0_u64, BTreeMap::new());
        for length in file_lengths {
            count = count.saturating_add(length.div_ceil(piece_length));
            total = total.saturating_add(length);
            let number = u32::try_from(count)
                .ok()
                .filter(|count| *count <= PIECE_COUNT_MAX);
            let number = number.ok_or(GeometryError::TooManyPieces(count))?;
            if let Ok(rest @ 1..) = u32::try_from(length % piece_length) {
                short.insert(number.saturating_sub(1), rest);
            }
        }
        let piece_count = u32::try_from(count).map_err(|_| GeometryError::TooManyPieces(count))?;
        if piece_count == 0 {
            return Err(GeometryError::Empty);
        }
        Ok(Self {
            piece_length: cut,
            piece_count,
            total_length: total,
            short,
            gaps: true,
        })
    }

    /// Bytes of a full piece.
    pub const fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// At least 1.
    pub const fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Bytes of all pieces together.
    pub const fn total_length(&self) -> u64 {
        self.total_length
    }

    /// The one door from a number on the wire to a [`PieceIndex`].
    pub fn piece(&self, number: u32) -> Option<PieceIndex> {
        (number < self.piece_count).then_some(PieceIndex(number))
    }

    /// Every piece in order.
    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + ExactSizeIterator + use<> {
        (0..self.piece_count).map(PieceIndex)
    }

    /// Bytes of this piece.
    pub fn length_of(&self, piece: PieceIndex) -> u32 {
        self.short.get(&piece.0).copied().unwrap_or(self.piece_length)
    }

    /// The place of this piece's first byte where every piece is full: the address space in which files have offsets.
    pub fn start_of(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_length)
    }

    /// How many blocks this piece has.
    pub fn block_count(&self, piece: PieceIndex) -> u32 {
        self.length_of(piece).div_ceil(BLOCK_LENGTH)
    }

    /// Block `number` of this piece.
    pub fn block(&self, piece: PieceIndex, number: u32) -> Option<Block> {
        let begin = number.checked_mul(BLOCK_LENGTH)?;
        let rest = self
            .length_of(piece)
            .checked_sub(begin)
            .filter(|rest| *rest > 0)?;
        Some(Block {
            piece,
            begin,
            length: rest.min(BLOCK_LENGTH),
        })
    }

    /// Every block of this piece in order.
    pub fn blocks(&self, piece: PieceIndex) -> impl Iterator<Item = Block> + '_ {
        (0..self.block_count(piece)).filter_map(move |number| self.block(piece, number))
    }

    /// The one door from a request on the wire: any range inside one piece, also unaligned ones, at least a byte long.
    /// How long a request may be is the session's rule, not the geometry's. libtorrent 2.0 asks for whole blocks where a v2
    /// file ends: what lies behind it is zeros.
    pub fn range(&self, piece: u32, begin: u32, length: u32) -> Option<Block> {
        let piece = self.piece(piece)?;
        let end = begin.checked_add(length)?;
        let there = self.length_of(piece);
        let limit = if self.gaps {
            there.next_multiple_of(BLOCK_LENGTH).min(self.piece_length)
        } else {
            there
        };
        (length > 0 && end <= limit).then_some(Block { piece, begin, length })
    }

    /// The one door from an arriving block: exactly one of the blocks that we ask for.
    pub fn arriving(&self, piece: u32, begin: u32, length: u32) -> Option<Block> {
        let block = self.block(self.piece(piece)?, begin / BLOCK_LENGTH)?;
        (block.begin == begin && block.length == length).then_some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_and_its_last_block_are_short() {
        let geometry = Geometry::v1(32_768, 70_000).unwrap();
        let last = geometry.piece(2).unwrap();
        assert_eq!((geometry.piece_count(), geometry.length_of(last)), (3, 4_464));
        assert_eq!(
            geometry.blocks(last).map(Block::length).collect::<Vec<_>>(),
            [4_464]
        );
        assert_eq!(geometry.block_count(geometry.piece(0).unwrap()), 2);
    }

    #[test]
    fn in_v2_every_file_ends_its_own_piece() {
        let geometry = Geometry::v2(16_384, [20_000, 0, 5, 16_384]).unwrap();
        let lengths: Vec<u32> = geometry.pieces().map(|piece| geometry.length_of(piece)).collect();
        assert_eq!(lengths, [16_384, 3_616, 5, 16_384]);
        assert_eq!(geometry.total_length(), 36_389);
    }

    #[test]
    fn in_v2_the_rest_of_the_last_block_of_a_file_may_be_asked_for() {
        let geometry = Geometry::v2(32_768, [20_000, 5]).unwrap();
        assert!(geometry.range(0, 16_384, 16_384).is_some());
        assert!(geometry.range(1, 0, 16_384).is_some());
        assert_eq!(geometry.range(1, 0, 16_385), None);
        assert_eq!(geometry.range(1, 16_384, 1), None);
        assert_eq!(geometry.arriving(1, 0, 16_384), None);
    }

    #[test]
    fn numbers_outside_the_torrent_become_nothing() {
        let geometry = Geometry::v1(32_768, 40_000).unwrap();
        assert_eq!(geometry.piece(2), None);
        assert_eq!(geometry.range(1, 7_000, 233), None);
        assert_eq!(geometry.range(0, u32::MAX, 2), None);
        assert_eq!(geometry.range(0, 0, 0), None);
        assert!(geometry.range(1, 7_000, 232).is_some());
        assert_eq!(geometry.arriving(0, 1, 16_384), None);
        assert_eq!(geometry.arriving(0, 16_384, 16_383), None);
        assert!(geometry.arriving(0, 16_384, 16_384).is_some());
    }

    #[test]
    fn impossible_torrents_are_refused() {
        assert_eq!(Geometry::v1(0, 5), Err(GeometryError::PieceLength(0)));
        assert_eq!(Geometry::v1(16_384, 0), Err(GeometryError::Empty));
        assert_eq!(
            Geometry::v1(1, u64::MAX),
            Err(GeometryError::TooManyPieces(u64::MAX))
        );
        assert_eq!(Geometry::v1(1 << 29, 5), Err(GeometryError::PieceLength(1 << 29)));
    }
}
