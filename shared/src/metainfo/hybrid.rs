//! Hybrid torrents (BEP 52): both descriptions must lay the same files at the same places.

use super::MetainfoError;
use super::info::{File, FileKind, Listing};

/// A file at its place in the address space of v1, or the padding that v2 implies.
struct Placed<'a> {
    file: Option<&'a File>,
    length: u64,
    offset: u64,
}

impl Placed<'_> {
    /// Only files with content must agree; empty ones and padding may be described either way.
    fn content(&self) -> Option<&File> {
        self.file
            .filter(|file| file.kind != FileKind::Padding && file.length > 0)
    }

    fn to_file(&self, number: usize) -> File {
        self.file
            .cloned()
            .unwrap_or_else(|| File::padding(self.length, number))
    }
}

/// Checks that both listings agree. What comes out is the v2 one, which knows more, with the padding of v1 in its place.
pub(super) fn merge(v1: &Listing, v2: &Listing, piece_length: u64) -> Result<Listing, MetainfoError> {
    let left = placed(v1);
    let mut right = padded(v2, piece_length);
    // A v1 list without a single file contradicts nothing; libtorrent goes by the v2 files then.
    if left.is_empty() {
        return Ok(listing(&right, v2.single));
    }
    // libtorrent before 2.0.8 left the padding behind the last file out.
    if right.len() == left.len() + 1 {
        let last = right.iter().rposition(|placed| placed.length > 0);
        if let Some(last) = last.filter(|last| right.get(*last).is_some_and(|placed| placed.file.is_none())) {
            right.remove(last);
        }
    }
    let total = |placed: &[Placed<'_>]| placed.iter().map(|placed| placed.length).sum::<u64>();
    let alike = v1.single == v2.single && left.len() == right.len() && total(&left) == total(&right);
    if !alike || !left.iter().zip(&right).all(|(left, right)| agree(left, right)) {
        return Err(MetainfoError::Inconsistent);
    }
    Ok(listing(&right, v2.single))
}

fn listing(placed: &[Placed<'_>], single: bool) -> Listing {
    let files = placed
        .iter()
        .enumerate()
        .map(|(number, placed)| placed.to_file(number));
    Listing {
        files: files.collect(),
        single,
    }
}

fn agree(left: &Placed<'_>, right: &Placed<'_>) -> bool {
    match (left.content(), right.content()) {
        (None, None) => true,
        (Some(v1), Some(v2)) => v1.length == v2.length && left.offset == right.offset && v1.path == v2.path,
        _ => false,
    }
}

fn placed(listing: &Listing) -> Vec<Placed<'_>> {
    let mut offset = 0;
    let place = |file| {
        let placed = Placed {
            file: Some(file),
            length: file.length,
            offset,
        };
        offset += file.length;
        placed
    };
    listing.files.iter().map(place).collect()
}

/// The v2 files with the padding that fills each of them up to a whole piece.
fn padded(listing: &Listing, piece_length: u64) -> Vec<Placed<'_>> {
    let mut all = Vec::new();
    let mut offset = 0;
    for file in &listing.files {
        all.push(Placed {
            file: Some(file),
            length: file.length,
            offset,
        });
        offset += file.length;
        let gap = file.length.next_multiple_of(piece_length) - file.length;
        if gap > 0 {
            all.push(Placed {
                file: None,
                length: gap,
                offset,
            });
            offset += gap;
        }
    }
    all
}
