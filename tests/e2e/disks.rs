//! Disks that are full or read-only are told plainly, and the download goes on when there is room.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tests::rig::{
    Deadline, HttpRequest, Mood, MoodyDisk, Program, Running, SmallDisk, Stream, digests, fill,
};

use crate::album::{Album, LIMIT, Tracker, info_hash};
use crate::operating::Owner;

const MIB: u64 = 1024 * 1024;

#[test]
fn a_full_disk_is_named_and_the_download_goes_on_after_room_is_made() {
    let album = Album::of(&[20 * MIB]);
    let disk = SmallDisk::mount(&album.place("into"), 6 * MIB);
    goes_on(
        &album,
        &["No space left", "full"],
        ("into", || disk.resize(64 * MIB)),
    );
}

#[test]
fn a_read_only_target_is_named_and_the_download_goes_on_when_it_can_be_written() {
    let album = Album::of(&[2 * MIB]);
    let disk = SmallDisk::mount(&album.place("into"), 64 * MIB);
    disk.make_read_only();
    goes_on(&album, &["ead-only"], ("into", || disk.make_writable()));
}

/// Starts a download into a disk that refuses, waits for the plain word on standard error, repairs the disk.
#[track_caller]
fn goes_on(album: &Album, words: &[&str], (arrived, repair): (&str, impl FnOnce())) {
    let tracker = Tracker::start("127.0.0.1:0");
    let torrent = album.create(&["--tracker", &tracker.announce]);
    let seeding = album.seed(&torrent, "127.0.0.1:0");
    let getting = album.get(&torrent, "127.0.0.1:0").start();
    let told = getting.wait_for(Stream::Err, LIMIT, |line| {
        words
            .iter()
            .any(|word| line.contains(word))
            .then(|| line.to_owned())
    });
    assert!(
        told.contains("into/Holidays/IMG_0000.jpg") || told.contains("into/Holidays: "),
        "it does not name the file: {told}"
    );
    repair();
    getting.finish(LIMIT * 2).succeeded();
    let arrived = album.place(arrived).join("Holidays");
    assert_eq!(digests(&album.content()), digests(&arrived));
    drop(seeding);
}

#[test]
fn a_disk_that_hangs_holds_up_its_own_torrent_and_no_other() {
    let album = Album::of(&[8 * MIB]);
    let disk = MoodyDisk::mount(&album.place("moody"), &album.place("behind"));
    let torrent = album.create(&[]);
    let seeding = album.seed(&torrent, "127.0.0.1:0");
    let peer = crate::contract::peer_address(&seeding);
    disk.set(Mood::Stalled);
    let hanging = download(&album, &torrent, &peer, "moody").start();
    disk.wait_until_somebody_hangs(LIMIT);
    // The same seed gives to somebody with a better disk meanwhile.
    download(&album, &torrent, &peer, "into").run(LIMIT).succeeded();
    album.check_arrived();
    disk.set(Mood::Fine);
    hanging.finish(LIMIT).succeeded();
    assert_eq!(
        digests(&album.content()),
        digests(&album.place("behind/Holidays"))
    );
}

#[test]
fn a_source_on_a_disk_that_hangs_is_given_on_once_it_answers() {
    let album = Album::of(&[4 * MIB]);
    let torrent = album.create(&[]);
    let disk = MoodyDisk::mount(&album.place("moody"), &album.place("home"));
    let seeding = Program::seeder()
        .args(["seed", "--json", "--listen", "127.0.0.1:0"])
        .arg(&torrent)
        .arg("--content")
        .arg(album.place("moody"))
        .arg("--data")
        .arg(album.place("seed-state"))
        .start();
    let peer = crate::contract::peer_address(&seeding);
    disk.set(Mood::Stalled);
    let getting = download(&album, &torrent, &peer, "into").start();
    disk.wait_until_somebody_hangs(LIMIT);
    disk.set(Mood::Fine);
    getting.finish(LIMIT).succeeded();
    album.check_arrived();
}

#[test]
fn a_disk_that_fails_to_write_is_named_and_tried_again() {
    for (mood, words) in [
        (Mood::FailsWrites, "Input/output error"),
        (Mood::Full, "No space left"),
    ] {
        let album = Album::of(&[4 * MIB]);
        let disk = MoodyDisk::mount(&album.place("into"), &album.place("behind"));
        disk.set(mood);
        goes_on(&album, &[words], ("behind", || disk.set(Mood::Fine)));
    }
}

fn download(album: &Album, torrent: &Path, peer: &str, into: &str) -> Program {
    Program::seeder()
        .args(["get", "--json", "--listen", "127.0.0.1:0", "--peer", peer])
        .arg(torrent)
        .arg("--into")
        .arg(album.place(into))
        .arg("--data")
        .arg(album.place(&format!("{into}-state")))
}

/// So long a disk is silent while everything else is asked for again and again.
const SILENCE: Duration = Duration::from_secs(10);

