//! Locked, full, damaged, forbidden and too new databases: each is told by name, and none hangs.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use super::super::{Store, StoreError};
use super::{Fixture, changes, named};
use crate::members::ids::MemberId;

/// Another program that has the database open.
async fn another(fixture: &Fixture, statements: &[&'static str]) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(fixture.database());
    let mut connection = options.connect().await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&mut connection).await.unwrap();
    }
    connection
}

#[tokio::test]
async fn while_another_program_writes_ours_is_busy_and_works_again_afterwards() {
    let fixture = Fixture::new().await;
    fixture.member("Anna").await;
    let mut other = another(&fixture, &["BEGIN EXCLUSIVE"]).await;
    let refused = fixture.store.write(&changes(&[(1, 1, 1)], 1), 1).await;
    assert!(
        matches!(&refused, Err(StoreError::Busy { path }) if *path == fixture.database()),
        "{refused:?}"
    );
    // Questions are answered all the while.
    assert_eq!(fixture.store.members().await.unwrap().len(), 1);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    fixture.store.write(&changes(&[(1, 1, 1)], 1), 1).await.unwrap();
    assert_eq!(fixture.store.generation().await.unwrap(), 1);
}

#[tokio::test]
async fn every_failure_of_the_database_is_counted_and_what_it_refuses_by_its_rules_is_none() {
    let fixture = Fixture::new().await;
    fixture.member("Anna").await;
    let taken = fixture.store.insert_member(&named("Anna")).await;
    assert!(matches!(taken, Err(StoreError::Exists { .. })));
    assert_eq!(fixture.store.failures(), 0);
    let mut other = another(&fixture, &["BEGIN EXCLUSIVE"]).await;
    assert!(fixture.store.insert_member(&named("Bert")).await.is_err());
    assert_eq!(fixture.store.failures(), 1);
    sqlx::query("DROP TABLE audit").execute(&mut other).await.unwrap();
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    assert!(fixture.store.audit(1).await.is_err());
    assert_eq!(fixture.store.failures(), 2);
}

#[tokio::test]
async fn a_write_waits_for_a_short_one_of_another_program() {
    let fixture = Fixture::new().await;
    let mut other = another(&fixture, &["BEGIN EXCLUSIVE"]).await;
    let (written, ()) = tokio::join!(fixture.member("Anna"), async {
        tokio::task::yield_now().await;
        sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    });
    assert_eq!(written, MemberId(1));
}

/// Lets the database grow by no more than a page from now on. The limit belongs to a connection, so the writer's is set.
async fn fill(fixture: &Fixture) {
    let mut writing = fixture.store.begin().await.unwrap();
    let limit = sqlx::query(AssertSqlSafe("PRAGMA max_page_count = 1".to_owned()));
    writing.run(limit).await.unwrap();
    writing.commit().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_of_the_flush_stays() {
    let fixture = Fixture::new().await;
    fill(&fixture).await;
    let gains: Vec<_> = (1..=5_000).map(|member| (member, 1, 1)).collect();
    let refused = fixture.store.write(&changes(&gains, 1), 1).await;
    assert!(
        matches!(&refused, Err(StoreError::Full { path }) if *path == fixture.database()),
        "{refused:?}"
    );
    assert_eq!(fixture.store.generation().await.unwrap(), 0);
    assert_eq!(fixture.sessions(None).await, []);
    // The connection that failed is gone, and with it the limit.
    fixture.store.write(&changes(&gains, 1), 1).await.unwrap();
    assert_eq!(fixture.store.totals_by_member().await.unwrap().len(), 5_000);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracker.sqlite");
    fs::write(&path, [b'x'; 9_000]).unwrap();
    let refused = Store::open(&path).await;
    assert!(
        matches!(&refused, Err(StoreError::Damaged { path: named, .. }) if *named == path),
        "{refused:?}"
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("tracker.sqlite is damaged")
    );
}

#[tokio::test]
async fn overwritten_pages_are_damage_when_they_are_read() {
    let fixture = Fixture::new().await;
    let gains: Vec<_> = (1..=5_000).map(|member| (member, 1, 1)).collect();
    fixture.store.write(&changes(&gains, 1), 1).await.unwrap();
    fixture.store.close().await;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(fixture.database())
        .unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(40 * 4096)).unwrap();
    file.write_all(&vec![0x5a; usize::try_from(length).unwrap() - 40 * 4096])
        .unwrap();
    let store = Store::open(&fixture.database()).await.unwrap();
    let sums = store.totals_by_member().await.map(|sums| sums.len());
    let sessions = store.sessions_newer(None, |_, _| {}).await;
    let damaged = [sums.map(|_| ()), sessions.map(|_| ())]
        .into_iter()
        .find_map(Result::err);
    assert!(
        matches!(&damaged, Some(StoreError::Damaged { path, .. }) if *path == fixture.database()),
        "{damaged:?}"
    );
}

#[tokio::test]
async fn a_value_that_cannot_be_is_damage_and_no_other_value() {
    let fixture = Fixture::new().await;
    fixture.member("Anna").await;
    another(&fixture, &["UPDATE members SET role = 'king'"]).await;
    let refused = fixture.store.members().await;
    assert!(
        matches!(&refused, Err(StoreError::Damaged { what, .. }) if what.contains("king")),
        "{refused:?}"
    );
    another(&fixture, &["UPDATE members SET role = 'owner', id = 5000000000"]).await;
    let refused = fixture.store.members().await;
    assert!(
        matches!(&refused, Err(StoreError::Damaged { what, .. }) if what.contains("5000000000")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_tracker_is_refused_by_its_version() {
    let fixture = Fixture::new().await;
    let add = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)";
    another(&fixture, &[add]).await;
    fixture.store.close().await;
    let refused = Store::open(&fixture.database()).await;
    assert!(
        matches!(refused, Err(StoreError::Newer { version: 9999, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_folder_that_is_missing_is_told_by_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Store::open(&folder.path().join("missing/tracker.sqlite")).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("missing/tracker.sqlite")
    );
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_is_told() {
    if rustix::process::geteuid().is_root() {
        return; // Nothing is forbidden to root.
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let refused = Store::open(&folder.path().join("tracker.sqlite")).await;
    assert!(matches!(refused, Err(StoreError::File { .. })), "{refused:?}");
}

#[tokio::test]
async fn readers_and_writers_go_on_side_by_side() {
    let fixture = Fixture::new().await;
    let write = async {
        for generation in 1..=50 {
            fixture
                .store
                .write(&changes(&[(1, 1, 1)], 1), generation)
                .await
                .unwrap();
        }
    };
    let read = async {
        for _ in 0..50 {
            let generation = fixture.store.generation().await.unwrap();
            let sums = fixture.store.sums_of_member(MemberId(1)).await.unwrap();
            assert!(sums.uploaded >= generation);
        }
    };
    tokio::join!(write, read);
}
