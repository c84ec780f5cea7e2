//! Building metainfo files: v1 (BEP 3), v2 (BEP 52) and hybrids of both with padding files (BEP 47). The same content
//! and the same details always give the same bytes.
//!
//! [`Layout`] says how the content is cut, somebody hashes it piece by piece, [`write`] puts all of it into a file.

use std::collections::BTreeMap;

use crate::bencode::Writer;
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
    format: Format,
    name: String,
    piece_length: u32,
    entries: Vec<Entry>,
    /// The place of every entry's first byte, padding counted.
    starts: Vec<u64>,
    geometry: Geometry,
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
        // BEP 52 takes a tree of one file for a torrent of that file, whatever the torrent's name.
        if let (Format::V2, [Entry { path, .. }]) = (format, entries.as_slice())
            && let [name] = path.as_slice()
        {
            return Err(LayoutError::LoneFile(name.clone()));
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

    fn is_single_file(&self) -> bool {
        is_single(&self.entries)
    }

    /// The pieces of an entry, by number.
    fn pieces_of(&self, start: u64, length: u64) -> std::ops::Range<usize> {
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
fn aligned(place: u64, alignment: u64) -> u64 {
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

/// The hashes of one piece; which of them count is the format's affair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PieceHash {
    /// SHA-1 over the piece, with the padding behind a file's end (but for the last piece).
    pub v1: [u8; 20],
    /// The root of the [`Tree`] over the piece's blocks.
    pub v2: [u8; 32],
}

/// What stands in a metainfo file beside the content. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Tiers of URLs (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// BEP 19.
    pub web_seeds: Vec<String>,
    pub comment: Option<String>,
    pub created_by: Option<String>,
    /// Seconds since 1970. Without it the file can be made again, byte for byte.
    pub creation_date: Option<i64>,
    /// Trackers only (BEP 27). Changes the info-hash.
    pub private: bool,
    /// Makes the info-hash another one, so that the same content may go to several trackers. Changes the info-hash.
    pub source: Option<String>,
}

/// The metainfo file of a layout whose pieces have these hashes, one for each in order.
pub fn write(layout: &Layout, hashes: &[PieceHash], details: &Details) -> Vec<u8> {
    debug_assert_eq!(hashes.len(), layout.geometry.piece_count() as usize);
    let files = if layout.format.has_v2() {
        v2_files(layout, hashes)
    } else {
        Vec::new()
    };
    let mut out = Writer::new();
    out.dict();
    write_trackers(&mut out, &details.trackers);
    write_text(&mut out, "comment", details.comment.as_deref());
    write_text(&mut out, "created by", details.created_by.as_deref());
    if let Some(date) = details.creation_date {
        out.key("creation date");
        out.int(date);
    }
    out.key("info");
    write_info(&mut out, layout, hashes, &files, details);
    if layout.format.has_v2() {
        write_layers(&mut out, &files);
    }
    if !details.web_seeds.is_empty() {
        out.key("url-list");
        out.list();
        for url in &details.web_seeds {
            out.bytes(url);
        }
        out.end();
    }
    out.end();
    out.finish()
}

/// A file's root and, where it has more than one piece, the layer of its pieces.
struct V2File<'a> {
    root: Option<[u8; 32]>,
    layer: &'a [PieceHash],
}

fn v2_files<'a>(layout: &Layout, hashes: &'a [PieceHash]) -> Vec<V2File<'a>> {
    let files = layout.places().map(|(_, start, length)| {
        let pieces = hashes.get(layout.pieces_of(start, length)).unwrap_or_default();
        match pieces {
            [] => V2File {
                root: None,
                layer: &[],
            },
            [only] => V2File {
                root: Some(only.v2),
                layer: &[],
            },
            layer => {
                let roots: Vec<[u8; 32]> = layer.iter().map(|piece| piece.v2).collect();
                V2File {
                    root: Some(merkle::root_of_layer(&roots, layout.piece_length)),
                    layer,
                }
            }
        }
    });
    files.collect()
}

