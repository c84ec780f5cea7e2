//! Files that are not where the torrent has them: unwanted ones aside, moved and renamed ones; and how they get their room.

use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::torrent::Priority;

/// The album with these files unwanted.
fn without(rig: &Rig, skipped: &[usize]) -> (Opened, Arc<[Priority]>) {
    let wishes: Arc<[Priority]> = (0..rig.info.files().len())
        .map(|file| {
            if skipped.contains(&file) {
                Priority::Skip
            } else {
                Priority::Normal
            }
        })
        .collect();
    let opening = Opening {
        wishes: Arc::clone(&wishes),
        ..rig.opening("target", true)
    };
    (opening.look().settle(), wishes)
}

fn parts(rig: &Rig) -> PathBuf {
    places::parts_path(&rig.path("state"), rig.info.wire_hash())
}

#[tokio::test]
async fn parts_of_unwanted_files_lie_aside_and_move_in_once_they_are_wanted() {
    let rig = Rig::album();
    // a.jpg is 0..100,000; the fourth piece, from 98,304 on, holds its end, b/c.jpg, and the start of b/d.jpg.
    let (opened, _) = without(&rig, &[2]);
    fetch_all(&rig, &opened, 0..4).await;
    assert!(!rig.path("target/album/b/d.jpg").exists());
    assert!(parts(&rig).exists());
    let mut piece = vec![0; PIECE as usize];
    opened.storage.read(u64::from(3 * PIECE), &mut piece).unwrap();
    assert!(
        piece == rig.content(rig.piece(3)),
        "what lies aside is given to others"
    );
    rig.same("a.jpg");

    opened.want(&[]).unwrap();
    assert!(rig.path("target/album/b/d.jpg").exists());
    assert!(
        opened.storage.check(rig.piece(3)).unwrap(),
        "its start has come along"
    );
    fetch_all(&rig, &opened, 4..6).await;
    opened.storage.finish().unwrap();
    rig.same("b/d.jpg");
    assert!(!parts(&rig).exists());
}

#[tokio::test]
async fn what_lies_aside_is_known_after_a_restart() {
    let rig = Rig::album();
    let (opened, _) = without(&rig, &[0, 2]);
    fetch_all(&rig, &opened, [3]).await;
    drop(opened);
    let (again, _) = without(&rig, &[0, 2]);
    assert!(again.have.has(rig.piece(3)));
    again.remember().unwrap();
    // Wanted after all while the program did not run.
    let (wanted, _) = without(&rig, &[]);
    assert!(wanted.have.has(rig.piece(3)));
    fetch_all(&rig, &wanted, [0, 1, 2, 4, 5]).await;
    wanted.storage.finish().unwrap();
    for name in ["a.jpg", "b/c.jpg", "b/d.jpg"] {
        rig.same(name);
    }
}

#[tokio::test]
async fn the_parts_file_goes_with_its_torrent() {
    let rig = Rig::album();
    let (opened, _) = without(&rig, &[2]);
    fetch_all(&rig, &opened, [3]).await;
    assert!(parts(&rig).exists());
    forget(&rig.path("state"), rig.info.wire_hash());
    assert!(!parts(&rig).exists() && fs::read_dir(rig.path("state/resume")).unwrap().next().is_none());
}

#[tokio::test]
async fn a_download_is_moved_half_way_and_goes_on_at_its_new_place() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    fetch_all(&rig, &opened, [0, 3]).await;
    opened.relocate(&rig.path("moved"), &Progress::default()).unwrap();
    assert!(!rig.path("target/album").exists());
    fetch_all(&rig, &opened, [1, 2, 4, 5]).await;
    opened.storage.finish().unwrap();
    opened.remember().unwrap();
    drop(opened);
    fs::rename(rig.path("moved"), rig.path("target")).unwrap();
    for name in ["a.jpg", "b/c.jpg", "b/d.jpg", "empty"] {
        rig.same(name);
    }
}

