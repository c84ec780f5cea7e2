//! Flushes: what is written is what is read, once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Fixture, changes, gain, key, mark};
use crate::members::ids::{Date, MemberId, TorrentId};
use crate::members::ledger::{Changes, SessionKey};
use crate::members::rules::Mark;

#[tokio::test]
async fn a_new_store_knows_nothing() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    assert_eq!(store.generation().await.unwrap(), 0);
    assert_eq!(fixture.sessions(None).await, []);
    assert_eq!(store.totals_by_member().await.unwrap(), []);
    assert_eq!(
        store.sums_of_member(MemberId(1)).await.unwrap(),
        super::super::Sums::default()
    );
}

#[tokio::test]
async fn sessions_are_replaced_and_accounts_are_added_to() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.write(&changes(&[(1, 1, 100)], 10), 1).await.unwrap();
    store.write(&changes(&[(1, 1, 30)], 20), 2).await.unwrap();
    assert_eq!(fixture.sessions(None).await, [(key(1, 1, 1), mark(30))]);
    let account = store.accounts_of_member(MemberId(1), 9).await.unwrap()[0];
    assert_eq!(
        (account.uploaded, account.downloaded, account.seeded_secs),
        (130, 260, 120)
    );
    assert_eq!(
        (
            account.upload_credit,
            account.download_charge,
            account.completions
        ),
        (65, 32, 2)
    );
    assert_eq!(
        (account.first_seen, account.last_seen, account.left),
        (Date(10), Date(20), 20)
    );
    assert_eq!(account.client, *b"-TR4060-");
    // An older report, from a flush that was kept back, changes no last words.
    store.write(&changes(&[(1, 1, 1)], 5), 3).await.unwrap();
    let account = store.accounts_of_torrent(TorrentId(1), 9).await.unwrap()[0];
    assert_eq!(
        (account.first_seen, account.last_seen, account.left),
        (Date(5), Date(20), 20)
    );
}

#[tokio::test]
async fn sessions_are_known_by_the_flush_that_wrote_them_last() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store
        .write(&changes(&[(1, 1, 1), (2, 1, 1)], 1), 5)
        .await
        .unwrap();
    store
        .write(&changes(&[(2, 1, 2), (3, 1, 2)], 1), 6)
        .await
        .unwrap();
    assert_eq!(store.generation().await.unwrap(), 6);
    assert_eq!(fixture.sessions(None).await.len(), 3);
    assert_eq!(fixture.sessions(Some(4)).await.len(), 3);
    let newer = fixture.sessions(Some(5)).await;
    assert_eq!(newer, [(key(1, 2, 1), mark(2)), (key(1, 3, 1), mark(2))]);
    assert_eq!(fixture.sessions(Some(6)).await, []);
}

#[tokio::test]
async fn forgotten_sessions_go_and_those_that_came_back_stay() {
    let fixture = Fixture::new().await;
    let mut first = Changes::default();
    for member in 1..=200 {
        first.sessions.insert(key(1, member, 1), mark(1));
    }
    fixture.store.write(&first, 1).await.unwrap();
    let mut second = changes(&[(150, 1, 9)], 1);
    second.forgotten = (51..=200).map(|member| key(1, member, 1)).collect();
    fixture.store.write(&second, 2).await.unwrap();
    let left = fixture.sessions(None).await;
    assert_eq!(left.len(), 51);
    assert_eq!(left[50], (key(1, 150, 1), mark(9)));
}

#[tokio::test]
async fn counters_keep_all_64_bits_and_sums_stop_before_they_turn_over() {
    let fixture = Fixture::new().await;
    let huge = changes(&[(1, 1, u64::MAX), (1, 2, u64::MAX), (1, 3, u64::MAX)], 1);
    for generation in 1..4 {
        fixture.store.write(&huge, generation).await.unwrap();
    }
    assert_eq!(fixture.sessions(None).await[0].1.uploaded, u64::MAX);
    let most = (1 << 62) - 1;
    let account = fixture.store.accounts_of_member(MemberId(1), 1).await.unwrap()[0];
    assert_eq!((account.uploaded, account.downloaded), (most, most));
    assert_eq!(
        fixture.store.sums_of_member(MemberId(1)).await.unwrap().uploaded,
        3 * most
    );
}

