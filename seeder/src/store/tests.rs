//! What the store takes and gives back, over restarts.

use std::path::Path;

use super::keeper::{Change, Keeper};
use super::*;
use crate::engine::{Goals, Options};
use crate::torrent::{Priority, Wishes};

fn row(id: u64, source: Option<&[u8]>) -> TorrentRow {
    let options = Options {
        wishes: Wishes {
            files: [Priority::Skip, Priority::High].into(),
            sequential: true,
        },
        goals: Goals {
            ratio: Some(1.5),
            ..Goals::default()
        },
        ..Options::default()
    };
    TorrentRow {
        id,
        source: source.map(|source| (false, source.to_vec())),
        root: "/family/photos".into(),
        writes: true,
        added: 1_800_000_000,
        paused: false,
        reached: None,
        trackers: vec![vec!["http://t/announce".to_owned()]],
        options: (&options).into(),
        done: true,
        counters: CounterRow::default(),
    }
}

fn put(row: TorrentRow) -> Change {
    Change {
        torrent: Some(row),
        ..Change::default()
    }
}

fn counted(uploaded: u64) -> Change {
    let mut counters = CounterRow {
        uploaded,
        ..CounterRow::default()
    };
    counters.copies.saw([203, 0, 113, 5].into(), 1_800_000_000);
    Change {
        counters: Some(counters),
        ..Change::default()
    }
}

async fn load(path: &Path) -> Vec<TorrentRow> {
    let loaded = Store::open(path).await.unwrap().load().await.unwrap();
    loaded.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_torrent_comes_back_as_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seeder.sqlite");
    let keeper = Keeper::start(Store::open(&path).await.unwrap());
    keeper.note(7, put(row(7, Some(b"d4:infode"))));
    keeper.note(7, counted(5));
    keeper.safe().await.unwrap().unwrap();
    keeper.close().await;
    let back = load(&path).await;
    let mut expected = row(7, Some(b"d4:infode"));
    expected.counters = counted(5).counters.unwrap();
    assert_eq!(back, [expected]);
    let options = Options::from(back.into_iter().next().unwrap().options);
    assert_eq!(options.wishes.files[..], [Priority::Skip, Priority::High]);
    assert_eq!(
        (options.wishes.sequential, options.goals.ratio),
        (true, Some(1.5))
    );
}

#[tokio::test]
async fn what_was_said_later_counts_and_what_is_removed_is_gone_with_its_counters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seeder.sqlite");
    let keeper = Keeper::start(Store::open(&path).await.unwrap());
    for id in [1, 2] {
        keeper.note(id, put(row(id, Some(b"one"))));
        keeper.note(id, counted(5));
    }
    let moved = TorrentRow {
        root: "/elsewhere".into(),
        paused: true,
        ..row(1, None)
    };
    keeper.note(1, put(moved));
    keeper.note(
        2,
        Change {
            removed: true,
            ..Change::default()
        },
    );
    keeper.close().await;
    let back = load(&path).await;
    assert_eq!(back.len(), 1);
    assert_eq!(
        (back[0].root.as_path(), back[0].paused),
        (Path::new("/elsewhere"), true)
    );
    assert_eq!(back[0].source, Some((false, b"one".to_vec())));
    // Counters of a torrent that is not there make no row.
    let keeper = Keeper::start(Store::open(&path).await.unwrap());
    keeper.note(2, counted(9));
    keeper.close().await;
    assert_eq!(load(&path).await.len(), 1);
}

#[tokio::test]
async fn a_torrent_that_could_not_be_written_is_no_promise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seeder.sqlite");
    let mut store = Store::open(&path).await.unwrap();
    sqlx::query("DROP TABLE counters")
        .execute(&mut store.connection)
        .await
        .unwrap();
    sqlx::query("DROP TABLE torrents")
        .execute(&mut store.connection)
        .await
        .unwrap();
    let keeper = Keeper::start(store);
    keeper.note(1, put(row(1, Some(b"one"))));
    assert!(keeper.safe().await.unwrap().unwrap_err().contains("torrents"));
}
