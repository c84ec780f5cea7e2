//! Others at our files: what they put there, changed or took away is theirs, and no byte of it is given as the torrent's.

use super::*;

#[tokio::test]
async fn only_what_was_made_here_and_left_alone_may_be_deleted() {
    let rig = Rig::album();
    // b/c.jpg lay there before, and happens to be right.
    fs::create_dir_all(rig.path("target/album/b")).unwrap();
    fs::copy(rig.path("source/album/b/c.jpg"), rig.path("target/album/b/c.jpg")).unwrap();
    let opened = rig.open("target", true);
    fetch_all(&rig, &opened, 0..6).await;
    opened.storage.finish().unwrap();
    opened.remember().unwrap();
    drop(opened);

    let names = |paths: Vec<PathBuf>| {
        let names = paths
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let again = rig.open("target", true);
    let left = again.leftovers();
    assert_eq!(names(left.ours), ["a.jpg", "d.jpg", "empty"]);
    assert_eq!(names(left.theirs), ["c.jpg"]);

    // A photograph is edited while the program looks on, and one while it does not.
    spoil(&rig.path("target/album/a.jpg"), 5);
    touch(&rig.path("target/album/a.jpg"), Duration::from_secs(9));
    assert_eq!(names(again.leftovers().theirs), ["a.jpg", "c.jpg"]);
    again.look();
    assert_eq!(names(again.leftovers().theirs), ["a.jpg", "c.jpg"]);
    again.remember().unwrap();
    drop(again);
    fs::remove_file(rig.path("target/album/b/d.jpg")).unwrap();
    fs::write(rig.path("target/album/b/d.jpg"), vec![1; 70_000]).unwrap();
    touch(&rig.path("target/album/b/d.jpg"), Duration::from_secs(9));
    let last = rig.open("target", true).leftovers();
    assert_eq!(names(last.ours), ["empty"]);
    assert_eq!(names(last.theirs), ["a.jpg", "c.jpg", "d.jpg"]);
}

#[tokio::test]
async fn what_a_killed_program_made_is_still_known_as_its_own() {
    let rig = Rig::album();
    // Nothing is written down at the end.
    fetch_all(&rig, &rig.open("target", true), [0, 1]).await;
    assert!(
        rig.open("target", true)
            .leftovers()
            .ours
            .contains(&rig.path("target/album/a.jpg"))
    );
}

/// Does something to a.jpg while the first three pieces of it are here, and expects these to be lost.
async fn meddle(what: impl Fn(&Path), lost: &[u32]) {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    fetch_all(&rig, &opened, 0..3).await;
    assert!(opened.look().is_empty());
    let file = rig.path("target/album/a.jpg");
    what(&file);
    let news = opened.look();
    let told: Vec<u32> = news
        .iter()
        .flat_map(|news| match news {
            DiskNews::Lost { pieces, path, .. } if *path == file => pieces.clone(),
            other => panic!("{other:?}"),
        })
        .map(PieceIndex::number)
        .collect();
    assert_eq!(told, lost);
    for number in 0..3 {
        assert_eq!(
            opened.storage.is_trusted(rig.piece(number)),
            !lost.contains(&number)
        );
    }
    // It is fetched again, and then all is well.
    fetch_all(&rig, &opened, told.into_iter().chain(3..6)).await;
    opened.storage.finish().unwrap();
    rig.same("a.jpg");
    opened.remember().unwrap();
    assert!(rig.open("target", true).have.is_complete());
}

#[tokio::test]
async fn a_file_that_somebody_writes_to_while_it_is_fetched_is_hashed_again() {
    let edit = |file: &Path| {
        spoil(file, 40_000);
        touch(file, Duration::from_secs(9));
    };
    meddle(edit, &[1]).await;
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_fetched_is_not_taken_for_ours() {
    let replace = |file: &Path| {
        let before = fs::metadata(file).unwrap();
        let other = file.with_extension("other");
        fs::write(&other, vec![7; usize::try_from(before.len()).unwrap()]).unwrap();
        stamp(&other, before.modified().unwrap());
        fs::rename(&other, file).unwrap();
    };
    meddle(replace, &[0, 1, 2]).await;
}

#[tokio::test]
async fn a_file_that_is_deleted_while_it_is_fetched_is_fetched_again() {
    meddle(|file| fs::remove_file(file).unwrap(), &[0, 1, 2]).await;
}

#[tokio::test]
async fn what_was_changed_between_two_writes_is_not_remembered_as_verified() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    fetch_all(&rig, &opened, 0..2).await;
    let file = rig.path("target/album/a.jpg");
    spoil(&file, 10);
    touch(&file, Duration::from_secs(9));
    // Our own write makes the file look new again.
    fetch_all(&rig, &opened, [2]).await;
    assert!(!opened.storage.is_trusted(rig.piece(0)));
    let mut bytes = [0; 10];
    assert!(opened.storage.read(0, &mut bytes).is_err());
    opened.remember().unwrap();
    let have = rig.open("target", true).have;
    assert_eq!(
        [0, 1, 2].map(|number| have.has(rig.piece(number))),
        [false, true, true]
    );
}

#[tokio::test]
async fn rights_that_change_cost_a_look_and_no_second_download() {
    let rig = Rig::album();
    let mut opened = rig.open("target", true);
    fetch_all(&rig, &opened, 0..6).await;
    opened.storage.finish().unwrap();
    opened.have = opened.storage.trusted();
    fs::set_permissions(rig.path("target/album/a.jpg"), fs::Permissions::from_mode(0o400)).unwrap();
    assert!(opened.look().is_empty());
    assert!(!opened.storage.is_trusted(rig.piece(0)));
    opened.remember().unwrap();
    assert!(rig.open("target", true).have.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_silent_once_somebody_has_waited_for_long() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    let waiting = opened.storage.waiting(rig.piece(5));
    assert_eq!(opened.storage.silent(), None);
    tokio::time::advance(SILENCE).await;
    assert_eq!(opened.storage.silent(), Some(rig.path("target/album/b/d.jpg")));
    drop(waiting);
    assert_eq!(opened.storage.silent(), None);
}

#[tokio::test]
async fn what_was_changed_behind_the_last_write_is_noticed_before_all_is_called_finished() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    fetch_all(&rig, &opened, 0..6).await;
    assert!(opened.settle().is_empty());
    let file = rig.path("target/album/a.jpg");
    spoil(&file, 10);
    touch(&file, Duration::from_secs(9));
    let news = opened.settle();
    let told = match &news[..] {
        [DiskNews::Lost { pieces, path, .. }] => (&pieces[..], path),
        _ => panic!("{news:?}"),
    };
    assert_eq!(told, (&[rig.piece(0)][..], &file));
}
