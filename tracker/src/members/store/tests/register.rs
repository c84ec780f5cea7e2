//! Torrents and tariffs.

use shared::id::{InfoHash, InfoHashV2};

use super::super::{NOTHING, NewTorrent, PlainTorrent, StoreError, Taken};
use super::{Fixture, changes, hashed};
use crate::members::ids::{Date, TorrentId};
use crate::members::rules::Tariff;

const FREE: Tariff = Tariff {
    upload_percent: 100,
    download_percent: 0,
};

#[tokio::test]
async fn a_torrent_is_found_again_as_it_was_written() {
    let fixture = Fixture::new().await;
    let new = NewTorrent {
        info_hash_v2: Some(InfoHashV2([9; 32])),
        private: true,
        source: Some("family".to_owned()),
        tariff: Some((FREE, Some(Date(99)))),
        ..hashed(1)
    };
    let mut row = fixture.store.insert_torrent(&new).await.unwrap();
    assert_eq!(
        (row.id, row.info_hash_v2, row.tariff),
        (TorrentId(1), new.info_hash_v2, new.tariff)
    );
    assert_eq!(
        fixture.store.torrent_file(row.id).await.unwrap(),
        Some(vec![1; 100])
    );
    row.removed = Some((Date(7), "grandmother asked".to_owned()));
    row.tariff = None;
    row.source = None;
    assert!(fixture.store.update_torrent(&row).await.unwrap());
    fixture.store.set_torrent_file(row.id, b"new").await.unwrap();
    let fixture = fixture.reopened().await;
    assert_eq!(fixture.store.torrent(row.id).await.unwrap(), Some(row.clone()));
    assert_eq!(
        fixture.store.torrent_file(row.id).await.unwrap(),
        Some(b"new".to_vec())
    );
    assert_eq!(fixture.store.torrent_file(TorrentId(2)).await.unwrap(), None);
    row.id = TorrentId(2);
    assert!(!fixture.store.update_torrent(&row).await.unwrap());
    let no_torrent = fixture.store.set_torrent_file(row.id, b"new").await;
    assert!(matches!(no_torrent, Err(StoreError::Gone)), "{no_torrent:?}");
}

#[tokio::test]
async fn a_start_reads_every_torrent_once() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let hybrid = NewTorrent {
        info_hash_v2: Some(InfoHashV2([9; 32])),
        ..hashed(1)
    };
    let plain = store.insert_torrent(&hybrid).await.unwrap();
    let free = NewTorrent {
        tariff: Some((FREE, None)),
        ..hashed(2)
    };
    let free = store.insert_torrent(&free).await.unwrap();
    let mut removed = store.insert_torrent(&hashed(3)).await.unwrap();
    removed.removed = Some((Date(7), "grandmother asked".to_owned()));
    assert!(store.update_torrent(&removed).await.unwrap());
    let expected = PlainTorrent {
        id: plain.id,
        info_hash_v1: plain.info_hash_v1,
        info_hash_v2: plain.info_hash_v2,
    };
    assert_eq!(store.plain_torrents().await.unwrap(), [expected]);
    assert_eq!(store.peculiar_torrents().await.unwrap(), [free, removed]);
}

#[tokio::test]
async fn each_hash_is_registered_once() {
    let fixture = Fixture::new().await;
    let hybrid = NewTorrent {
        info_hash_v2: Some(InfoHashV2([9; 32])),
        ..hashed(1)
    };
    fixture.store.insert_torrent(&hybrid).await.unwrap();
    let half = NewTorrent {
        info_hash_v1: Some(InfoHash([3; 20])),
        ..hybrid.clone()
    };
    for again in [hashed(1), half, hybrid] {
        let refused = fixture.store.insert_torrent(&again).await;
        assert!(
            matches!(refused, Err(StoreError::Exists { what: Taken::Torrent })),
            "{refused:?}"
        );
    }
    // Of those that were refused no file stays.
    fixture
        .store
        .insert_torrent(&NewTorrent {
            file: Vec::new(),
            ..hashed(2)
        })
        .await
        .unwrap();
    assert_eq!(fixture.store.torrent_file(TorrentId(2)).await.unwrap(), None);
}

#[tokio::test]
async fn a_deleted_torrent_leaves_the_sums_of_its_members() {
    let fixture = Fixture::new().await;
    let (anna, bert) = (fixture.member("Anna").await, fixture.member("Bert").await);
    let (first, second) = (fixture.torrent(1).await, fixture.torrent(2).await);
    let store = &fixture.store;
    store
        .write(&changes(&[(1, 1, 100), (2, 1, 50), (1, 2, 3)], 10), 1)
        .await
        .unwrap();
    assert!(store.delete_torrent(first).await.unwrap());
    assert!(!store.delete_torrent(first).await.unwrap());
    store.write(&changes(&[(1, 1, 1)], 11), 2).await.unwrap();
    assert_eq!(store.sums_of_member(anna).await.unwrap().uploaded, 104);
    assert_eq!(store.sums_of_member(bert).await.unwrap().uploaded, 50);
    assert!(store.delete_torrent(second).await.unwrap());
    assert_eq!(store.sums_of_torrent(NOTHING).await.unwrap().uploaded, 154);
    assert_eq!(fixture.sessions(None).await, []);
    assert_eq!(store.torrent_file(first).await.unwrap(), None);
    assert!(fixture.torrent(1).await > second);
}

#[tokio::test]
async fn the_tariff_of_everything_is_set_and_taken_back() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.store.tariff().await.unwrap(), None);
    for tariff in [Some((FREE, None)), Some((FREE, Some(Date(5)))), None] {
        fixture.store.set_tariff(tariff).await.unwrap();
        assert_eq!(fixture.store.tariff().await.unwrap(), tariff);
    }
}
