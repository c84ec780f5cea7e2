//! Building metainfo files: v1 (BEP 3), v2 (BEP 52) and hybrids of both with padding files (BEP 47). The same content
//! and the same details always give the same bytes.
//!
//! [`Layout`] says how the content is cut, somebody hashes it piece by piece, [`write()`] puts all of it into a file.

mod layout;

use std::collections::BTreeMap;

use crate::bencode::Writer;
use crate::merkle;

use self::layout::aligned;
pub use self::layout::{Entry, Format, Layout, LayoutError, Tree};

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

#[cfg(test)]
mod tests;
