//! What was typed wrongly: every mistake has its sentence and its exit code.

use crate::rig::{House, refused};

/// A command on a folder with one member and one torrent, its exit code, and what it must say.
type Mistake = (&'static [&'static str], i32, &'static [&'static str]);

const MISTAKES: [Mistake; 26] = [
    (&["member", "add"], 2, &["<NAME>"]),
    (&["member", "add", ""], 2, &["name"]),
    (&["member", "add", "anna"], 1, &["anna", "exists"]),
    (
        &["member", "add", "b", "--expires", "soon"],
        2,
        &["soon", "2026-12-31", "30d"],
    ),
    (
        &["member", "add", "b", "--expires", "2020-01-01"],
        2,
        &["--expires", "2020-01-01", "passed"],
    ),
    (
        &["member", "add", "b", "--expires", "900y"],
        2,
        &["--expires", "too far", "never"],
    ),
    (&["member", "show", "nobody"], 1, &["nobody", "member list"]),
    (&["member", "rotate", "anna", "--grace=-1d"], 2, &["-1d"]),
    (
        &["member", "rotate", "anna", "--grace=tomorrow"],
        2,
        &["tomorrow", "7d"],
    ),
    (&["member", "disable", "nobody"], 1, &["nobody"]),
    (&["member", "expire", "anna", "yesterday"], 2, &["yesterday"]),
    (&["member", "shwo", "anna"], 2, &["shwo", "show"]),
    (&["invite", "create", "--uses", "many"], 2, &["many"]),
    (
        &["invite", "create", "--by", "nobody"],
        1,
        &["nobody", "member list"],
    ),
    (&["invite", "revoke", "first"], 2, &["first"]),
    (&["token", "create", "bot"], 2, &["--scope"]),
    (
        &["token", "create", "bot", "--scope", "everything"],
        2,
        &["everything", "torrents"],
    ),
    (
        &["token", "create", "bot", "--scope", "read", "--member", "nobody"],
        1,
        &["nobody"],
    ),
    (
        &["torrent", "add", "/nowhere.torrent"],
        1,
        &["/nowhere.torrent", "No such file"],
    ),
    (&["torrent", "add", "/dev/null"], 1, &["/dev/null"]),
    (
        &["torrent", "show", "0123456789"],
        1,
        &["0123456789", "torrent list"],
    ),
    (&["torrent", "show", "xyz"], 2, &["xyz", "info-hash"]),
    (&["torrent", "show", "00", "--output", "f"], 2, &["--for"]),
    (&["torrent", "set", "00"], 2, &["--freeleech"]),
    (&["torrent", "set", "--freeleech", "--normal"], 2, &["--normal"]),
    (&["reload"], 1, &["no tracker runs", "tracker serve"]),
];

#[test]
fn every_mistake_has_its_sentence_and_its_exit_code() {
    let house = House::new();
    house.object(&["member", "add", "anna"]);
    for (typed, code, words) in MISTAKES {
        let output = house.run(typed);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{typed:?}: {said}");
        refused(&output, code, words);
    }
}

#[test]
fn a_file_that_is_no_torrent_is_named() {
    let house = House::new();
    house.object(&["member", "add", "anna"]);
    for (name, content) in [
        ("text.torrent", &b"hello"[..]),
        ("empty.torrent", b""),
        ("deep.torrent", &vec![b'l'; 100_000]),
    ] {
        let path = house.file(name);
        std::fs::write(&path, content).unwrap();
        refused(&house.run(&["torrent", "add", &path]), 1, &[name]);
    }
}

#[test]
fn a_damaged_database_is_named_and_left_alone() {
    let house = House::new();
    std::fs::create_dir(house.data()).unwrap();
    let database = house.data().join("tracker.sqlite");
    std::fs::write(&database, b"this was a database once").unwrap();
    refused(&house.run(&["member", "list"]), 1, &["tracker.sqlite"]);
    assert_eq!(std::fs::read(&database).unwrap(), b"this was a database once");
}
