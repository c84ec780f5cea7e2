//! How content is cut, before anything is hashed.

use crate::geometry::{BLOCK_LENGTH, Geometry, GeometryError};
use crate::merkle;

/// Who can use a torrent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Every client (BEP 3).
    #[default]
    V1,
    /// Clients of both generations that cope with padding; Transmission 3.00 and aria2 1.36 do not.
    Hybrid,
    /// Clients of the new generation only (BEP 52).
    V2,
}

impl Format {
    pub const fn has_v1(self) -> bool {
        matches!(self, Self::V1 | Self::Hybrid)
    }

    pub const fn has_v2(self) -> bool {
        matches!(self, Self::V2 | Self::Hybrid)
    }
}

/// A file to be described: its place below the torrent's root, which is empty where the root itself is the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<String>,
    pub length: u64,
}

/// The content cannot be described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    #[error("a piece length of {0} in a v2 torrent, where it must be a power of two from 16384 on")]
    PieceLength(u32),
    #[error(
        "a v2 torrent cannot hold a folder of one file only; share the file {0:?} itself, or make a hybrid"
    )]
    LoneFile(String),
    #[error("{0:?} cannot be the name of a file or folder")]
    Name(String),
    #[error("{} is named twice, or is a file and a folder at once", .0.join("/"))]
    Twice(Vec<String>),
    #[error("{} is out of order: the files of a v2 torrent are sorted by the bytes of their names", .0.join("/"))]
    Order(Vec<String>),
}

/// How content is cut: every file's place and every piece's length. Fit for hashing and, with the hashes, for writing.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) format: Format,
    pub(super) name: String,
    pub(super) piece_length: u32,
    pub(super) entries: Vec<Entry>,
    /// The place of every entry's first byte, padding counted.
    pub(super) starts: Vec<u64>,
    pub(super) geometry: Geometry,
}

impl Layout {
    /// Lays files out one behind the other, in hybrids and v2 each from the start of a piece. A single entry with an
    /// empty path is a torrent of one file. v1 keeps any order; the others need that of the file tree, which is
    /// that of `Vec<String>`.
    pub fn new(
        format: Format,
        name: String,
        piece_length: u32,
        entries: Vec<Entry>,
    ) -> Result<Self, LayoutError> {
        check_names(&name, &entries)?;
        if format.has_v2() {
            check_tree(piece_length, &entries)?;
        }
        if format == Format::V2 {
            check_folder(&entries)?;
        }
        let alignment = if format.has_v2() {
            u64::from(piece_length)
        } else {
            1
        };
        let (mut starts, mut end) = (Vec::with_capacity(entries.len()), 0_u64);
        for entry in &entries {
            starts.push(end);
            end = aligned(end.saturating_add(entry.length), alignment);
        }
        let cut = u64::from(piece_length);
        let geometry = match format {
            Format::V2 => Geometry::v2(cut, entries.iter().map(|entry| entry.length))?,
            // There is nothing behind a lone file that padding could align.
            _ if entries.len() == 1 => Geometry::v1(cut, content_size(&entries))?,
            _ => Geometry::v1(cut, end)?,
        };
        Ok(Self {
            format,
            name,
            piece_length,
            entries,
            starts,
            geometry,
        })
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is hashed: in a hybrid the padding counts as part of the pieces.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Every entry's number, the place of its first byte in the pieces' address space, and its length.
    pub fn places(&self) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
        let places = self.entries.iter().zip(&self.starts).enumerate();
        places.map(|(number, (entry, start))| (number, *start, entry.length))
    }

    /// Bytes of all files, without padding.
    pub fn content_size(&self) -> u64 {
        content_size(&self.entries)
    }

    /// The tree over a piece's blocks, in a file of this length.
    pub fn tree(&self, file_length: u64) -> Tree {
        if file_length > u64::from(self.piece_length) {
            Tree::OfPiece {
                piece_length: self.piece_length,
            }
        } else {
            Tree::OfFile
        }
    }

    pub(super) fn is_single_file(&self) -> bool {
        is_single(&self.entries)
    }

    /// The pieces of an entry, by number.
    pub(super) fn pieces_of(&self, start: u64, length: u64) -> std::ops::Range<usize> {
        let cut = u64::from(self.piece_length);
        let number = |place: u64| usize::try_from(place.div_ceil(cut)).unwrap_or(usize::MAX);
        number(start)..number(start.saturating_add(length))
    }
}

fn is_single(entries: &[Entry]) -> bool {
    matches!(entries, [entry] if entry.path.is_empty())
}

fn content_size(entries: &[Entry]) -> u64 {
    entries
        .iter()
        .map(|entry| entry.length)
        .fold(0, u64::saturating_add)
}

