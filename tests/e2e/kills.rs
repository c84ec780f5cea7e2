//! `kill -9` of downloads at drawn moments: what is right on the disk is never asked for again, and the result is right.
#![expect(
    clippy::print_stdout,
    reason = "whoever reads a failure must know what was drawn"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::fake_peer::{FakeSeed, Habit, Heard, Stock, What};
use tests::rig::{HttpRequest, Running, ask_until, fill_folder};

use crate::album::{Album, LIMIT, Tracker, info_hash, inspect};
use crate::operating::Owner;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PIECE_LENGTH: u32 = 64 * 1024;

/// Another seed for the dice, to look for other moments.
const SEED: &str = "KINSWARM_KILLS_SEED";

/// What is fetched, from a seed that notes what it is asked for.
struct Prey {
    album: Album,
    torrent: PathBuf,
    seed: FakeSeed,
    /// The files' paths below the torrent's root, in its order, and what each holds.
    files: Vec<(PathBuf, Bytes)>,
    content: Bytes,
    /// After a kill: connections from this number on belong to later lives, which know these pieces.
    there: Vec<(usize, BTreeSet<u32>)>,
}

impl Prey {
    fn of(lengths: &[u64], words: &[&str]) -> Self {
        let album = Album::of(&[]);
        fill_folder(&album.content(), 3, lengths);
        let torrent = album.create(&[&["--piece-length", &PIECE_LENGTH.to_string()], words].concat());
        let listed = inspect(&torrent);
        let paths = listed["files"].as_array().unwrap().iter();
        let files: Vec<(PathBuf, Bytes)> = paths
            .map(|file| PathBuf::from(file["path"].as_str().unwrap()))
            .map(|path| {
                (
                    path.clone(),
                    fs::read(album.place("home").join(&path)).unwrap().into(),
                )
            })
            .collect();
        let content: Bytes = files.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
        let stock = Stock {
            info_hash: info_hash(&torrent),
            content: content.clone(),
            piece_length: PIECE_LENGTH,
            habit: Habit::Honest,
        };
        Self {
            seed: FakeSeed::start(LOCALHOST, stock),
            album,
            torrent,
            files,
            content,
            there: Vec::new(),
        }
    }

    /// The pieces whose every byte lies on the disk and is right.
    fn on_disk(&self, root: &Path) -> BTreeSet<u32> {
        let length = PIECE_LENGTH as usize;
        let mut right: BTreeSet<usize> = (0..self.content.len().div_ceil(length)).collect();
        let mut start = 0;
        for (path, wanted) in &self.files {
            let there = fs::read(root.join(path)).unwrap_or_default();
            let mut at = 0;
            while at < wanted.len() {
                let piece = (start + at) / length;
                let end = ((piece + 1) * length - start).min(wanted.len());
                if there.get(at..end) != wanted.get(at..end) {
                    right.remove(&piece);
                }
                at = end;
            }
            start += wanted.len();
        }
        right
            .into_iter()
            .map(|piece| u32::try_from(piece).unwrap())
            .collect()
    }

    /// Pieces that were not there at the last kill.
    fn left(&self) -> usize {
        let there = self.there.last().map_or(0, |(_, there)| there.len());
        self.content.len().div_ceil(PIECE_LENGTH as usize) - there
    }

    /// Waits until so many more blocks were asked for, or fewer where less is left to ask for.
    fn wait_for_blocks(&self, before: usize, blocks: usize) {
        let blocks = blocks.min(self.left());
        let what = format!("{blocks} more blocks after {before}");
        self.seed
            .wait_until(&what, LIMIT, |diary| asked(diary) >= before + blocks);
    }

    fn kill(&mut self, running: Running, root: &Path) {
        running.kill();
        self.there.push((self.seed.connections(), self.on_disk(root)));
    }

    fn asked(&self) -> usize {
        asked(&self.seed.diary())
    }

