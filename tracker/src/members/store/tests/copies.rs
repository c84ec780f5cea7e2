//! Backups and what is restored of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::pin::Pin;

use super::super::{BackupError, Store};
use super::{Fixture, changes};
use crate::members::ids::MemberId;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    let fixture = Fixture::new().await;
    fixture.member("Anna").await;
    for file in fs::read_dir(fixture.folder.path()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_backup_is_one_file_with_everything_and_the_secret() {
    let fixture = Fixture::new().await;
    let anna = fixture.member("Anna").await;
    fixture
        .store
        .write(&changes(&[(1, 1, 100)], 10), 3)
        .await
        .unwrap();
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("it's a copy.sqlite");
    fixture.store.backup(&to, &[7; 32]).await.unwrap();
    assert_eq!(fs::read_dir(copies.path()).unwrap().count(), 1);
    assert_eq!(mode(&to), 0o600);
    // The tracker's own database holds no secret.
    assert_eq!(fixture.store.restored_secret().await.unwrap(), None);

    let restored = Store::open(&to).await.unwrap();
    assert_eq!(restored.restored_secret().await.unwrap(), Some([7; 32]));
    assert_eq!(restored.members().await.unwrap()[0].id, anna);
    assert_eq!(restored.generation().await.unwrap(), 3);
    restored.drop_secret().await.unwrap();
    assert_eq!(restored.restored_secret().await.unwrap(), None);
    restored.close().await;
    let bytes = fs::read(&to).unwrap();
    assert!(!bytes.windows(32).any(|window| window == [7; 32]));
}

#[tokio::test]
async fn a_backup_overwrites_nothing() {
    let fixture = Fixture::new().await;
    let to = fixture.folder.path().join("copy");
    fs::write(&to, "precious").unwrap();
    let refused = fixture.store.backup(&to, &[7; 32]).await;
    assert!(
        matches!(&refused, Err(BackupError::Exists { path }) if *path == to),
        "{refused:?}"
    );
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    let nowhere = fixture.folder.path().join("missing/copy");
    let refused = fixture.store.backup(&nowhere, &[7; 32]).await;
    assert!(matches!(refused, Err(BackupError::File { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_backup_that_is_given_up_leaves_no_file() {
    let fixture = Fixture::new().await;
    let copies = tempfile::tempdir().unwrap();
    let names = || fs::read_dir(copies.path()).unwrap().count();
    for polls in 1..6 {
        let to = copies.path().join(format!("copy {polls}"));
        let secret = [7; 32];
        let mut backup = Box::pin(fixture.store.backup(&to, &secret));
        let mut done = false;
        for _ in 0..polls {
            done = done || is_done(&mut backup).await;
        }
        drop(backup);
        if done {
            fs::remove_file(&to).unwrap();
        }
        // The database lets go of the file in its own time.
        let gone = async {
            while names() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let gone = tokio::time::timeout(std::time::Duration::from_secs(30), gone).await;
        assert!(gone.is_ok(), "{polls}");
    }
}

/// Looks once whether something is done.
async fn is_done(work: &mut (impl Future + Unpin)) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(Pin::new(&mut *work).poll(context).is_ready()))
        .await
}

#[tokio::test]
async fn a_backup_of_a_busy_tracker_is_one_moment_of_it() {
    let fixture = Fixture::new().await;
    let flushing = {
        let store = fixture.store.clone();
        tokio::spawn(async move {
            for generation in 1..=200 {
                let gains: Vec<_> = (1..=40).map(|member| (member, 1, 1)).collect();
                store.write(&changes(&gains, 1), generation).await.unwrap();
            }
        })
    };
    let mut seen = 0;
    for number in 0..5 {
        let to = fixture.folder.path().join(format!("copy {number}"));
        fixture.store.backup(&to, &[7; 32]).await.unwrap();
        let copy = Store::open(&to).await.unwrap();
        let generation = copy.generation().await.unwrap();
        assert!(generation >= seen);
        seen = generation;
        let sums = copy.totals_by_member().await.unwrap();
        assert!(sums.iter().all(|(_, sums)| sums.uploaded == generation));
        copy.close().await;
    }
    flushing.await.unwrap();
}

#[tokio::test]
async fn a_backup_in_the_place_of_a_database_that_crashed_is_not_mixed_with_its_log() {
    let fixture = Fixture::new().await;
    fixture.member("Anna").await;
    let copy = fixture.folder.path().join("copy");
    fixture.store.backup(&copy, &[7; 32]).await.unwrap();
    fixture.member("Bert").await;
    // A tracker that was killed leaves its log; somebody copies only the database back.
    let crashed = tempfile::tempdir().unwrap();
    let database = crashed.path().join("tracker.sqlite");
    fs::copy(&copy, &database).unwrap();
    let log = fixture.folder.path().join("tracker.sqlite-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    fs::copy(&log, crashed.path().join("tracker.sqlite-wal")).unwrap();
    let restored = Store::open(&database).await.unwrap();
    let members = restored.members().await.unwrap();
    assert_eq!(
        members.iter().map(|row| row.id).collect::<Vec<_>>(),
        [MemberId(1)]
    );
    assert_eq!(restored.restored_secret().await.unwrap(), Some([7; 32]));
}
