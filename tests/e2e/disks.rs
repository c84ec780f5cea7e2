//! Disks that are full or read-only are told plainly, and the download goes on when there is room.

use std::path::Path;

use tests::rig::{Mood, MoodyDisk, Program, SmallDisk, Stream, digests};

use crate::album::{Album, LIMIT, Tracker};

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
    assert!(told.contains("into"), "it does not say where: {told}");
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
