//! Torrents on their way in and out, made and golden.

use std::path::Path;

use proptest::prelude::*;
use shared::bencode::Writer;

use super::*;

const NOTHING_WISHED: Wishes<'_> = Wishes {
    private: None,
    source: None,
};
const PRIVATE: Wishes<'_> = Wishes {
    private: Some(true),
    source: None,
};
const URL: &str = "https://kin.example/abcdefghijklmnopqrstuvwxyz234567/announce";

/// A v1 torrent of one piece. `info` is what stands in it behind the pieces, `outer` what stands around.
fn torrent(before: &str, info: &str, behind: &str) -> Vec<u8> {
    let pieces = "x".repeat(20);
    format!(
        "d{before}4:infod6:lengthi5e4:name5:a.txt12:piece lengthi16384e6:pieces20:{pieces}{info}e{behind}e"
    )
    .into_bytes()
}

fn prepared(bytes: &[u8], wishes: &Wishes<'_>) -> Prepared {
    prepare(bytes, wishes).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All golden torrents that are accepted.
fn golden() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/torrents");
    let table = std::fs::read_to_string(folder.join("expect.tsv")).unwrap();
    let accepted = table.lines().filter_map(|line| line.split_once("\taccept\t"));
    let files = accepted.map(|(name, _)| (name.to_owned(), std::fs::read(folder.join(name)).unwrap()));
    files.collect()
}

#[test]
fn a_torrent_without_wishes_keeps_its_info_byte_for_byte() {
    for (name, bytes) in golden() {
        let before = Metainfo::read(&bytes).unwrap();
        let kept = prepared(&bytes, &NOTHING_WISHED);
        let after = Metainfo::read(&kept.bytes).unwrap();
        assert_eq!(before.info.raw(), after.info.raw(), "{name}");
        assert_eq!(kept.hashes, Hashes::of(&before.info), "{name}");
        assert_eq!((kept.former, after.trackers.len()), (None, 0), "{name}");
        assert_eq!(before.web_seeds, after.web_seeds, "{name}");
        assert_eq!(before.info.has_layers(), after.info.has_layers(), "{name}");
    }
}

#[test]
fn every_golden_torrent_can_be_made_private_and_given_a_source() {
    let wishes = Wishes {
        private: Some(true),
        source: Some("kin"),
    };
    for (name, bytes) in golden() {
        let kept = prepared(&bytes, &wishes);
        assert!(kept.private && kept.source.as_deref() == Some("kin"), "{name}");
        let again = prepared(&kept.bytes, &wishes);
        assert_eq!(again.bytes, kept.bytes, "{name}: done twice is done once");
        assert_eq!(again.former, None, "{name}");
        let before = Metainfo::read(&bytes).unwrap();
        let layers = before.info.has_layers();
        assert_eq!(
            (before.info.files().len(), kept.lacks_layers),
            (Metainfo::read(&kept.bytes).unwrap().info.files().len(), !layers)
        );
    }
}

#[test]
fn every_refused_golden_torrent_is_refused_here_too() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/torrents");
    let table = std::fs::read_to_string(folder.join("expect.tsv")).unwrap();
    for name in table.lines().filter_map(|line| line.split_once("\trefuse\t")) {
        let bytes = std::fs::read(folder.join(name.0)).unwrap();
        assert!(prepare(&bytes, &PRIVATE).is_err(), "{}", name.0);
    }
}

#[test]
fn private_is_put_where_its_letter_belongs_and_says_that_the_hash_changed() {
    let open = torrent("", "", "");
    let kept = prepared(&open, &PRIVATE);
    assert_eq!(text(&kept.bytes), text(&torrent("", "7:privatei1e", "")));
    let former = kept.former.unwrap();
    assert_eq!(former, prepared(&open, &NOTHING_WISHED).hashes);
    assert_ne!(former, kept.hashes);
}

#[test]
fn what_is_so_already_changes_nothing() {
    let bytes = torrent("", "7:privatei1e6:source3:kin", "");
    let wishes = Wishes {
        private: Some(true),
        source: Some("kin"),
    };
    let kept = prepared(&bytes, &wishes);
    assert_eq!((kept.bytes, kept.former), (bytes, None));
    let odd = torrent("", "7:privatei7e", "");
    assert_eq!(prepared(&odd, &PRIVATE).bytes, odd, "any number but 0 is private");
}

