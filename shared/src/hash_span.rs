//! The spans of merkle trees that v2 peers ask each other for (BEP 52): how they stand in messages 21 to 23, and the bounds
//! that each of their numbers has before anybody counts with it.

use bytes::{Buf, BufMut, Bytes};

use crate::merkle::Hash;

/// Bytes of a span on the wire: the root and four numbers.
pub const SPAN_LENGTH: usize = 48;

/// The most hashes that a span may have: the blocks of a piece of 128 MiB, as libtorrent has it.
pub const HASHES_MAX: u32 = 8_192;

/// What BEP 52 recommends as the most; more is neither asked for nor given.
pub const HASHES_USUAL: u32 = 512;

/// No tree is higher: files have fewer than 2^30 blocks.
pub const LAYERS_MAX: u32 = 30;

/// A stretch of one layer of a file's tree. Its numbers are within bounds: only [`HashSpan::new`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashSpan {
    root: Hash,
    base: u32,
    index: u32,
    length: u32,
    proof_layers: u32,
}

impl HashSpan {
    /// `base` is counted in layers above the leaves, `index` and `length` in hashes of that layer. `length` is a power of two
    /// and divides `index`. BEP 52 wants it to be 2 at least, but libtorrent asks for one hash where one is left.
    pub fn new(root: Hash, base: u32, index: u32, length: u32, proof_layers: u32) -> Option<Self> {
        let is_sound = base <= LAYERS_MAX
            && proof_layers <= LAYERS_MAX
            && length.is_power_of_two()
            && length <= HASHES_MAX
            && index.is_multiple_of(length)
            && index < 1 << LAYERS_MAX;
        is_sound.then_some(Self {
            root,
            base,
            index,
            length,
            proof_layers,
        })
    }

    /// The `pieces root` of the file.
    pub const fn root(&self) -> &Hash {
        &self.root
    }

    /// Layers between the leaves and the hashes of the span.
    pub const fn base(&self) -> u32 {
        self.base
    }

    /// The first hash, counted in its layer.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Hashes of the layer; a power of two.
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// Layers between the span's hashes and the one node above all of them.
    pub const fn levels(&self) -> u32 {
        self.length.trailing_zeros()
    }

    /// Uncle hashes that are asked for. Layers above the base count towards them even where the span itself tells them.
    pub const fn uncles(&self) -> u32 {
        (self.proof_layers + 1).saturating_sub(self.levels())
    }

    /// Hashes that an answer has, uncles among them.
    pub const fn answer_length(&self) -> u32 {
        self.length + self.uncles()
    }

    pub(crate) fn put(&self, out: &mut impl BufMut) {
        out.put_slice(&self.root);
        out.put_u32(self.base);
        out.put_u32(self.index);
        out.put_u32(self.length);
        out.put_u32(self.proof_layers);
    }

    /// Reads a span off the front. The caller has counted the bytes.
    pub(crate) fn take(frame: &mut Bytes) -> Option<Self> {
        let root = *frame.first_chunk()?;
        frame.advance(root.len());
        let mut number = || frame.try_get_u32().ok();
        Self::new(root, number()?, number()?, number()?, number()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncles_are_counted_from_where_the_span_ends() {
        let uncles = |length, proof_layers| {
            HashSpan::new([1; 32], 2, 0, length, proof_layers)
                .unwrap()
                .uncles()
        };
        assert_eq!(uncles(4, 0), 0);
        assert_eq!(uncles(4, 1), 0);
        assert_eq!((uncles(4, 2), uncles(4, 3), uncles(1, 0)), (1, 2, 1));
    }

    #[test]
    fn numbers_out_of_bounds_are_no_span() {
        let is_span =
            |base, index, length, layers| HashSpan::new([1; 32], base, index, length, layers).is_some();
        assert!(is_span(0, 16_384, 8_192, 30) && is_span(30, 0, 1, 0));
        assert!(!is_span(0, 0, 0, 0) && !is_span(0, 0, 3, 0) && !is_span(0, 0, 16_384, 0));
        assert!(!is_span(0, 2, 4, 0) && !is_span(31, 0, 2, 0) && !is_span(0, 0, 2, 31));
        assert!(!is_span(0, 1 << 30, 2, 0) && !is_span(u32::MAX, u32::MAX, u32::MAX, u32::MAX));
    }
}