#[test]
fn ten_silent_seconds_of_a_source_hold_up_nothing_on_other_disks() {
    let album = Album::of(&[3_000_000]);
    let (torrent, music) = (album.create(&[]), music(&album, 1_000_000));
    let disk = MoodyDisk::mount(&album.place("moody"), &album.place("home"));
    let owner = Owner::of(album.place("state"));
    let running = owner.run();
    for (torrent, content) in [(&torrent, "moody"), (&music, "home")] {
        owner.does(&["add", path(torrent), "--content", path(&album.place(content))]);
    }
    owner.wait_stage("Holidays", "seeding");
    owner.wait_stage("Music", "seeding");
    let peer = listening(&running);
    disk.set(Mood::Stalled);
    let hanging = download(&album, &torrent, &peer, "into").start();
    disk.wait_until_somebody_hangs(LIMIT);
    let silence = Deadline::after(SILENCE);
    let mut crossings = 0;
    while silence.left().is_some() {
        let into = format!("music-{crossings}");
        download(&album, &music, &peer, &into).run(LIMIT).succeeded();
        assert_eq!(owner.list().len(), 2);
        crossings += 1;
    }
    owner.wait("Holidays", "a word about the disk", waits_for_disk);
    disk.set(Mood::Fine);
    hanging.finish(LIMIT).succeeded();
    album.check_arrived();
    owner.wait("Holidays", "no word about the disk", |shown| {
        !waits_for_disk(shown)
    });
}

#[test]
fn ten_silent_seconds_of_a_target_hold_up_no_other_download() {
    let album = Album::of(&[3_000_000]);
    let torrents = [album.create(&[]), music(&album, 4_000_000)];
    let seeding = Program::seeder()
        .args(["seed", "--json", "--listen", "127.0.0.1:0"])
        .args(&torrents)
        .arg("--content")
        .arg(album.place("home"))
        .arg("--data")
        .arg(album.place("seed-state"))
        .start();
    let peer = crate::contract::peer_address(&seeding);
    let disk = MoodyDisk::mount(&album.place("moody"), &album.place("behind"));
    let owner = Owner::of(album.place("state"));
    let _running = owner.run();
    let [torrent, music] = &torrents;
    owner.does(&["add", path(torrent), "--into", path(&album.place("moody"))]);
    let fine = album.place("fine");
    owner.does(&["add", path(music), "--into", path(&fine), "--limit-down", "250k"]);
    owner.wait_stage("Holidays", "downloading");
    owner.wait_stage("Music", "downloading");
    disk.set(Mood::Stalled);
    for torrent in &torrents {
        tell_of_peer(&owner, torrent, &peer);
    }
    disk.wait_until_somebody_hangs(LIMIT);
    let silence = Deadline::after(SILENCE);
    let mut have = 0;
    let total = owner.show("Music")["total_bytes"].as_u64().unwrap();
    while silence.left().is_some() && have < total {
        let more = |shown: &Value| shown["have_bytes"].as_u64().unwrap() > have;
        have = owner.wait("Music", "more of it", more)["have_bytes"]
            .as_u64()
            .unwrap();
    }
    owner.wait("Holidays", "a word about the disk", waits_for_disk);
    disk.set(Mood::Fine);
    owner.wait_stage("Holidays", "seeding");
    owner.wait_stage("Music", "seeding");
    assert_eq!(
        digests(&album.content()),
        digests(&album.place("behind/Holidays"))
    );
    assert_eq!(
        digests(&album.place("home/Music")),
        digests(&album.place("fine/Music"))
    );
}

#[test]
fn a_full_disk_is_shown_with_torrent_and_file_and_the_download_goes_on_once_there_is_room() {
    let album = Album::of(&[2_000_000]);
    let torrent = album.create(&[]);
    let seeding = album.seed(&torrent, "127.0.0.1:0");
    let peer = crate::contract::peer_address(&seeding);
    let owner = Owner::of(album.place("state"));
    let disk = MoodyDisk::mount(&album.place("moody"), &album.place("behind"));
    let _running = owner.run();
    owner.does(&["add", path(&torrent), "--into", path(&album.place("moody"))]);
    owner.wait_stage("Holidays", "downloading");
    disk.set(Mood::Full);
    tell_of_peer(&owner, &torrent, &peer);
    let full = |shown: &Value| {
        let why = shown["why"].as_str().unwrap_or_default();
        why.contains("No space left") && why.contains("Holidays/IMG_0000.jpg")
    };
    owner.wait("Holidays", "a word about the full disk", full);
    disk.set(Mood::Fine);
    owner.wait_stage("Holidays", "seeding");
    assert_eq!(
        digests(&album.content()),
        digests(&album.place("behind/Holidays"))
    );
}

/// The seeder's own words on a torrent that waits for its disk.
fn waits_for_disk(shown: &Value) -> bool {
    let why = shown["why"].as_str().unwrap_or_default();
    why.contains("has not answered for 5 seconds") && why.contains("Holidays/IMG_0000.jpg")
}

/// A torrent beside the album.
#[track_caller]
fn music(album: &Album, length: u64) -> PathBuf {
    fill(&album.place("home/Music/song.ogg"), 9, length);
    let torrent = album.place("Music.torrent");
    let create = Program::seeder().arg("create").arg(album.place("home/Music"));
    create.arg("--output").arg(&torrent).run(LIMIT).succeeded();
    torrent
}

/// Where a daemon takes connections.
#[track_caller]
fn listening(running: &Running) -> String {
    let listens = |line: &str| line.strip_prefix("peers connect to ").map(str::to_owned);
    running.wait_for(Stream::Err, LIMIT, listens)
}

#[track_caller]
fn tell_of_peer(owner: &Owner, torrent: &Path, peer: &str) {
    let peers = format!("/api/v1/torrents/{}/peers", info_hash(torrent));
    HttpRequest::post(peers)
        .json(&json!({ "peers": [peer] }))
        .send_unix(&owner.socket())
        .succeeded();
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