#[test]
fn private_and_source_can_be_taken_out_and_replaced() {
    let bytes = torrent("", "7:privatei1e6:source5:their", "");
    let wishes = Wishes {
        private: Some(false),
        source: Some(""),
    };
    assert_eq!(text(&prepared(&bytes, &wishes).bytes), text(&torrent("", "", "")));
    let wishes = Wishes {
        private: None,
        source: Some("kin"),
    };
    let ours = prepared(&bytes, &wishes);
    assert_eq!(
        text(&ours.bytes),
        text(&torrent("", "7:privatei1e6:source3:kin", ""))
    );
    let zero = torrent("", "7:privatei0e", "");
    assert_eq!(
        text(&prepared(&zero, &PRIVATE).bytes),
        text(&torrent("", "7:privatei1e", ""))
    );
}

#[test]
fn unsorted_keys_stay_as_they_are() {
    let pieces = "x".repeat(20);
    let bytes = format!("d4:infod4:name5:a.txt6:lengthi5e12:piece lengthi16384e6:pieces20:{pieces}ee");
    let kept = prepared(bytes.as_bytes(), &PRIVATE);
    let wanted =
        format!("d4:infod4:name5:a.txt6:lengthi5e12:piece lengthi16384e6:pieces20:{pieces}7:privatei1eee");
    assert_eq!(text(&kept.bytes), wanted);
}

#[test]
fn trackers_go_and_everything_else_stays() {
    let before = "8:announce17:http://t/announce13:announce-listll17:http://t/announceee7:comment5:hello13:creation datei7e";
    let behind = "5:nodesll1:ai1eee8:url-list14:http://seed/a/";
    let kept = prepared(&torrent(before, "", behind), &NOTHING_WISHED);
    let left = torrent("7:comment5:hello13:creation datei7e", "", behind);
    assert_eq!(text(&kept.bytes), text(&left), "an open torrent keeps its nodes");
    assert_eq!(kept.dropped, Vec::<String>::new());
    let private = prepared(&torrent(before, "7:privatei1e", behind), &NOTHING_WISHED);
    assert!(
        !text(&private.bytes).contains("5:nodes"),
        "a private one has no use for the DHT"
    );
    assert!(text(&private.bytes).contains("url-list"));
}

#[test]
fn a_key_of_a_tracker_goes_wherever_it_stands() {
    let key = "0123456789abcdef0123456789abcdef";
    let announce = format!("http://t.example/{key}/announce");
    let details = format!("see http://t.example/details?key={key}");
    let before = format!(
        "8:announce{}:{announce}7:comment{}:{details}",
        announce.len(),
        details.len()
    );
    let behind = "6:resumei1e8:url-list14:http://seed/a/";
    let kept = prepared(&torrent(&before, "", behind), &NOTHING_WISHED);
    assert!(!text(&kept.bytes).contains(key), "{}", text(&kept.bytes));
    assert_eq!(kept.dropped, ["comment", "resume"]);
    assert!(text(&kept.bytes).contains("url-list"));
}

#[test]
fn a_tracker_without_a_key_makes_nothing_else_go() {
    let before =
        "8:announce42:http://averylongtrackername.example/announce7:comment30:from averylongtrackername.home";
    let before = before.replace(
        "8:announce42",
        &format!(
            "8:announce{}",
            "http://averylongtrackername.example/announce".len()
        ),
    );
    let kept = prepared(&torrent(&before, "", ""), &NOTHING_WISHED);
    assert!(text(&kept.bytes).contains("7:comment30"));
}

#[test]
fn a_newline_behind_the_file_goes_and_rubbish_is_refused() {
    let mut bytes = torrent("", "", "");
    bytes.push(b'\n');
    assert_eq!(prepared(&bytes, &NOTHING_WISHED).bytes, torrent("", "", ""));
    bytes.push(b'!');
    assert!(prepare(&bytes, &NOTHING_WISHED).is_err());
}

