//! The project's own torrents, made by [`tests::vectors::made`] and committed with their verdicts in `golden/torrents`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken rig should stop the test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tests::vectors::{self, made};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/torrents")
}

#[test]
fn the_seeder_says_of_every_torrent_what_should_be_said() {
    let seeder = vectors::seeder().expect("the seeder builds");
    let tally = vectors::check(&folder(), &seeder).expect("the folder can be read");
    assert!(tally.failed.is_empty(), "{}", tally.failed.join("\n"));
    assert_eq!(tally.passed, made::all().len(), "expect.tsv names every torrent");
}

/// `cargo run -p tests --bin vectors -- --write tests/golden/torrents` writes them anew.
#[test]
fn the_committed_torrents_are_the_ones_we_make() {
    let mut names = BTreeSet::new();
    for torrent in made::all() {
        let committed = std::fs::read(folder().join(torrent.file_name())).expect("it is committed");
        assert!(
            committed == torrent.bytes,
            "{} differs from what is made",
            torrent.file_name()
        );
        assert!(
            names.insert(torrent.file_name()),
            "{} is made twice",
            torrent.file_name()
        );
    }
}
