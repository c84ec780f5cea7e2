//! Torrents built byte by byte: what is read from them, and what hostile and damaged ones may cost.

use proptest::prelude::*;
use sha1::{Digest as _, Sha1};

use super::*;
use crate::bencode::Writer;
use crate::merkle;

const PIECE: usize = 16_384;

/// Content that differs everywhere.
fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| u8::try_from(place % 251).unwrap())
        .collect()
}

fn sha1(content: &[u8]) -> Vec<u8> {
    content
        .chunks(PIECE)
        .flat_map(|piece| Sha1::digest(piece).to_vec())
        .collect()
}

fn root(content: &[u8]) -> merkle::Hash {
    merkle::file_root(&merkle::leaves(content), 16_384)
}

/// A torrent: what stands before and behind `info`, and in it.
fn torrent(around: impl FnOnce(&mut Writer, &[u8]), info: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut inner = Writer::new();
    inner.dict();
    info(&mut inner);
    inner.end();
    let mut outer = Writer::new();
    outer.dict();
    around(&mut outer, &inner.finish());
    outer.end();
    outer.finish()
}

fn plain(info: impl FnOnce(&mut Writer)) -> Vec<u8> {
    torrent(|outer, inner| _ = outer.key("info").raw(inner), info)
}

/// An album of two files, v1.
fn v1() -> Vec<u8> {
    plain(|info| {
        info.key("files").list();
        for (length, name) in [(20_000, "a"), (5_000, "aux.c")] {
            info.dict()
                .key("length")
                .int(length)
                .key("path")
                .list()
                .bytes("folder")
                .bytes(name)
                .end()
                .end();
        }
        info.end()
            .key("name")
            .bytes("album")
            .key("piece length")
            .int(16_384);
        info.key("pieces").bytes(sha1(&content(25_000)));
    })
}

/// The same files as v2, with the layer of the longer one; as a hybrid with padding, and `hashes` says whether with SHA-1.
fn v2(hybrid: bool, hashes: bool) -> Vec<u8> {
    let (long, short) = (content(20_000), content(5_000));
    let layers = |outer: &mut Writer, inner: &[u8]| {
        let layer = merkle::layer(&merkle::leaves(&long), 16_384);
        outer.key("info").raw(inner).key("piece layers").dict();
        outer.key(root(&long)).bytes(layer.concat()).end();
    };
    torrent(layers, |info| {
        info.key("file tree").dict();
        for (name, content) in [("a", &long), ("b", &short)] {
            info.key(name).dict().key("").dict();
            info.key("length")
                .int(i64::try_from(content.len()).unwrap())
                .key("pieces root")
                .bytes(root(content));
            info.end().end();
        }
        info.end();
        if hybrid {
            info.key("files")
                .list()
                .dict()
                .key("length")
                .int(20_000)
                .key("path")
                .list()
                .bytes("a")
                .end()
                .end();
            info.dict()
                .key("attr")
                .bytes("p")
                .key("length")
                .int(12_768)
                .key("path")
                .list()
                .bytes("p")
                .end()
                .end();
            info.dict()
                .key("length")
                .int(5_000)
                .key("path")
                .list()
                .bytes("b")
                .end()
                .end()
                .end();
        }
        info.key("meta version")
            .int(2)
            .key("name")
            .bytes("album")
            .key("piece length")
            .int(16_384);
        if hashes {
            info.key("pieces")
                .bytes(sha1(&[&long[..], &[0; 12_768], &short].concat()));
        }
    })
}

