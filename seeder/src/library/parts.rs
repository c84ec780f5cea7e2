//! Where a piece's bytes lie: which files, from which offset, and where there are only zeros. Pure.

/// A run of bytes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many bytes of a file, from this offset on.
    File { file: usize, offset: u64, length: u64 },
    /// Padding (BEP 47): zeros that lie nowhere.
    Zeros { length: u64 },
}

impl Part {
    /// Bytes; at least 1.
    pub fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } | Self::Zeros { length } => *length,
        }
    }
}

/// The files of one torrent in its address space. What no file covers is padding.
#[derive(Clone, Debug)]
pub struct Map {
    /// Ascending, without overlap, none empty.
    extents: Vec<Extent>,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    start: u64,
    length: u64,
    file: usize,
}

impl Map {
    /// Takes `(file, start, length)` in ascending order; empty files cover nothing.
    pub fn new(files: impl IntoIterator<Item = (usize, u64, u64)>) -> Self {
        let extents = files
            .into_iter()
            .map(|(file, start, length)| Extent { start, length, file });
        let extents: Vec<Extent> = extents.filter(|extent| extent.length > 0).collect();
        debug_assert!(extents.is_sorted_by_key(|extent| extent.start));
        Self { extents }
    }

    /// The parts of `length` bytes from `start` on, in order. Together they are exactly as long.
    pub fn parts(&self, start: u64, length: u64) -> impl Iterator<Item = Part> + '_ {
        let end = start.saturating_add(length);
        let mut at = start;
        let mut next = self
            .extents
            .partition_point(|extent| extent.start.saturating_add(extent.length) <= start);
        std::iter::from_fn(move || {
            let rest = end.checked_sub(at).filter(|rest| *rest > 0)?;
            let part = match self.extents.get(next) {
                Some(extent) if extent.start <= at => {
                    let offset = at - extent.start;
                    next += 1;
                    Part::File {
                        file: extent.file,
                        offset,
                        length: rest.min(extent.length.saturating_sub(offset)),
                    }
                }
                Some(extent) => Part::Zeros {
                    length: rest.min(extent.start - at),
                },
                None => Part::Zeros { length: rest },
            };
            at = at.saturating_add(part.length());
            Some(part)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_piece_runs_over_files_and_padding() {
        let map = Map::new([(0, 0, 5), (1, 5, 0), (2, 8, 4), (3, 12, 20)]);
        let parts: Vec<Part> = map.parts(3, 12).collect();
        assert_eq!(
            parts,
            [
                Part::File {
                    file: 0,
                    offset: 3,
                    length: 2
                },
                Part::Zeros { length: 3 },
                Part::File {
                    file: 2,
                    offset: 0,
                    length: 4
                },
                Part::File {
                    file: 3,
                    offset: 0,
                    length: 3
                },
            ]
        );
        assert_eq!(map.parts(30, 5).last(), Some(Part::Zeros { length: 3 }));
    }

    proptest! {
        #[test]
        fn the_parts_are_as_long_as_the_range_and_never_empty(
            cuts in prop::collection::vec((0_u64..9, 0_u64..4), 0..12), start in 0_u64..80, length in 0_u64..80,
        ) {
            let mut at = 0;
            let files = cuts.iter().enumerate().map(|(file, (length, gap))| {
                let start = at;
                at += length + gap;
                (file, start, *length)
            });
            let parts: Vec<Part> = Map::new(files.collect::<Vec<_>>()).parts(start, length).collect();
            prop_assert!(parts.iter().all(|part| part.length() > 0));
            prop_assert_eq!(parts.iter().map(Part::length).sum::<u64>(), length);
        }
    }
}
