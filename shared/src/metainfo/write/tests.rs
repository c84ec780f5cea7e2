//! What is written is read back, and hashed as the specification says it, the slow way.

use proptest::prelude::*;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::metainfo::{FileKind, Metainfo};

const PIECE_LENGTH: usize = 32_768;

/// Bytes that repeat in no piece.
fn content(seed: usize, length: usize) -> Vec<u8> {
    let words = (0_usize..).map(|number| Sha256::digest((number * 1_000 + seed).to_le_bytes()));
    words.flat_map(|word| word.to_vec()).take(length).collect()
}

fn layout(format: Format, files: &[(&str, Vec<u8>)]) -> Layout {
    let entries = files.iter().map(|(path, content)| Entry {
        path: path.split_terminator('/').map(str::to_owned).collect(),
        length: content.len() as u64,
    });
    Layout::new(format, "Album".to_owned(), 32_768, entries.collect()).unwrap()
}

/// All pieces' bytes as v1 sees them: files and padding end to end.
fn stream(layout: &Layout, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for ((_, start, _), (_, content)) in layout.places().zip(files) {
        stream.resize(usize::try_from(start).unwrap(), 0);
        stream.extend(content);
    }
    let total = usize::try_from(layout.geometry().total_length()).unwrap();
    stream.resize(
        stream
            .len()
            .max(if layout.format() == Format::V2 { 0 } else { total }),
        0,
    );
    stream
}

/// The root over a whole tree by the book: hash every leaf, fill up to `width` with zeros, join pairs until one is left.
fn naive_root(content: &[u8], width: usize) -> [u8; 32] {
    let mut row: Vec<[u8; 32]> = content
        .chunks(16_384)
        .map(|block| Sha256::digest(block).into())
        .collect();
    row.resize(width.max(row.len().next_power_of_two()), [0; 32]);
    while row.len() > 1 {
        row = row
            .chunks(2)
            .map(|pair| Sha256::digest(pair.concat()).into())
            .collect();
    }
    row[0]
}

fn hashes(layout: &Layout, files: &[(&str, Vec<u8>)]) -> Vec<PieceHash> {
    let stream = stream(layout, files);
    let mut hashes = vec![PieceHash::default(); layout.geometry().piece_count() as usize];
    for (hash, piece) in hashes.iter_mut().zip(stream.chunks(PIECE_LENGTH)) {
        hash.v1 = Sha1::digest(piece).into();
    }
    if layout.format().has_v2() {
        let mut at = hashes.iter_mut();
        for piece in files.iter().flat_map(|(_, content)| {
            content
                .chunks(PIECE_LENGTH)
                .map(move |piece| (piece, content.len()))
        }) {
            at.next().unwrap().v2 = naive_root(piece.0, if piece.1 > PIECE_LENGTH { 2 } else { 1 });
        }
    }
    hashes
}

fn written(format: Format, files: &[(&str, Vec<u8>)], details: &Details) -> Vec<u8> {
    let layout = layout(format, files);
    write(&layout, &hashes(&layout, files), details)
}

#[test]
fn the_smallest_torrent_is_exactly_this() {
    let bytes = written(Format::V1, &[("", b"hello".to_vec())], &Details::default());
    let mut expected = b"d4:infod6:lengthi5e4:name5:Album12:piece lengthi32768e6:pieces20:".to_vec();
    expected.extend(Sha1::digest(b"hello"));
    expected.extend(b"ee");
    assert_eq!(bytes, expected);
}

