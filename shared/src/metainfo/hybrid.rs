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
}

/// Checks that both listings agree, and gives the v1 files their roots.
pub(super) fn merge(mut v1: Listing, v2: &Listing, piece_length: u64) -> Result<Listing, MetainfoError> {
    let roots = agree(&v1, v2, piece_length)?;
    for (file, root) in v1.files.iter_mut().zip(roots) {
        file.pieces_root = root;
    }
    Ok(v1)
}

/// The root of every v1 file; padding and empty files have none.
type Roots = Vec<Option<[u8; 32]>>;

/// The roots, if the listings agree.
fn agree(v1: &Listing, v2: &Listing, piece_length: u64) -> Result<Roots, MetainfoError> {
    let left = placed(v1);
    let mut right = padded(v2, piece_length);
    // libtorrent before 2.0.8 left the padding behind the last file out.
    if right.len() == left.len() + 1 {
        let last = right.iter().rposition(|placed| placed.length > 0);
        if let Some(last) = last.filter(|last| right.get(*last).is_some_and(|placed| placed.file.is_none())) {
            right.remove(last);
        }
    }
    let total = |placed: &[Placed<'_>]| placed.iter().map(|placed| placed.length).sum::<u64>();
    if v1.single != v2.single || left.len() != right.len() || total(&left) != total(&right) {
        return Err(MetainfoError::Inconsistent);
    }
    left.iter()
        .zip(&right)
        .map(|(left, right)| root(left, right))
        .collect()
}

fn root(left: &Placed<'_>, right: &Placed<'_>) -> Result<Option<[u8; 32]>, MetainfoError> {
    match (left.content(), right.content()) {
        (None, None) => Ok(None),
        (Some(v1), Some(v2)) => {
            let same = v1.length == v2.length && left.offset == right.offset && v1.path == v2.path;
            if same {
                Ok(v2.pieces_root)
            } else {
                Err(MetainfoError::Inconsistent)
            }
        }
        _ => Err(MetainfoError::Inconsistent),
    }
}

fn placed(listing: &Listing) -> Vec<Placed<'_>> {
    let mut offset = 0;
    let place = |file: &'_ File| {
        let start = offset;
        offset += file.length;
        start
    };
    let starts: Vec<u64> = listing.files.iter().map(place).collect();
    let files = listing.files.iter().zip(starts);
    files
        .map(|(file, offset)| Placed {
            file: Some(file),
            length: file.length,
            offset,
        })
        .collect()
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