    /// Nothing that was right on the disk at a kill was asked for after it.
    #[track_caller]
    fn check_nothing_twice(&self, kills: usize) {
        let diary = self.seed.diary();
        for (connection, there) in &self.there {
            let again: BTreeSet<u32> = diary
                .iter()
                .filter(|heard| heard.connection >= *connection)
                .filter_map(|heard| match heard.what {
                    What::Asked(span) if there.contains(&span.piece) => Some(span.piece),
                    _ => None,
                })
                .collect();
            assert!(again.is_empty(), "on the disk, and asked for again: {again:?}");
        }
        let last = self.there.last().map_or(0, |(_, there)| there.len());
        assert!(
            last * 5 > kills,
            "only {last} pieces lay on the disk at the last kill: nothing was shown"
        );
        println!(
            "{kills} kills: {} blocks were asked for, {} would do; {last} of {} pieces were there at the last kill",
            asked(&diary),
            self.content.len().div_ceil(16 * 1024),
            self.content.len().div_ceil(PIECE_LENGTH as usize),
        );
    }
}

fn asked(diary: &[Heard]) -> usize {
    let asked = |heard: &&Heard| matches!(heard.what, What::Asked(_));
    diary.iter().filter(asked).count()
}

/// Dice whose seed is told.
fn dice(usual: u64) -> SmallRng {
    let seed = std::env::var(SEED).map_or(usual, |seed| seed.parse().unwrap());
    println!("{SEED}={seed}");
    SmallRng::seed_from_u64(seed)
}

#[test]
fn no_verified_piece_is_fetched_again_after_fifty_kills() {
    const KILLS: usize = 50;
    // 640 pieces; borders of files in the middle of pieces, an empty file, one of a single byte.
    let mut prey = Prey::of(&[20_000_123, 1, 0, 777_777, 21_000_000, 40_000], &[]);
    let get = |prey: &Prey| {
        let get = prey.album.get(&prey.torrent, "127.0.0.1:0");
        get.args(["--peer", &prey.seed.address().to_string()])
    };
    let into = prey.album.place("into");
    let mut dice = dice(50);
    for kill in 0..KILLS {
        if prey.left() == 0 {
            break;
        }
        let (before, connections) = (prey.asked(), prey.seed.connections());
        let running = get(&prey).start();
        match kill % 10 {
            // Some die while they start, some while they look at what is there and connect.
            4 => (),
            9 => ask_until("a connection", LIMIT, || {
                (prey.seed.connections() > connections).then_some(())
            }),
            _ => prey.wait_for_blocks(before, dice.random_range(1..64)),
        }
        prey.kill(running, &into);
    }
    let done = get(&prey).run(LIMIT * 2).succeeded();
    assert_eq!(done.json()["event"], "done");
    prey.album.check_arrived();
    prey.check_nothing_twice(prey.there.len());
}

#[test]
fn a_daemon_that_is_killed_takes_its_downloads_up_again_and_fetches_nothing_twice() {
    const KILLS: usize = 8;
    let tracker = Tracker::start("127.0.0.1:0");
    let mut prey = Prey::of(&[24_000_000, 16_000_001], &["--tracker", &tracker.announce]);
    join(
        &tracker,
        &info_hash(&prey.torrent).to_string(),
        prey.seed.address(),
    );
    let (into, state) = (prey.album.place("into"), prey.album.place("state"));
    let owner = Owner::of(state);
    let mut dice = dice(8);
    for kill in 0..KILLS {
        // A fast disk may have it all before the last kill.
        if prey.left() == 0 {
            break;
        }
        let before = prey.asked();
        let running = owner.run();
        if kill == 0 {
            let words = [
                "add",
                prey.torrent.to_str().unwrap(),
                "--into",
                into.to_str().unwrap(),
            ];
            owner.does(&words);
        }
        prey.wait_for_blocks(before, dice.random_range(1..24));
        prey.kill(running, &into);
    }
    let running = owner.run();
    owner.wait_stage("Holidays", "seeding");
    drop(running);
    prey.album.check_arrived();
    prey.check_nothing_twice(prey.there.len());
}

/// Tells a tracker of a seed.
#[track_caller]
fn join(tracker: &Tracker, info_hash: &str, seed: SocketAddr) {
    let digits = info_hash.as_bytes().chunks(2);
    let digits: Vec<&str> = digits.map(|digits| str::from_utf8(digits).unwrap()).collect();
    let query = format!(
        "info_hash=%{}&peer_id=-XX0001-abcdefghijkl&port={}&uploaded=0&downloaded=0&left=0&event=started&compact=1",
        digits.join("%"),
        seed.port()
    );
    HttpRequest::get(format!("/announce?{query}"))
        .send(tracker.address)
        .succeeded();
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