#[tokio::test]
async fn a_move_is_refused_where_something_lies_in_the_way_and_changes_nothing() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    fetch_all(&rig, &opened, 0..6).await;
    fs::create_dir_all(rig.path("moved/album/b")).unwrap();
    fs::write(rig.path("moved/album/b/d.jpg"), "mine").unwrap();
    let refused = opened.relocate(&rig.path("moved"), &Progress::default());
    assert!(refused.unwrap_err().path().ends_with("moved/album/b/d.jpg"));
    assert_eq!(fs::read(rig.path("moved/album/b/d.jpg")).unwrap(), b"mine");
    opened.storage.finish().unwrap();
    rig.same("a.jpg");
    rig.same("b/d.jpg");
}

#[tokio::test]
async fn a_file_that_was_renamed_half_way_keeps_its_name_over_a_restart() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    fetch_all(&rig, &opened, [0, 1]).await;
    opened.rename(0, Path::new("album/best of/first.jpg")).unwrap();
    for wrong in ["../outside", "/etc/passwd", "album/b/c.jpg", ""] {
        let taken = opened.rename(0, Path::new(wrong));
        assert!(taken.is_err() || wrong == "album/b/c.jpg", "{wrong}");
    }
    opened
        .rename(0, Path::new("album/best of/first.jpg"))
        .unwrap_err();
    fetch_all(&rig, &opened, [2]).await;
    drop(opened);
    let again = rig.open("target", true);
    assert_eq!(again.have.count(), 3);
    fetch_all(&rig, &again, 3..6).await;
    again.storage.finish().unwrap();
    let [there, here] = ["source/album/a.jpg", "target/album/best of/first.jpg"].map(|path| rig.path(path));
    assert!(fs::read(there).unwrap() == fs::read(here).unwrap());
    assert!(!rig.path("target/album/a.jpg").exists());
}

#[tokio::test]
async fn a_full_check_hashes_all_a_quick_one_a_sample_of_each_file_a_lazy_one_nothing() {
    let rig = Rig::new(
        &[("a", 10 * PIECE as usize), ("b", 10 * PIECE as usize)],
        Format::V1,
    );
    fetch_all(&rig, &rig.open("target", true), 0..20).await;
    // One byte in the second piece of a, one in the middle of b; nothing tells of them but hashes.
    for (name, at) in [("a", PIECE as usize + 7), ("b", 5 * PIECE as usize)] {
        let file = rig.path("target/album").join(name);
        spoil(&file, at);
        touch(&file, Duration::ZERO);
    }
    let found = |check: Check| {
        let opening = Opening {
            check,
            ..rig.opening("target", true)
        };
        let opened = opening.look().settle();
        let missing = rig
            .info
            .geometry()
            .pieces()
            .filter(|piece| !opened.have.has(*piece));
        missing.map(PieceIndex::number).collect::<Vec<_>>()
    };
    assert_eq!(found(Check::Lazy), [] as [u32; 0]);
    assert_eq!(found(Check::Quick), [15]);
    assert_eq!(found(Check::Full), [1, 15]);
}

#[tokio::test]
async fn a_check_that_is_called_off_forgets_nothing_that_was_verified() {
    let rig = Rig::album();
    fetch_all(&rig, &rig.open("target", true), 0..4).await;
    let opening = Opening {
        check: Check::Full,
        ..rig.opening("target", true)
    };
    opening.stop.cancel();
    assert!(opening.look().settle().have.is_empty());
    assert_eq!(rig.open("target", true).have.count(), 4);
}

/// Bytes that a file takes on the disk.
fn room(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[tokio::test]
async fn files_get_their_room_at_once_or_as_bytes_come() {
    for (allocation, least, most) in [
        (Allocation::Full, 4_000_000, u64::MAX),
        (Allocation::Sparse, 0, 2_000_000),
    ] {
        let rig = Rig::new(&[("film", 4_000_000)], Format::V1);
        let opening = Opening {
            allocation,
            ..rig.opening("target", true)
        };
        let opened = opening.look().settle();
        fetch_all(&rig, &opened, [0]).await;
        let film = rig.path("target/album/film");
        let taken = room(&film);
        assert!((least..most).contains(&taken), "{allocation:?}: {taken}");
        // What has room and was not written does not look as if it were there.
        assert_eq!(fs::metadata(&film).unwrap().len(), u64::from(PIECE));
        drop(opened);
        assert_eq!(rig.open("target", true).have.count(), 1);
    }
}