#[test]
fn a_v1_album_is_read_and_its_pieces_are_checked() {
    let torrent = Metainfo::read(&v1()).unwrap();
    let info = &torrent.info;
    let path = |number: usize| info.disk_path(&info.files()[number]).display().to_string();
    assert_eq!(
        (path(0).as_str(), path(1).as_str()),
        ("album/folder/a", "album/folder/aux_.c")
    );
    assert_eq!(info.original_path(&info.files()[0]), None);
    assert_eq!(
        info.original_path(&info.files()[1]),
        Some("album/folder/aux.c".into())
    );
    assert_eq!((info.files()[1].offset, info.content_size()), (20_000, 25_000));
    let bytes = content(25_000);
    for piece in info.geometry().pieces() {
        let start = piece.as_usize() * PIECE;
        let piece_bytes = &bytes[start..(start + PIECE).min(25_000)];
        assert!(info.check_piece(piece, piece_bytes));
        assert!(!info.check_piece(piece, &piece_bytes[1..]));
        assert!(!info.check_piece(piece, &[&piece_bytes[1..], &[9]].concat()));
    }
}

#[test]
fn v2_pieces_are_checked_by_layer_and_root() {
    let torrent = Metainfo::read(&v2(false, false)).unwrap();
    let info = &torrent.info;
    assert_eq!(
        (info.info_hash_v1(), info.wire_hash()),
        (None, info.info_hash_v2().unwrap().truncated())
    );
    let (long, short) = (content(20_000), content(5_000));
    let pieces: Vec<_> = info.geometry().pieces().collect();
    let right = [&long[..PIECE], &long[PIECE..], &short[..]];
    for (number, piece) in pieces.iter().enumerate() {
        for (other, bytes) in right.iter().enumerate() {
            assert_eq!(
                info.check_piece(*piece, bytes),
                number == other,
                "piece {number} with content {other}"
            );
        }
    }
}

#[test]
fn a_hybrid_is_checked_by_sha1_and_without_it_by_its_trees() {
    let (long, short) = (content(20_000), content(5_000));
    let padded = [&long[PIECE..], &[0; 12_768]].concat();
    let wrong = [&long[PIECE..], &[1; 12_768]].concat();
    for hashes in [true, false] {
        let torrent = Metainfo::read(&v2(true, hashes)).unwrap();
        let (info, pieces) = (
            &torrent.info,
            torrent.info.geometry().pieces().collect::<Vec<_>>(),
        );
        assert!(info.info_hash_v1().is_some() && info.info_hash_v2().is_some() && info.has_layers());
        assert_eq!(
            (info.files().len(), info.content_size(), pieces.len()),
            (3, 25_000, 3)
        );
        assert_eq!(info.files()[1].kind, FileKind::Padding);
        assert!(info.check_piece(pieces[0], &long[..PIECE]) && info.check_piece(pieces[2], &short));
        assert!(info.check_piece(pieces[1], &padded) && !info.check_piece(pieces[1], &wrong));
    }
}

#[test]
fn metadata_from_peers_may_lack_layers_and_say_so() {
    let info = |bytes: &[u8]| Info::read(Metainfo::read(bytes).unwrap().info.raw());
    assert_eq!(
        info(&v1()).unwrap().wire_hash(),
        Metainfo::read(&v1()).unwrap().info.wire_hash()
    );
    assert!(info(&v2(true, true)).unwrap().has_layers());
    for bytes in [v2(false, false), v2(true, false)] {
        let bare = info(&bytes).unwrap();
        assert!(!bare.has_layers());
        let root = *bare.trees().missing().next().unwrap().root();
        let layers = |layer: Vec<[u8; 32]>| std::iter::once((root, layer)).collect();
        let wrong = bare.clone().with_layers(layers(vec![[7; 32]; 2]));
        assert!(matches!(wrong, Err(MetainfoError::PieceLayer(_))));
    }
    let trailing = [Metainfo::read(&v1()).unwrap().info.raw(), b"\n"].concat();
    assert!(matches!(Info::read(&trailing), Err(MetainfoError::Bencode(_))));
}