#[test]
fn a_file_too_large_is_not_looked_at() {
    let error = prepare(&vec![b'd'; FILE_MAX + 1], &NOTHING_WISHED).unwrap_err();
    assert_eq!(error, TorrentFileError::TooLarge { length: FILE_MAX + 1 });
}

#[test]
fn a_member_gets_the_file_with_an_announce_url_in_front() {
    let kept = prepared(
        &torrent("7:comment5:hello", "", "8:url-list14:http://seed/a/"),
        &PRIVATE,
    );
    let personal = personalise(&kept.bytes, URL).unwrap();
    let read = Metainfo::read(&personal).unwrap();
    assert_eq!(read.trackers, [[URL]]);
    assert_eq!(
        (read.comment.as_deref(), read.web_seeds.len()),
        (Some("hello"), 1)
    );
    assert_eq!(Hashes::of(&read.info), kept.hashes);
    assert_eq!(
        text(&personal),
        text(&kept.bytes).replacen('d', &format!("d8:announce{}:{URL}", URL.len()), 1)
    );
    assert_eq!(personalise(&personal, URL).unwrap(), personal);
    assert_eq!(personalise(b"d", URL), None);
}

#[test]
fn golden_torrents_go_out_to_members_and_come_back_the_same() {
    for (name, bytes) in golden() {
        let kept = prepared(&bytes, &NOTHING_WISHED);
        let personal = personalise(&kept.bytes, URL).unwrap();
        let back = prepared(&personal, &NOTHING_WISHED);
        assert_eq!(Metainfo::read(&personal).unwrap().trackers, [[URL]], "{name}");
        assert_eq!(back.bytes, kept.bytes, "{name}");
    }
}

/// Keys and values that may stand around `info`, in any order.
fn around() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let value = prop_oneof![
        any::<i64>().prop_map(|number| format!("i{number}e").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| {
            let mut out = Writer::new();
            out.bytes(bytes);
            out.finish()
        }),
        Just(b"d1:al1:b1:cee".to_vec()),
    ];
    let key = prop_oneof![
        "[a-z]{1,8}",
        Just("announce".to_owned()),
        Just("nodes".to_owned()),
        Just("url-list".to_owned())
    ];
    prop::collection::vec((key, value), 0..6)
}

fn with_around(around: &[(String, Vec<u8>)], info: &str) -> Vec<u8> {
    let mut bytes = torrent("", info, "");
    bytes.pop();
    for (key, value) in around.iter().filter(|(key, _)| key != "info") {
        bytes.extend_from_slice(format!("{}:{key}", key.len()).as_bytes());
        bytes.extend_from_slice(value);
    }
    bytes.push(b'e');
    bytes
}

proptest! {
    #[test]
    fn what_stands_around_never_changes_the_hash(around in around(), private: bool, source in "[ -~]{0,20}") {
        let bytes = with_around(&around, "");
        let wishes = Wishes { private: Some(private), source: Some(&source) };
        let kept = prepare(&bytes, &wishes).unwrap();
        let alone = prepare(&torrent("", "", ""), &wishes).unwrap();
        prop_assert_eq!(kept.hashes, alone.hashes);
        prop_assert_eq!(kept.private, private);
        prop_assert_eq!(kept.former.is_some(), private || !source.is_empty());
        let again = prepare(&kept.bytes, &wishes).unwrap();
        prop_assert_eq!(&again.bytes, &kept.bytes);
        let personal = personalise(&kept.bytes, URL).unwrap();
        let read = Metainfo::read(&personal).unwrap();
        prop_assert_eq!(read.trackers, [[URL]]);
        prop_assert_eq!(Hashes::of(&read.info), kept.hashes);
    }

    #[test]
    fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (prepare(&bytes, &PRIVATE).is_ok(), personalise(&bytes, URL));
    }

    #[test]
    fn a_wounded_file_is_refused_or_read_but_never_a_stumble(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = torrent("8:announce10:http://t/a7:comment5:hello", "7:privatei1e6:source3:kin", "8:url-list14:http://seed/a/");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(kept) = prepare(&bytes, &PRIVATE) {
            prop_assert!(Metainfo::read(&kept.bytes).is_ok() && kept.private);
        }
    }
}