/// The first multiple of `alignment` that is not below `place`.
pub(super) fn aligned(place: u64, alignment: u64) -> u64 {
    place.checked_next_multiple_of(alignment).unwrap_or(u64::MAX)
}

fn check_names(name: &str, entries: &[Entry]) -> Result<(), LayoutError> {
    let names = entries.iter().flat_map(|entry| &entry.path).map(String::as_str);
    for name in names.chain([name]) {
        if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
            return Err(LayoutError::Name(name.to_owned()));
        }
    }
    let mut paths: Vec<&[String]> = entries.iter().map(|entry| entry.path.as_slice()).collect();
    paths.sort_unstable();
    let twice = paths.windows(2).find_map(|pair| match pair {
        // In order, whatever begins with a path stands right behind it.
        [before, after] if after.starts_with(before) => Some(after.to_vec()),
        _ => None,
    });
    twice.map_or(Ok(()), |path| Err(LayoutError::Twice(path)))
}

/// BEP 52 takes a tree of one file for a torrent of that file, whatever the torrent's name.
fn check_folder(entries: &[Entry]) -> Result<(), LayoutError> {
    match entries {
        [Entry { path, .. }] if path.len() == 1 => Err(LayoutError::LoneFile(path.concat())),
        _ => Ok(()),
    }
}

fn check_tree(piece_length: u32, entries: &[Entry]) -> Result<(), LayoutError> {
    if piece_length < BLOCK_LENGTH || !piece_length.is_power_of_two() {
        return Err(LayoutError::PieceLength(piece_length));
    }
    let wrong = entries.windows(2).find_map(|pair| match pair {
        [before, after] if before.path > after.path => Some(after.path.clone()),
        _ => None,
    });
    wrong.map_or(Ok(()), |path| Err(LayoutError::Order(path)))
}

/// How high the tree over a piece's blocks is (BEP 52).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// As high as any piece's: one subtree of several in its file.
    OfPiece { piece_length: u32 },
    /// As high as the file's own blocks need: the file has only this piece.
    OfFile,
}

impl Tree {
    /// The root over these leaves.
    pub fn root(self, leaves: &[[u8; 32]]) -> [u8; 32] {
        match self {
            Self::OfPiece { piece_length } => merkle::piece_root(leaves, piece_length),
            Self::OfFile => merkle::root(leaves),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, length: u64) -> Entry {
        Entry {
            path: path.split_terminator('/').map(str::to_owned).collect(),
            length,
        }
    }

    #[track_caller]
    fn refused(format: Format, piece_length: u32, files: &[(&str, u64)]) -> String {
        let entries = files.iter().map(|(path, length)| entry(path, *length)).collect();
        Layout::new(format, "Album".to_owned(), piece_length, entries)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn in_hybrids_every_file_begins_a_piece() {
        let entries = vec![entry("a", 20_000), entry("b", 0), entry("c", 5)];
        let layout = |format| Layout::new(format, "Album".to_owned(), 16_384, entries.clone()).unwrap();
        let starts = |layout: &Layout| layout.places().map(|(_, start, _)| start).collect::<Vec<_>>();
        assert_eq!(starts(&layout(Format::V1)), [0, 20_000, 20_000]);
        assert_eq!(starts(&layout(Format::Hybrid)), [0, 32_768, 32_768]);
        assert_eq!(layout(Format::V1).geometry().total_length(), 20_005);
        assert_eq!(layout(Format::Hybrid).geometry().total_length(), 49_152);
        assert_eq!(layout(Format::V2).geometry().total_length(), 20_005);
        assert_eq!(layout(Format::V2).geometry().piece_count(), 3);
    }

    #[test]
    fn what_no_torrent_can_hold_is_refused_by_name() {
        assert!(refused(Format::V1, 16_384, &[("a", 1), ("a", 1)]).starts_with("a is named twice"));
        assert!(
            refused(Format::V1, 16_384, &[("a/b", 1), ("c", 1), ("a", 1)]).starts_with("a/b is named twice")
        );
        assert!(refused(Format::V1, 16_384, &[("a/../b", 1)]).starts_with("\"..\" cannot be"));
        assert!(refused(Format::V2, 16_384, &[("a", 1)]).contains("\"a\" itself"));
        assert!(refused(Format::Hybrid, 16_384, &[("b", 1), ("a", 1)]).starts_with("a is out of order"));
        assert!(refused(Format::Hybrid, 24_576, &[("a", 1)]).starts_with("a piece length of 24576"));
        assert!(refused(Format::V1, 16_384, &[("a", 0)]).contains("0 bytes"));
        assert!(refused(Format::Hybrid, 16_384, &[("a", 0), ("b", 0)]).contains("0 bytes"));
        assert!(
            refused(Format::Hybrid, 16_384, &[("a", u64::MAX), ("b", u64::MAX)])
                .contains("pieces are more than")
        );
    }
}