fn write_trackers(out: &mut Writer, tiers: &[Vec<String>]) {
    let Some(first) = tiers.iter().flatten().next() else {
        return;
    };
    out.key("announce");
    out.bytes(first);
    if tiers.iter().flatten().count() > 1 {
        out.key("announce-list");
        out.list();
        for tier in tiers.iter().filter(|tier| !tier.is_empty()) {
            out.list();
            for url in tier {
                out.bytes(url);
            }
            out.end();
        }
        out.end();
    }
}

fn write_text(out: &mut Writer, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        out.key(key);
        out.bytes(text);
    }
}

fn write_info(
    out: &mut Writer,
    layout: &Layout,
    hashes: &[PieceHash],
    files: &[V2File<'_>],
    details: &Details,
) {
    out.dict();
    if layout.format.has_v2() {
        out.key("file tree");
        write_tree(out, layout, files);
    }
    if layout.format.has_v1() {
        write_list(out, layout);
    }
    if layout.format.has_v2() {
        out.key("meta version");
        out.int(2);
    }
    write_text(out, "name", Some(&layout.name));
    out.key("piece length");
    out.int(layout.piece_length);
    if layout.format.has_v1() {
        out.key("pieces");
        out.bytes(
            hashes
                .iter()
                .map(|piece| piece.v1)
                .collect::<Vec<_>>()
                .as_flattened(),
        );
    }
    if details.private {
        out.key("private");
        out.int(1);
    }
    write_text(out, "source", details.source.as_deref());
    out.end();
}

/// `files` or `length`, and between aligned files the padding that lets both generations cut alike.
fn write_list(out: &mut Writer, layout: &Layout) {
    if layout.is_single_file() {
        out.key("length");
        out.int(layout.content_size());
        return;
    }
    out.key("files");
    out.list();
    for entry in &layout.entries {
        out.dict();
        out.key("length");
        out.int(entry.length);
        out.key("path");
        out.list();
        for name in &entry.path {
            out.bytes(name);
        }
        out.end();
        out.end();
        if layout.format.has_v2() && layout.entries.len() > 1 {
            write_padding(
                out,
                aligned(entry.length, layout.piece_length.into()) - entry.length,
            );
        }
    }
    out.end();
}

/// Fills the last piece of a file, also of the last one, as libtorrent has it: the same content then gets the same
/// info-hash from both.
fn write_padding(out: &mut Writer, length: u64) {
    if length == 0 {
        return;
    }
    out.dict();
    out.key("attr");
    out.bytes("p");
    out.key("length");
    out.int(length);
    out.key("path");
    out.list();
    out.bytes(".pad");
    out.bytes(length.to_string());
    out.end();
    out.end();
}

fn write_tree(out: &mut Writer, layout: &Layout, files: &[V2File<'_>]) {
    out.dict();
    let mut open: Vec<&str> = Vec::new();
    for (entry, file) in layout.entries.iter().zip(files) {
        let path: Vec<&str> = if layout.is_single_file() {
            vec![&layout.name]
        } else {
            entry.path.iter().map(String::as_str).collect()
        };
        let common = open
            .iter()
            .zip(&path)
            .take_while(|(open, name)| open == name)
            .count();
        while open.len() > common {
            out.end();
            open.pop();
        }
        for name in path.into_iter().skip(common) {
            out.key(name);
            out.dict();
            open.push(name);
        }
        out.key("");
        out.dict();
        out.key("length");
        out.int(entry.length);
        if let Some(root) = &file.root {
            out.key("pieces root");
            out.bytes(root);
        }
        out.end();
    }
    for _ in open {
        out.end();
    }
    out.end();
}

/// One layer a file of more than one piece. Files of equal content share theirs.
fn write_layers(out: &mut Writer, files: &[V2File<'_>]) {
    let layered = files.iter().filter(|file| !file.layer.is_empty());
    let layers: BTreeMap<[u8; 32], &[PieceHash]> = layered
        .filter_map(|file| Some((file.root?, file.layer)))
        .collect();
    out.key("piece layers");
    out.dict();
    for (root, layer) in layers {
        out.key(root);
        out.bytes(
            layer
                .iter()
                .map(|piece| piece.v2)
                .collect::<Vec<_>>()
                .as_flattened(),
        );
    }
    out.end();
}