#[test]
fn a_tracker_alone_makes_no_list_and_tiers_do() {
    let with = |trackers: &[&[&str]]| {
        let trackers = trackers
            .iter()
            .map(|tier| tier.iter().map(|&url| url.to_owned()).collect())
            .collect();
        let bytes = written(
            Format::V1,
            &[("", vec![1])],
            &Details {
                trackers,
                ..Details::default()
            },
        );
        String::from_utf8_lossy(&bytes)
            .split("4:info")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(with(&[]), "d");
    assert_eq!(with(&[&["http://a/"]]), "d8:announce9:http://a/");
    assert_eq!(
        with(&[&["http://a/"], &["udp://b:1", "http://c/"]]),
        "d8:announce9:http://a/13:announce-listll9:http://a/el9:udp://b:19:http://c/ee"
    );
}

#[test]
fn every_detail_is_read_back() {
    let details = Details {
        trackers: vec![
            vec!["http://a/announce".to_owned(), "udp://b:1".to_owned()],
            vec!["http://c/".to_owned()],
        ],
        web_seeds: vec!["http://w/".to_owned()],
        comment: Some("ärger".to_owned()),
        created_by: Some("us".to_owned()),
        creation_date: Some(1_234),
        private: true,
        source: Some("KIN".to_owned()),
    };
    for format in [Format::V1, Format::Hybrid, Format::V2] {
        let metainfo = Metainfo::read(&written(format, &[("a", vec![1]), ("b", vec![2])], &details)).unwrap();
        assert_eq!(metainfo.trackers, details.trackers);
        assert_eq!(metainfo.web_seeds, details.web_seeds);
        assert_eq!(metainfo.comment, details.comment);
        assert_eq!(metainfo.created_by, details.created_by);
        assert_eq!(metainfo.creation_date, details.creation_date);
        assert!(metainfo.info.private());
        assert_eq!(metainfo.info.source(), Some("KIN"));
    }
}

/// Info-hashes that libtorrent 2.1.1 gives the same files, in the same order and pieces of the same length.
#[test]
fn libtorrent_gives_the_same_info_hashes() {
    let files = [
        ("IMG_1.jpg", content(1, 100_000)),
        ("IMG_2.jpg", content(2, 32_768)),
        ("empty", Vec::new()),
        ("film/a.mkv", content(3, 300_000)),
        ("film/b.txt", content(4, 1)),
    ];
    let hashes = |format| {
        let info = Metainfo::read(&written(format, &files, &Details::default()))
            .unwrap()
            .info;
        (
            info.info_hash_v1().map(|hash| hash.to_string()),
            info.info_hash_v2().map(|hash| hash.to_string()),
        )
    };
    let some = |hash: &str| Some(hash.to_owned());
    assert_eq!(
        hashes(Format::V1),
        (some("d300a9dd7f80814687379335e47efc32110a3f10"), None)
    );
    assert_eq!(
        hashes(Format::Hybrid),
        (
            some("e6bc0268b13f1cd9bf5eb6ce0bb468f6a8633f67"),
            some("6ac5b0e4a1bfa1166686d8cd126826162a6b540ca8aff0e73bb18c26bf33a756")
        )
    );
    assert_eq!(
        hashes(Format::V2),
        (
            None,
            some("1a1626a5413657b3f9e487d906062357031541a8bddef4586069222530ce0d46")
        )
    );
}

fn formats() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::V1), Just(Format::Hybrid), Just(Format::V2)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_is_read_back_and_its_pieces_match(
        format in formats(),
        lengths in prop::collection::vec(prop_oneof![0_usize..3, 16_380_usize..16_390, 32_760_usize..32_780, 0_usize..150_000], 2..7),
    ) {
        prop_assume!(lengths.iter().any(|length| *length > 0));
        let names = ["a", "b b", "c/d", "c/e/f", "c/g", "h", "z"];
        let files: Vec<_> = names.iter().zip(&lengths).enumerate().map(|(seed, (name, length))| (*name, content(seed, *length))).collect();
        let (layout, bytes) = (layout(format, &files), written(format, &files, &Details::default()));
        let info = Metainfo::read(&bytes).unwrap().info;
        prop_assert_eq!(info.geometry(), layout.geometry());
        prop_assert!(info.has_layers());
        let content_files: Vec<_> = info.files().iter().filter(|file| file.kind == FileKind::Regular).collect();
        prop_assert_eq!(content_files.len(), files.len());
        for ((file, (_, start, _)), (name, content)) in content_files.iter().zip(layout.places()).zip(&files) {
            prop_assert_eq!((file.path.to_string(), file.length), ((*name).to_owned(), content.len() as u64));
            prop_assert!(file.length == 0 || file.offset == start);
            let width = if content.len() > PIECE_LENGTH { 2 } else { 1 };
            let root = (format.has_v2() && !content.is_empty()).then(|| naive_root(content, width));
            prop_assert_eq!(file.pieces_root, root);
        }
        let stream = stream(&layout, &files);
        for piece in info.geometry().pieces() {
            let start = usize::try_from(info.geometry().start_of(piece)).unwrap();
            let end = start + info.geometry().length_of(piece) as usize;
            prop_assert!(info.check_piece(piece, &stream[start..end]));
        }
    }
}
