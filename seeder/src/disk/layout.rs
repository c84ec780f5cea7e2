//! Where a torrent's bytes lie: the one address space of its pieces on one side, its files on the other. Pure arithmetic.

use std::ops::Range;

use shared::metainfo::{File, FileKind};

/// One file's place in the address space of the torrent's pieces.
pub(super) trait Place {
    /// The address of the file's first byte.
    fn start(&self) -> u64;
    fn length(&self) -> u64;
    /// Zeros that only fill a piece up (BEP 47): never on a disk.
    fn is_padding(&self) -> bool;
}

impl Place for File {
    fn start(&self) -> u64 {
        self.offset
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn is_padding(&self) -> bool {
        self.kind == FileKind::Padding
    }
}

/// A run of bytes inside one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The file's number in the torrent; `None` is padding or a gap: zeros.
    pub(super) file: Option<usize>,
    /// The first byte, counted from the start of the file.
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// All files of a torrent, in the order of their addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'a, P> {
    places: &'a [P],
}

impl<'a, P: Place> Layout<'a, P> {
    pub(super) fn new(places: &'a [P]) -> Self {
        Self { places }
    }

    /// The runs that make up `length` bytes from `address`, in order. Addresses that no file covers exist only past the end
    /// of a v2 file: as runs of zeros where a file follows, and left out at the end.
    pub(super) fn stretches(self, address: u64, length: u64) -> impl Iterator<Item = Stretch> + use<'a, P> {
        let end = address + length;
        let mut at = address;
        self.covering(address, length).flat_map(move |(file, place)| {
            let from = address.max(place.start());
            let until = end.min(place.start() + place.length());
            let gap = Stretch {
                file: None,
                offset: 0,
                length: from.saturating_sub(at),
            };
            let stretch = Stretch {
                file: (!place.is_padding()).then_some(file),
                offset: from - place.start(),
                length: until.saturating_sub(from),
            };
            at = until.max(at);
            [gap, stretch].into_iter().filter(|stretch| stretch.length > 0)
        })
    }

    /// The files that hold some of these bytes, padding left out.
    pub(super) fn files(self, address: u64, length: u64) -> impl Iterator<Item = usize> + use<'a, P> {
        self.stretches(address, length).filter_map(|stretch| stretch.file)
    }

    /// The addresses of one file.
    pub(super) fn addresses(self, file: usize) -> Range<u64> {
        let place = self.places.get(file);
        place.map_or(0..0, |place| place.start()..place.start() + place.length())
    }

    fn covering(self, address: u64, length: u64) -> impl Iterator<Item = (usize, &'a P)> + use<'a, P> {
        let first = self
            .places
            .partition_point(|place| place.start() + place.length() <= address);
        let places = self.places.iter().enumerate().skip(first);
        places.take_while(move |(_, place)| place.start() < address + length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy)]
    struct Drawn {
        start: u64,
        length: u64,
        padding: bool,
    }

    impl Place for Drawn {
        fn start(&self) -> u64 {
            self.start
        }

        fn length(&self) -> u64 {
            self.length
        }

        fn is_padding(&self) -> bool {
            self.padding
        }
    }

    /// Files end to end; a length with `true` is padding.
    fn places(lengths: &[(u64, bool)]) -> Vec<Drawn> {
        let mut start = 0;
        let place = |&(length, padding): &(u64, bool)| {
            let place = Drawn {
                start,
                length,
                padding,
            };
            start += length;
            place
        };
        lengths.iter().map(place).collect()
    }

    #[test]
    fn a_run_over_three_files_is_cut_at_their_borders() {
        let places = places(&[(10, false), (3, true), (0, false), (20, false)]);
        let layout = Layout::new(&places);
        let runs: Vec<_> = layout
            .stretches(4, 12)
            .map(|run| (run.file, run.offset, run.length))
            .collect();
        assert_eq!(runs, [(Some(0), 4, 6), (None, 0, 3), (Some(3), 0, 3)]);
    }

    #[test]
    fn the_gap_behind_a_short_v2_file_is_zeros_that_belong_to_nobody() {
        let places = [(0, 5), (16, 4)].map(|(start, length)| Drawn {
            start,
            length,
            padding: false,
        });
        let layout = Layout::new(&places);
        let runs: Vec<_> = layout
            .stretches(0, 20)
            .map(|run| (run.file, run.length))
            .collect();
        assert_eq!(runs, [(Some(0), 5), (None, 11), (Some(1), 4)]);
        assert_eq!(layout.stretches(2, 14).map(|run| run.length).sum::<u64>(), 3);
    }

    proptest! {
        #[test]
        fn stretches_cover_every_byte_once_and_in_order(
            lengths in prop::collection::vec((0_u64..50, any::<bool>()), 1..20),
            address in 0_u64..600,
            length in 0_u64..200,
        ) {
            let places = places(&lengths);
            let layout = Layout::new(&places);
            let total: u64 = lengths.iter().map(|(length, _)| length).sum();
            let mut at = address;
            for run in layout.stretches(address, length) {
                prop_assert!(run.length > 0);
                if let Some(file) = run.file {
                    prop_assert_eq!(layout.addresses(file).start + run.offset, at);
                    prop_assert!(run.offset + run.length <= places[file].length);
                }
                at += run.length;
            }
            prop_assert_eq!(at, (address + length).min(total).max(address));
        }
    }
}
