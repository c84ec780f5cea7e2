//! `kill -9` of a download at random moments: what was verified is never asked for again, and the result is right.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::fake_peer::{FakeSeed, Habit, Heard, Stock, What};
use tests::rig::{fill, sha256};

use crate::album::{Album, LIMIT, info_hash};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PIECE_LENGTH: u32 = 64 * 1024;
const PIECES: u64 = 400;
const KILLS: usize = 20;

#[test]
fn no_verified_piece_is_fetched_again_after_twenty_kills() {
    let album = Album::of(&[]);
    let file = album.content();
    fill(&file, 3, PIECES * u64::from(PIECE_LENGTH) - 12_345);
    let torrent = album.create(&["--piece-length", &PIECE_LENGTH.to_string()]);
    let stock = Stock {
        info_hash: info_hash(&torrent),
        content: Bytes::from(fs::read(&file).unwrap()),
        piece_length: PIECE_LENGTH,
        habit: Habit::Honest,
    };
    let seed = FakeSeed::start(LOCALHOST, stock);
    let get = || {
        album
            .get(&torrent, "127.0.0.1:0")
            .args(["--peer", &seed.address().to_string()])
    };

    // A few blocks to a third of a piece's worth of rounds: 20 kills fall anywhere in the first half of the download.
    let mut dice = SmallRng::seed_from_u64(20);
    for kill in 0..KILLS {
        let before = seed.diary().len();
        let blocks = dice.random_range(4..40);
        let running = get().start();
        seed.wait_until(&format!("{blocks} blocks before kill {kill}"), LIMIT, |diary| {
            diary.len() >= before + blocks
        });
        running.kill();
    }
    let done = get().run(LIMIT * 2).succeeded();
    assert_eq!(done.json()["event"], "done");
    assert_eq!(sha256(&file), sha256(&album.place("into/Holidays")));

    let again = asked_again(&seed.diary());
    assert!(
        again.is_empty(),
        "pieces that it had said it has were asked for again: {again:?}"
    );
    let asked = seed
        .diary()
        .iter()
        .filter(|heard| matches!(heard.what, What::Asked(_)))
        .count();
    let told = seed.diary().len() - asked;
    assert!(
        told > KILLS,
        "it told of {told} verified pieces only: nothing was shown"
    );
    println!("{asked} blocks were asked for, {} would do", stock_blocks());
}

fn stock_blocks() -> u64 {
    (PIECES * u64::from(PIECE_LENGTH) - 12_345).div_ceil(16 * 1024)
}

/// Pieces of which a block was asked for on a later connection than the one on which they were announced as verified.
fn asked_again(diary: &[Heard]) -> BTreeSet<u32> {
    let mut verified = BTreeSet::new();
    let mut again = BTreeSet::new();
    for heard in diary {
        match heard.what {
            What::Has(piece) => drop(verified.insert(piece)),
            What::Asked(span) if verified.contains(&span.piece) => drop(again.insert(span.piece)),
            What::Asked(_) => (),
        }
    }
    again
}

#[test]
fn a_finished_download_fetches_and_hashes_nothing_when_started_again() {
    let album = Album::of(&[3_000_000]);
    let torrent = album.create(&[]);
    let seeding = album.seed(&torrent, "127.0.0.1:0");
    let address = crate::contract::peer_address(&seeding);
    album
        .get(&torrent, "127.0.0.1:0")
        .args(["--peer", &address])
        .run(LIMIT)
        .succeeded();
    seeding.kill();
    // Nobody is there to fetch from.
    album
        .get(&torrent, "127.0.0.1:0")
        .run(Duration::from_secs(20))
        .succeeded();
    album.check_arrived();
}
