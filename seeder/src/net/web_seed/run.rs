//! From requests for blocks to runs of bytes, and from bytes as they come to whole blocks again. Pure arithmetic.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use shared::geometry::Geometry;
use shared::metainfo::{File, FileKind};
use shared::peer_wire::{Message, Span};

/// Blocks that one run may have: the longest that is fetched at once.
const RUN_MAX: usize = 512;

/// Blocks that follow one another in the torrent, and what has come of them.
#[derive(Debug)]
pub(super) struct Run {
    /// The address of the next byte to come.
    at: u64,
    blocks: VecDeque<Awaited>,
    /// The beginning of the first block.
    buffer: BytesMut,
}

#[derive(Debug)]
struct Awaited {
    span: Span,
    cancelled: bool,
}

/// Bytes that follow one another in one file, or zeros that are in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The file's number in the torrent.
    pub(super) file: Option<usize>,
    /// The first byte, counted from the start of the file.
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Run {
    /// Takes the first request of the line, and those behind it that follow it in the torrent.
    pub(super) fn take(line: &mut VecDeque<Span>, geometry: &Geometry) -> Option<Self> {
        let first = line.pop_front()?;
        let mut run = Self {
            at: address(first, geometry)?,
            blocks: VecDeque::new(),
            buffer: BytesMut::new(),
        };
        let mut end = run.at + u64::from(first.length);
        run.blocks.push_back(Awaited::new(first));
        while run.blocks.len() < RUN_MAX
            && let Some(next) = line.front().copied()
            && address(next, geometry) == Some(end)
        {
            line.pop_front();
            end += u64::from(next.length);
            run.blocks.push_back(Awaited::new(next));
        }
        Some(run)
    }

    /// The next bytes of one file, as far as this run goes; `None` once it is done.
    pub(super) fn next(&self, files: &[File]) -> Option<Stretch> {
        let left = self.left_bytes();
        (left > 0).then(|| stretch(files, self.at, left))
    }

    fn left_bytes(&self) -> u64 {
        let all: u64 = self.blocks.iter().map(|block| u64::from(block.span.length)).sum();
        all.saturating_sub(self.buffer.len() as u64)
    }

    /// Nothing that is still to come is wanted.
    pub(super) fn is_unwanted(&self) -> bool {
        self.blocks.iter().all(|block| block.cancelled)
    }

    /// This block is wanted no longer; says whether it was part of the run.
    pub(super) fn cancel(&mut self, span: Span) -> bool {
        let mut same = self.blocks.iter_mut().filter(|block| block.span == span);
        same.next().map(|block| block.cancelled = true).is_some()
    }

    /// Takes bytes as they come, no more than [`Run::next`] said, and gives the blocks that are whole.
    pub(super) fn put(&mut self, mut bytes: Bytes) -> Vec<Message> {
        let mut whole = Vec::new();
        self.at += bytes.len() as u64;
        while !bytes.is_empty()
            && let Some(block) = self.blocks.front()
        {
            let length = block.span.length as usize;
            let missing = length.saturating_sub(self.buffer.len());
            let data = if self.buffer.is_empty() && bytes.len() >= length {
                bytes.split_to(length)
            } else {
                if self.buffer.capacity() < length {
                    self.buffer.reserve(length - self.buffer.len());
                }
                self.buffer
                    .extend_from_slice(&bytes.split_to(missing.min(bytes.len())));
                if self.buffer.len() < length {
                    break;
                }
                self.buffer.split().freeze()
            };
            let Some(Awaited { span, cancelled }) = self.blocks.pop_front() else {
                break;
            };
            if !cancelled {
                whole.push(Message::Piece {
                    piece: span.piece,
                    begin: span.begin,
                    data,
                });
            }
        }
        whole
    }

    /// What will not come any more and is wanted.
    pub(super) fn left(&self) -> impl Iterator<Item = Span> + '_ {
        self.blocks
            .iter()
            .filter(|block| !block.cancelled)
            .map(|block| block.span)
    }
}

impl Awaited {
    fn new(span: Span) -> Self {
        Self {
            span,
            cancelled: false,
        }
    }
}

/// The address of a block in the space in which files have their places.
fn address(span: Span, geometry: &Geometry) -> Option<u64> {
    let block = geometry.arriving(span.piece, span.begin, span.length)?;
    Some(geometry.start_of(block.piece()) + u64::from(block.begin()))
}

/// The first of `length` bytes from an address that lie together.
fn stretch(files: &[File], address: u64, length: u64) -> Stretch {
    let number = files.partition_point(|file| file.offset + file.length <= address);
    let zeros = |until: u64| Stretch {
        file: None,
        offset: 0,
        length: length.min(until.saturating_sub(address)),
    };
    match files.get(number) {
        // Behind a v2 file there may be a gap, which no block reaches; so there is nothing to fetch.
        None => zeros(u64::MAX),
        Some(file) if file.offset > address => zeros(file.offset),
        Some(file) if file.kind == FileKind::Padding => zeros(file.offset + file.length),
        Some(file) => Stretch {
            file: Some(number),
            offset: address - file.offset,
            length: length.min(file.offset + file.length - address),
        },
    }
}

