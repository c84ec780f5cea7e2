//! Disks that are full or read-only are told plainly, and the download goes on when there is room.

use tests::rig::{SmallDisk, Stream};

use crate::album::{Album, LIMIT, Tracker};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_full_disk_is_named_and_the_download_goes_on_after_room_is_made() {
    let album = Album::of(&[20 * MIB]);
    let disk = SmallDisk::mount(&album.place("into"), 6 * MIB);
    goes_on(&album, &["No space left", "full"], || disk.resize(64 * MIB));
}

#[test]
fn a_read_only_target_is_named_and_the_download_goes_on_when_it_can_be_written() {
    let album = Album::of(&[2 * MIB]);
    let disk = SmallDisk::mount(&album.place("into"), 64 * MIB);
    disk.make_read_only();
    goes_on(&album, &["ead-only"], || disk.make_writable());
}

/// Starts a download into a disk that refuses, waits for the plain word on standard error, repairs the disk.
#[track_caller]
fn goes_on(album: &Album, words: &[&str], repair: impl FnOnce()) {
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
    album.check_arrived();
    drop(seeding);
}