#[tokio::test]
async fn a_write_that_is_given_up_half_way_leaves_nothing_and_the_next_one_works() {
    let fixture = Fixture::new().await;
    let mut many = Changes::default();
    for member in 1..=20_000 {
        many.sessions.insert(key(1, member, 1), mark(1));
    }
    // Given up after ever more steps: before BEGIN, in the middle, before COMMIT.
    for steps in 0..60 {
        let mut write = std::pin::pin!(fixture.store.write(&many, 9));
        for _ in 0..steps {
            let step = std::future::poll_fn(|context| {
                let done = write.as_mut().poll(context).is_ready();
                std::task::Poll::Ready(done)
            });
            assert!(!step.await);
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(fixture.store.generation().await.unwrap(), 0);
    assert_eq!(fixture.sessions(None).await, []);
    fixture.store.write(&many, 10).await.unwrap();
    assert_eq!(fixture.sessions(None).await.len(), 20_000);
}

#[tokio::test]
async fn many_rows_of_every_remainder_are_written_once() {
    let fixture = Fixture::new().await;
    let mut expected = 0;
    for (generation, rows) in [1, 15, 16, 17, 127, 128, 129, 300].into_iter().enumerate() {
        let gains: Vec<_> = (1..=rows).map(|member| (member, 1, 1)).collect();
        fixture
            .store
            .write(&changes(&gains, 1), generation as u64 + 1)
            .await
            .unwrap();
        expected += u64::from(rows);
        let sums = fixture.store.sums_of_torrent(TorrentId(1)).await.unwrap();
        assert_eq!(sums.uploaded, expected);
    }
    assert_eq!(fixture.sessions(None).await.len(), 300);
}

/// Some changes of few members in few torrents, so that they meet.
fn some_changes() -> impl Strategy<Value = Changes> {
    let session = (1..4u32, 1..4u32, 1..3u8, any::<u64>(), any::<bool>());
    let account = (1..4u32, 1..4u32, 0..1u64 << 40, 1..1000u32);
    let lists = (
        prop::collection::vec(session, 0..8),
        prop::collection::vec(account, 0..8),
        prop::collection::vec((1..4u32, 1..4u32, 1..3u8), 0..4),
    );
    lists.prop_map(|(sessions, accounts, forgotten)| Changes {
        sessions: sessions
            .into_iter()
            .map(|(torrent, member, peer, uploaded, ended)| {
                let mark = Mark {
                    ended,
                    ..mark(uploaded)
                };
                (key(torrent, member, peer), mark)
            })
            .collect(),
        forgotten: forgotten
            .into_iter()
            .map(|(torrent, member, peer)| key(torrent, member, peer))
            .collect(),
        accounts: accounts
            .into_iter()
            .map(|(member, torrent, bytes, date)| ((MemberId(member), TorrentId(torrent)), gain(bytes, date)))
            .collect(),
    })
}

/// The store, thought.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<SessionKey, Mark>,
    uploaded: BTreeMap<MemberId, u64>,
}

impl Model {
    fn write(&mut self, changes: &Changes) {
        for key in &changes.forgotten {
            self.sessions.remove(key);
        }
        self.sessions.extend(changes.sessions.clone());
        for ((member, _), delta) in &changes.accounts {
            *self.uploaded.entry(*member).or_default() += delta.uploaded;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_flushes_add_up_also_over_restarts(flushes in prop::collection::vec((some_changes(), any::<bool>()), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut fixture = Fixture::new().await;
            let mut model = Model::default();
            for (generation, (changes, reopen)) in flushes.iter().enumerate() {
                fixture.store.write(changes, generation as u64 + 1).await.unwrap();
                model.write(changes);
                if *reopen {
                    fixture = fixture.reopened().await;
                }
            }
            let sums = fixture.store.totals_by_member().await.unwrap();
            let uploaded: BTreeMap<_, _> = sums.into_iter().map(|(member, sums)| (member, sums.uploaded)).collect();
            assert_eq!(uploaded, model.uploaded);
            assert_eq!(fixture.sessions(None).await, model.sessions.into_iter().collect::<Vec<_>>());
            assert_eq!(fixture.store.generation().await.unwrap(), flushes.len() as u64);
        });
    }
}
