//! How much each piece is wanted, and how far along that is. Wishes come by file; a piece is as wanted as its most wanted
//! file, and pieces that nobody wants are never asked for.

use shared::bitfield::Bitfield;
use shared::geometry::{Geometry, PieceIndex};

use super::events::{Content, FileSpan, Priority, Wishes};

/// How much the pieces of one torrent are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// By piece. Empty where all are alike, which is nearly always.
    by_piece: Vec<Priority>,
    sequential: bool,
}

impl Wanted {
    pub(super) fn new(geometry: &Geometry, files: &[FileSpan], wishes: &Wishes) -> Self {
        let alike = files.is_empty() || wishes.files.iter().all(|wish| *wish == Priority::Normal);
        Self {
            by_piece: if alike {
                Vec::new()
            } else {
                by_piece(geometry, files, wishes)
            },
            sequential: wishes.sequential,
        }
    }

    pub(super) fn of(&self, piece: PieceIndex) -> Priority {
        self.by_piece.get(piece.as_usize()).copied().unwrap_or_default()
    }

    pub(super) fn wants(&self, piece: PieceIndex) -> bool {
        self.of(piece) != Priority::Skip
    }

    /// From the first piece to the last.
    pub(super) fn is_sequential(&self) -> bool {
        self.sequential
    }

    /// Bytes of memory that it holds beside itself.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.by_piece.capacity()
    }
}

/// Pieces that no file with content touches are padding alone; they are little wanted, but a torrent is whole only with them.
fn by_piece(geometry: &Geometry, files: &[FileSpan], wishes: &Wishes) -> Vec<Priority> {
    let mut most: Vec<Option<Priority>> = vec![None; geometry.piece_count() as usize];
    let cut = u64::from(geometry.piece_length());
    let content = files.iter().enumerate().filter(|(_, file)| !file.padding);
    for (number, file) in content.filter(|(_, file)| file.length > 0) {
        let wish = wishes.files.get(number).copied().unwrap_or_default();
        let last = file.start.saturating_add(file.length - 1) / cut;
        let range = usize::try_from(file.start / cut)
            .ok()
            .zip(usize::try_from(last).ok());
        let pieces = range.and_then(|(first, last)| {
            let end = last.saturating_add(1).min(most.len());
            most.get_mut(first..end)
        });
        for piece in pieces.into_iter().flatten() {
            *piece = (*piece).max(Some(wish));
        }
    }
    most.into_iter()
        .map(|wish| wish.unwrap_or(Priority::Low))
        .collect()
}

/// Counts that would be costly to take anew for every question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) have_bytes: u64,
    pub(super) wanted_count: u32,
    pub(super) wanted_bytes: u64,
    /// Wanted, and not verified.
    pub(super) left_count: u32,
    pub(super) left_bytes: u64,
}

impl Tally {
    pub(super) fn new(content: &Content, wanted: &Wanted) -> Self {
        let mut tally = Self::default();
        for piece in content.geometry.pieces() {
            let length = u64::from(content.geometry.length_of(piece));
            let (has, wants) = (content.have.has(piece), wanted.wants(piece));
            tally.have_bytes += if has { length } else { 0 };
            if wants {
                tally.wanted_count += 1;
                tally.wanted_bytes += length;
            }
            if wants && !has {
                tally.left_count += 1;
                tally.left_bytes += length;
            }
        }
        tally
    }

    /// A piece was verified.
    pub(super) fn gain(&mut self, length: u32, wants: bool) {
        self.have_bytes += u64::from(length);
        if wants {
            self.left_count = self.left_count.saturating_sub(1);
            self.left_bytes = self.left_bytes.saturating_sub(length.into());
        }
    }

    /// A piece is there no more.
    pub(super) fn lose(&mut self, length: u32, wants: bool) {
        self.have_bytes = self.have_bytes.saturating_sub(length.into());
        if wants {
            self.left_count += 1;
            self.left_bytes += u64::from(length);
        }
    }
}

/// What is wanted of what is missing, as a bitfield.
pub(super) fn lacking(geometry: &Geometry, have: &Bitfield, wanted: &Wanted) -> Bitfield {
    let mut bits = Bitfield::none(geometry);
    let lacking = geometry
        .pieces()
        .filter(|piece| !have.has(*piece) && wanted.wants(*piece));
    for piece in lacking {
        bits.set(piece);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as `name:length`, `_` being padding, in pieces of ten bytes; wishes as letters: Skip, Low, Normal, High.
    fn check(files: &str, wishes: &str, expected: &str) {
        let (mut start, mut spans) = (0, Vec::new());
        for word in files.split_whitespace() {
            let (name, length) = word.split_once(':').unwrap();
            let length = length.parse().unwrap();
            spans.push(FileSpan {
                start,
                length,
                padding: name == "_",
            });
            start += length;
        }
        let read = |letter| match letter {
            's' => Priority::Skip,
            'l' => Priority::Low,
            'h' => Priority::High,
            _ => Priority::Normal,
        };
        let geometry = Geometry::v1(10, start).unwrap();
        let wishes = Wishes {
            files: wishes.chars().map(read).collect(),
            sequential: false,
        };
        let wanted = Wanted::new(&geometry, &spans, &wishes);
        let drawn: String = geometry
            .pieces()
            .map(|piece| match wanted.of(piece) {
                Priority::Skip => 's',
                Priority::Low => 'l',
                Priority::Normal => 'n',
                Priority::High => 'h',
            })
            .collect();
        assert_eq!(drawn, expected, "{files} {wishes:?}");
    }

    #[test]
    fn a_piece_is_as_wanted_as_its_most_wanted_file() {
        check("a:20 b:20", "", "nnnn");
        check("a:20 b:20", "s", "ssnn");
        check("a:25 b:15", "sl", "ssll");
        check("a:25 b:1 c:14", "shs", "sshs");
        check("a:5 b:0 c:15", "sh", "nn");
        check("a:5 b:0 c:15", "shs", "ss");
    }

    #[test]
    fn padding_wants_nothing_for_itself() {
        check("a:15 _:5 b:10", "snh", "ssh");
        check("a:10 _:20 b:10", "snh", "sllh");
    }
}
