//! Torrents at the edges of what anybody makes, in small: `tests/run extremes` has them in full.

use std::time::Duration;

use tests::extremes::{CASES, Scene, Size};

#[track_caller]
fn holds(name: &str) {
    let home = tempfile::tempdir().unwrap();
    let scene = Scene {
        home: home.path().to_owned(),
        size: Size::SMALL,
        seeder: None,
        python: None,
        patience: Duration::from_secs(60),
    };
    let case = CASES.iter().find(|case| case.name == name).unwrap();
    (case.run)(&scene).is_within_bounds();
}

#[test]
fn a_piece_is_never_in_memory_as_a_whole() {
    holds("piece");
}

#[test]
fn thousands_of_files_cross_and_are_not_read_again() {
    holds("files");
}

#[test]
fn a_note_beside_a_file_that_fits_no_disk_can_be_got_alone() {
    holds("sparse");
}

#[test]
fn a_crowd_takes_and_a_crowd_offers_within_bounds() {
    holds("peers");
}

#[test]
fn empty_files_are_all_made() {
    holds("empty");
}
