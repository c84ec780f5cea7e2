//! Torrents that are listed, paused, removed, moved, changed and taken up again while the engine runs.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::tests::{PATIENCE, config, engine, finished, hear, seeder, torrent};
use super::*;
use crate::disk::tests::Rig;

/// An engine with a database in the rig's state folder.
pub(super) async fn keeping(rig: &Rig) -> Engine {
    let mut config = config(b'K', Some(rig.path("state")));
    std::fs::create_dir_all(rig.path("state")).unwrap();
    config.store = Some(rig.path("state").join("seeder.sqlite"));
    Engine::start(config).await.unwrap()
}

pub(super) async fn only(engine: &Engine) -> Summary {
    let list = engine.list().await;
    assert_eq!(list.len(), 1, "{list:#?}");
    list.into_iter().next().unwrap()
}

/// Asks again until it is so.
pub(super) async fn until(engine: &Engine, is_so: impl Fn(&Summary) -> bool) -> Summary {
    let ask = async {
        loop {
            let summary = only(engine).await;
            if is_so(&summary) {
                return summary;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ask).await.unwrap()
}

#[tokio::test]
async fn a_torrent_is_listed_and_found_by_name_and_by_the_beginning_of_its_hash() {
    let rig = Rig::album();
    let engine = seeder(&rig).await;
    let summary = until(&engine, |summary| summary.stage == Stage::Seeding).await;
    assert_eq!((summary.name.as_str(), summary.paused), ("album", false));
    assert_eq!(summary.have_bytes, summary.total_bytes);
    let hash = summary.info_hash_v1.clone().unwrap();
    for words in ["album", &hash, &hash[..6], &hash[..6].to_uppercase()] {
        assert_eq!(engine.find(words).await, [summary.key], "{words}");
    }
    for words in ["alb", &hash[..3], "ffff", ""] {
        assert_eq!(engine.find(words).await, [], "{words}");
    }
    let details = engine.details(summary.key).await.unwrap();
    let files: Vec<_> = details
        .files
        .iter()
        .map(|file| (file.length, file.have_bytes))
        .collect();
    assert_eq!(files, [(100_000, 100_000), (1, 1), (70_000, 70_000), (0, 0)]);
    assert_eq!((details.have_count, details.piece_count), (6, 6));
    assert_eq!(engine.facts().await.seeding, 1);
    engine.stop().await;
}

#[tokio::test]
async fn a_paused_download_has_no_peers_and_goes_on_where_it_stood() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut events = getter.subscribe();
    let mut wanted = torrent(&rig, "target", Mode::Get, &[]);
    wanted.options.paused = true;
    let key = getter.add(wanted).await.unwrap();
    let paused = until(&getter, |summary| summary.stage == Stage::Paused).await;
    assert_eq!(paused.why.as_deref(), Some("paused"));
    // Nobody is called while it rests.
    getter
        .add_peers(key, seeder.listen_addresses().to_vec())
        .await
        .unwrap();
    assert_eq!(only(&getter).await.peers, 0);
    getter.resume(key).await.unwrap();
    until(&getter, |summary| summary.stage == Stage::Downloading).await;
    getter
        .add_peers(key, seeder.listen_addresses().to_vec())
        .await
        .unwrap();
    hear(&mut events, finished).await;
    getter.pause(key).await.unwrap();
    until(&getter, |summary| {
        summary.stage == Stage::Paused && summary.peers == 0 && summary.have_bytes == summary.total_bytes
    })
    .await;
    getter.resume(key).await.unwrap();
    until(&getter, |summary| summary.stage == Stage::Seeding).await;
    getter.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn what_was_fetched_is_deleted_with_its_torrent_and_what_is_given_never() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut events = getter.subscribe();
    let wanted = torrent(&rig, "target", Mode::Get, seeder.listen_addresses());
    let key = getter.add(wanted).await.unwrap();
    hear(&mut events, finished).await;
    std::fs::write(rig.path("target/album/notes.txt"), "mine").unwrap();
    getter.remove(key, Content::Delete).await.unwrap();
    assert!(getter.list().await.is_empty());
    assert!(!rig.path("target/album/a.jpg").exists() && !rig.path("target/album/b").exists());
    assert!(rig.path("target/album/notes.txt").exists());
    assert!(matches!(getter.pause(key).await, Err(ChangeError::Unknown)));
    let given = only(&seeder).await.key;
    assert!(matches!(
        seeder.remove(given, Content::Delete).await,
        Err(ChangeError::OnlyGiven)
    ));
    seeder.remove(given, Content::Keep).await.unwrap();
    assert!(rig.path("source/album/a.jpg").exists());
    getter.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn orders_that_race_leave_the_torrent_as_the_last_one_wants_it() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut events = getter.subscribe();
    let wanted = || torrent(&rig, "target", Mode::Get, seeder.listen_addresses());
    let key = getter.add(wanted()).await.unwrap();
    for _ in 0..10 {
        let (paused, resumed, again) = tokio::join!(
            getter.pause(key),
            getter.resume(key),
            getter.recheck(key, Check::Full)
        );
        (paused.and(resumed).and(again)).unwrap();
    }
    let (removed, added) = tokio::join!(getter.remove(key, Content::Keep), getter.add(wanted()));
    removed.unwrap();
    let again = added.unwrap();
    assert_ne!(again, key);
    hear(&mut events, |event| finished(event) && event.key() == again).await;
    assert_eq!(only(&getter).await.key, again);
    getter.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn torrents_their_options_and_counters_outlive_the_engine() {
    let rig = Rig::album();
    let giver = seeder(&rig).await;
    let keeper = keeping(&rig).await;
    let mut events = keeper.subscribe();
    let wanted = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    let key = keeper.add(wanted).await.unwrap();
    hear(&mut events, finished).await;
    let change = Change {
        goals: Some(Goals {
            ratio: Some(3.0),
            ..Goals::default()
        }),
        trackers: Some(vec![vec!["http://127.0.0.1:9/announce".to_owned()]]),
        ..Change::default()
    };
    keeper.change(key, change).await.unwrap();
    keeper.pause(key).await.unwrap();
    let before = until(&keeper, |summary| summary.stage == Stage::Paused).await;
    assert_eq!(before.downloaded, 170_001);
    keeper.stop().await;

    let keeper = keeping(&rig).await;
    let after = until(&keeper, |summary| summary.stage == Stage::Paused).await;
    assert_eq!(
        (after.key, after.downloaded, after.added),
        (before.key, before.downloaded, before.added)
    );
    let details = keeper.details(after.key).await.unwrap();
    assert_eq!(details.options.ratio, Some(3.0));
    assert_eq!(details.trackers[0].url, "http://127.0.0.1:9/announce");
    keeper.resume(after.key).await.unwrap();
    let whole = until(&keeper, |summary| summary.stage == Stage::Seeding).await;
    assert_eq!(whole.have_bytes, whole.total_bytes);
    keeper.remove(after.key, Content::Keep).await.unwrap();
    keeper.stop().await;
    let keeper = keeping(&rig).await;
    assert!(keeper.list().await.is_empty());
    keeper.stop().await;
    giver.stop().await;
}

#[tokio::test]
async fn a_goal_that_is_reached_lets_the_torrent_rest_until_somebody_wants_more() {
    let rig = Rig::album();
    let giver = engine(b'S', None).await;
    let mut events = giver.subscribe();
    let mut album = torrent(&rig, "source", Mode::Seed, &[]);
    album.options.goals.ratio = Some(0.0);
    let key = giver.add(album).await.unwrap();
    hear(&mut events, |event| matches!(event, Event::GoalReached { .. })).await;
    let rests = until(&giver, |summary| summary.stage == Stage::Paused).await;
    assert!(rests.why.unwrap().starts_with("it has been given enough"));
    giver.resume(key).await.unwrap();
    until(&giver, |summary| summary.stage == Stage::Seeding).await;
    assert_eq!(giver.details(key).await.unwrap().options.ratio, None);
    giver.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_reason() {
    let rig = Rig::album();
    let engine = seeder(&rig).await;
    let key = only(&engine).await.key;
    let change = Change {
        trackers: Some(vec![vec!["nonsense".to_owned()]]),
        ..Change::default()
    };
    let refused = engine.change(key, change).await.unwrap_err();
    assert!(refused.to_string().starts_with("nonsense: "), "{refused}");
    let refused = engine.announce(key, true).await.unwrap_err();
    assert_eq!(refused.to_string(), "it has no trackers");
    let rates = Rates {
        schedule: vec!["mo-fr 25:00".to_owned()],
        ..Rates::default()
    };
    assert!(engine.set_rates(rates).await.is_err());
    let rates = Rates {
        upload: Some(1_000_000),
        schedule: vec!["mo-fr 08:00-22:00 up=2M".to_owned()],
        ..Rates::default()
    };
    engine.set_rates(rates.clone()).await.unwrap();
    assert_eq!(engine.rates().await, rates);
    engine.stop().await;
}

/// The bench has ten thousand; this many show whether something is done for each that should be done for all.
#[tokio::test]
async fn hundreds_of_torrents_begin_sleep_and_stop_in_time_with_a_dead_tracker() {
    const COUNT: usize = 300;
    let names: Vec<String> = (0..COUNT).map(|number| format!("{number}.jpg")).collect();
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/announce", dead.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut many = config(b'M', Some(folder.path().to_owned()));
    many.store = Some(folder.path().join("seeder.sqlite"));
    let engine = Engine::start(many).await.unwrap();
    for name in &names {
        let rig = Rig::new(&[(name, 10)], shared::metainfo::write::Format::V1);
        let mut given = torrent(&rig, "source", Mode::Seed, &[]);
        given.trackers = vec![vec![url.clone()]];
        engine.add(given).await.unwrap();
    }
    let all_seed = async {
        while engine.facts().await.seeding < COUNT as u64 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all_seed).await.unwrap();
    assert_eq!(engine.facts().await.awake, 0);
    assert_eq!(engine.list().await.len(), COUNT);
    timeout(Duration::from_secs(5), engine.stop()).await.unwrap();
}

#[tokio::test]
async fn a_torrent_that_was_added_is_there_after_a_kill() {
    let rig = Rig::album();
    let keeper = keeping(&rig).await;
    let key = keeper
        .add(torrent(&rig, "source", Mode::Seed, &[]))
        .await
        .unwrap();
    // Nobody says goodbye: what a second engine finds is what a killed one leaves.
    let other = rig.path("state").join("copy.sqlite");
    let connection = rig.path("state").join("seeder.sqlite");
    for suffix in ["", "-wal"] {
        let path = |base: &PathBuf| PathBuf::from(format!("{}{suffix}", base.display()));
        std::fs::copy(path(&connection), path(&other)).unwrap();
    }
    let mut config = config(b'2', None);
    config.store = Some(other);
    let second = Engine::start(config).await.unwrap();
    assert_eq!(only(&second).await.key, key);
    second.stop().await;
    keeper.stop().await;
}

/// From now on the database takes nothing.
async fn spoil_store(rig: &Rig) {
    use sqlx::{Connection as _, Executor as _};
    let path = rig.path("state").join("seeder.sqlite");
    let mut other = sqlx::SqliteConnection::connect(&path.display().to_string())
        .await
        .unwrap();
    other.execute("DROP TABLE counters").await.unwrap();
    other.execute("DROP TABLE torrents").await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn who_pauses_a_torrent_hears_that_it_cannot_be_written_down() {
    let rig = Rig::album();
    let keeper = keeping(&rig).await;
    let key = keeper
        .add(torrent(&rig, "source", Mode::Seed, &[]))
        .await
        .unwrap();
    spoil_store(&rig).await;
    let told = keeper.pause(key).await;
    assert!(matches!(told, Err(ChangeError::NotKept(_))), "{told:?}");
    assert!(only(&keeper).await.paused);
    keeper.stop().await;
}

#[tokio::test]
async fn files_are_not_deleted_before_it_is_written_down_that_nobody_wants_them() {
    let rig = Rig::album();
    let giver = seeder(&rig).await;
    let keeper = keeping(&rig).await;
    let mut events = keeper.subscribe();
    let wanted = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    let key = keeper.add(wanted).await.unwrap();
    hear(&mut events, finished).await;
    spoil_store(&rig).await;
    let told = keeper.remove(key, Content::Delete).await;
    assert!(matches!(told, Err(ChangeError::NotKept(_))), "{told:?}");
    rig.same("a.jpg");
    keeper.stop().await;
    giver.stop().await;
}

#[tokio::test]
async fn calls_that_wait_for_their_turn_take_no_place_from_visitors() {
    let rig = Rig::album();
    let mut few = config(b'G', None);
    few.limits.half_open = 1;
    let getter = Engine::start(few).await.unwrap();
    // They let us in and say nothing.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses: Vec<_> = silent.iter().map(|host| host.local_addr().unwrap()).collect();
    getter
        .add(torrent(&rig, "target", Mode::Get, &addresses))
        .await
        .unwrap();
    let called = async {
        while getter.facts().await.connections == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, called).await.unwrap();
    assert_eq!(getter.facts().await.connections, 1);
    getter.stop().await;
}

/// Memory for one download at a time.
fn cramped(name: u8) -> EngineConfig {
    let mut cramped = config(name, None);
    cramped.limits.disk_buffers = 2 << 20;
    cramped
}

#[tokio::test]
async fn a_link_without_metadata_takes_no_memory_from_downloads() {
    let rig = Rig::album();
    let giver = seeder(&rig).await;
    let getter = Engine::start(cramped(b'G')).await.unwrap();
    let mut events = getter.subscribe();
    let dead = format!("magnet:?xt=urn:btih:{}", "ab".repeat(20));
    let mut link = torrent(&rig, "target", Mode::Get, &[]);
    link.source = Source::Magnet(Box::new(dead.parse().unwrap()));
    getter.add(link).await.unwrap();
    let wanted = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    getter.add(wanted).await.unwrap();
    hear(&mut events, finished).await;
    getter.stop().await;
    giver.stop().await;
}

#[tokio::test]
async fn a_download_that_waits_for_memory_gives_what_it_has() {
    let rig = Rig::album();
    let other = Rig::new(&[("other", 100_000)], shared::metainfo::write::Format::V1);
    let waiting = Engine::start(cramped(b'W')).await.unwrap();
    let mut events = waiting.subscribe();
    waiting
        .add(torrent(&other, "target", Mode::Get, &[]))
        .await
        .unwrap();
    let lent = async {
        while waiting.facts().await.disk_buffers == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, lent).await.unwrap();
    std::fs::create_dir_all(rig.path("target/album")).unwrap();
    std::fs::copy(rig.path("source/album/a.jpg"), rig.path("target/album/a.jpg")).unwrap();
    let key = waiting
        .add(torrent(&rig, "target", Mode::Get, &[]))
        .await
        .unwrap();
    hear(
        &mut events,
        |event| matches!(event, Event::Checked { key: checked, have, .. } if *checked == key && *have > 0),
    )
    .await;
    let taker = engine(b'T', None).await;
    let mut events = taker.subscribe();
    let wanted = torrent(&rig, "copy", Mode::Get, waiting.listen_addresses());
    taker.add(wanted).await.unwrap();
    hear(&mut events, |event| matches!(event, Event::PieceDone { .. })).await;
    let why = |engine: Vec<Summary>| engine.into_iter().find(|summary| summary.key == key)?.why;
    let waits = async {
        while why(waiting.list().await).is_none_or(|why| !why.starts_with("other downloads hold")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waits).await.unwrap();
    waiting.stop().await;
    taker.stop().await;
}