#[test]
fn trackers_come_in_tiers_and_what_is_no_address_is_left_out() {
    let around = |outer: &mut Writer, inner: &[u8]| {
        outer
            .key("announce")
            .bytes("http://ignored/")
            .key("announce-list")
            .list();
        outer
            .list()
            .bytes(" http://a/ ")
            .bytes("nonsense")
            .int(5)
            .end()
            .bytes("http://no-tier/");
        outer
            .list()
            .bytes("gopher://x/")
            .end()
            .list()
            .bytes("UDP://b:1")
            .bytes("http://c\n/")
            .end()
            .end();
        outer
            .key("comment")
            .bytes("one\n\x1b[31mtwo")
            .key("info")
            .raw(inner);
        outer
            .key("url-list")
            .list()
            .bytes("http://w/")
            .bytes("http://w/")
            .bytes("file:///etc")
            .end();
    };
    let bytes = torrent(around, |info| {
        info.key("length")
            .int(1)
            .key("name")
            .bytes("a")
            .key("piece length")
            .int(16_384);
        info.key("pieces")
            .bytes([0; 20])
            .key("private")
            .int(1)
            .key("source")
            .bytes("ho\nme\u{202e}");
    });
    let torrent = Metainfo::read(&bytes).unwrap();
    assert_eq!(torrent.trackers, [["http://a/"], ["UDP://b:1"]]);
    assert_eq!(torrent.web_seeds, ["http://w/"]);
    assert_eq!(torrent.comment.as_deref(), Some("one\n [31mtwo"));
    assert!(torrent.info.private() && torrent.info.is_single_file());
    assert_eq!((torrent.info.source(), torrent.info.name()), (Some("ho me"), "a"));
    assert_eq!(torrent.magnet().trackers.len(), 2);
}

/// One folder is written once but stands in the path of every file: 200 KB that would become 100 MB.
#[test]
fn a_deep_folder_of_many_files_is_refused_before_it_fills_the_memory() {
    let bytes = plain(|info| {
        info.key("file tree").dict();
        (0..90).for_each(|_| _ = info.key("d".repeat(240)).dict());
        for number in 0..5_000 {
            info.key(format!("{number:04}"))
                .dict()
                .key("")
                .dict()
                .key("length")
                .int(0)
                .end()
                .end();
        }
        (0..=90).for_each(|_| _ = info.end());
        info.key("meta version")
            .int(2)
            .key("name")
            .bytes("bomb")
            .key("piece length")
            .int(16_384);
    });
    assert_eq!(Metainfo::read(&bytes).unwrap_err(), MetainfoError::NamesTooLarge);
}

/// What holds for every torrent that is read.
fn check_invariants(torrent: &Metainfo) {
    let info = &torrent.info;
    assert!(info.content_size() > 0 && info.content_size() <= info.geometry().total_length());
    assert_eq!(Info::read(info.raw()).unwrap().wire_hash(), info.wire_hash());
    let mut taken = std::collections::BTreeSet::new();
    for file in info.files().iter().filter(|file| file.kind != FileKind::Padding) {
        let path = info.disk_path(file);
        assert!(
            path.components()
                .all(|part| matches!(part, std::path::Component::Normal(_))),
            "{path:?}"
        );
        assert!(
            taken.insert(path.display().to_string().to_lowercase()),
            "{path:?} twice"
        );
        assert!(info.original_path(file).is_none_or(|path| path.is_relative()));
    }
    let first = info.geometry().piece(0).unwrap();
    if info.geometry().length_of(first) < 1 << 20 {
        assert!(!info.check_piece(first, &vec![0xee; info.geometry().length_of(first) as usize]));
    }
}

proptest! {
    #[test]
    fn damaged_torrents_are_refused_or_still_safe(
        base in prop::sample::select(vec![v1(), v2(false, false), v2(true, true), v2(true, false)]),
        wounds in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, prop::sample::select(b"0159ilde:-/.\xff".to_vec())), 1..4),
    ) {
        let mut bytes = base;
        for (place, kind, byte) in wounds {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                // One byte stays, so that the next wound has a place.
                2 if bytes.len() > 1 => _ = bytes.remove(place),
                _ => bytes.truncate(place.max(1)),
            }
        }
        if let Ok(torrent) = Metainfo::read(&bytes) {
            check_invariants(&torrent);
        }
    }
}