/// The pieces that lie in this file at least in part.
pub(super) fn pieces_of(file: &File, geometry: &Geometry) -> std::ops::RangeInclusive<u32> {
    let length = u64::from(geometry.piece_length().max(1));
    let number = |address: u64| u32::try_from(address / length).unwrap_or(u32::MAX);
    number(file.offset)..=number(file.offset + file.length.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use shared::metainfo::Metainfo;

    use super::*;

    /// Blocks of 16 KiB, pieces of two; `.` is padding.
    fn torrent(files: &[(&str, u64)]) -> shared::metainfo::Info {
        let mut list = String::new();
        for (name, length) in files {
            let attr = if *name == "." { "4:attr1:p" } else { "" };
            let _ = write!(list, "d{attr}6:lengthi{length}e4:pathl{}:{name}ee", name.len());
        }
        let total: u64 = files.iter().map(|(_, length)| length).sum();
        let count = usize::try_from(total.div_ceil(32_768)).unwrap() * 20;
        let info = format!(
            "d5:filesl{list}e4:name1:n12:piece lengthi32768e6:pieces{count}:{}e",
            "h".repeat(count)
        );
        Metainfo::read(format!("d4:info{info}e").as_bytes()).unwrap().info
    }

    fn span(number: u32, length: u32) -> Span {
        Span {
            piece: number / 2,
            begin: number % 2 * 16_384,
            length,
        }
    }

    /// The numbers of the blocks in each run.
    fn runs(asked: &[u32]) -> Vec<Vec<u32>> {
        let info = torrent(&[("a", 16_384 * 100)]);
        let mut line: VecDeque<Span> = asked.iter().map(|number| span(*number, 16_384)).collect();
        let mut runs = Vec::new();
        while let Some(run) = Run::take(&mut line, info.geometry()) {
            runs.push(
                run.left()
                    .map(|span| span.piece * 2 + span.begin / 16_384)
                    .collect(),
            );
        }
        runs
    }

    #[test]
    fn neighbours_are_fetched_together() {
        assert_eq!(
            runs(&[3, 4, 5, 8, 9, 2, 1]),
            [vec![3, 4, 5], vec![8, 9], vec![2], vec![1]]
        );
    }

    #[test]
    fn a_run_goes_over_files_and_padding_is_made_here() {
        let info = torrent(&[("a", 20_000), (".", 12_768), ("b", 40_000)]);
        let mut line = VecDeque::from([span(0, 16_384), span(1, 16_384), span(2, 16_384)]);
        let mut run = Run::take(&mut line, info.geometry()).unwrap();
        let (mut stretches, mut came) = (Vec::new(), Vec::new());
        while let Some(stretch) = run.next(info.files()) {
            stretches.push((stretch.file, stretch.offset, stretch.length));
            let bytes =
                vec![u8::try_from(stretches.len()).unwrap(); usize::try_from(stretch.length).unwrap()];
            came.extend(run.put(bytes.into()));
        }
        assert_eq!(
            stretches,
            [(Some(0), 0, 20_000), (None, 0, 12_768), (Some(2), 0, 16_384)]
        );
        let second = came.iter().find_map(|message| match message {
            Message::Piece {
                piece: 0,
                begin: 16_384,
                data,
            } => Some(data.clone()),
            _ => None,
        });
        let second = second.unwrap();
        assert_eq!((second.len(), second[3_615], second[3_616]), (16_384, 1, 2));
        assert_eq!(came.len(), 3);
    }

    #[test]
    fn blocks_come_whole_however_the_bytes_come_and_cancelled_ones_do_not() {
        let info = torrent(&[("a", 16_384 * 4)]);
        let content: Vec<u8> = (0..16_384_u32 * 4).map(|at| (at % 251) as u8).collect();
        for step in [1_000, 16_384, 40_000, 70_000] {
            let mut line: VecDeque<Span> = (0..4).map(|number| span(number, 16_384)).collect();
            let mut run = Run::take(&mut line, info.geometry()).unwrap();
            assert!(run.cancel(span(1, 16_384)) && !run.cancel(span(7, 16_384)));
            let mut came = Vec::new();
            for bytes in content.chunks(step) {
                came.extend(run.put(Bytes::copy_from_slice(bytes)));
            }
            let expected = [0_u32, 2, 3].map(|number| Message::Piece {
                piece: number / 2,
                begin: number % 2 * 16_384,
                data: Bytes::copy_from_slice(&content[number as usize * 16_384..][..16_384]),
            });
            assert_eq!(came, expected, "{step}");
            assert_eq!(run.next(info.files()), None);
        }
    }

    #[test]
    fn what_is_left_when_it_breaks_off_is_known() {
        let info = torrent(&[("a", 16_384 * 4)]);
        let mut line: VecDeque<Span> = (0..3).map(|number| span(number, 16_384)).collect();
        let mut run = Run::take(&mut line, info.geometry()).unwrap();
        assert_eq!(run.put(vec![0; 20_000].into()).len(), 1);
        run.cancel(span(2, 16_384));
        assert_eq!(run.left().collect::<Vec<_>>(), [span(1, 16_384)]);
        run.cancel(span(1, 16_384));
        assert!(run.is_unwanted());
    }

    #[test]
    fn a_piece_between_two_files_is_of_both() {
        let info = torrent(&[("a", 40_000), ("b", 10), ("c", 32_768)]);
        let pieces: Vec<_> = info
            .files()
            .iter()
            .map(|file| pieces_of(file, info.geometry()))
            .collect();
        assert_eq!(pieces, [0..=1, 1..=1, 1..=2]);
    }
}
