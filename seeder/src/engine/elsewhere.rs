//! Torrents whose files are moved, renamed, wanted later or deleted, through the engine as it runs.

use std::path::Path;

use super::tests::{PATIENCE, engine, finished, hear, seeder, torrent};
use super::*;
use crate::disk::tests::Rig;
use crate::torrent::{Priority, Wishes};
use shared::metainfo::write::Format;

/// A film whose download takes long enough to be met half-way.
async fn half_way(rig: &Rig, peers: &[SocketAddr]) -> (Engine, broadcast::Receiver<Event>, TorrentKey) {
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut events = getter.subscribe();
    let mut wanted = torrent(rig, "target", Mode::Get, peers);
    wanted.options.limits.download = Some(1_000_000);
    let key = getter.add(wanted).await.unwrap();
    hear(&mut events, |event| matches!(event, Event::PieceDone { .. })).await;
    (getter, events, key)
}

async fn hurry(getter: &Engine, key: TorrentKey) {
    let change = Change {
        limits: Some(TorrentLimits::default()),
        ..Change::default()
    };
    getter.change(key, change).await.unwrap();
}

#[track_caller]
fn same(rig: &Rig, there: &str, here: &str) {
    let [there, here] = [there, here].map(|path| std::fs::read(rig.path(path)).unwrap());
    assert!(there == here);
}

#[tokio::test]
async fn a_download_that_runs_is_moved_and_goes_on_at_its_new_place() {
    let rig = Rig::new(&[("film", 3_000_000), ("words", 50_000)], Format::V1);
    let seeder = seeder(&rig).await;
    let (getter, mut events, key) = half_way(&rig, seeder.listen_addresses()).await;
    getter.relocate(key, rig.path("moved")).await.unwrap();
    assert!(!rig.path("target/album/film").exists());
    let summary = getter.list().await.remove(0);
    assert_eq!(summary.root, rig.path("moved"));
    hurry(&getter, key).await;
    let heard = hear(&mut events, finished).await;
    let is_trouble = |event: &Event| matches!(event, Event::Lost { .. } | Event::DiskTrouble { .. });
    assert!(!heard.iter().any(is_trouble), "{heard:?}");
    same(&rig, "source/album/film", "moved/album/film");
    same(&rig, "source/album/words", "moved/album/words");
    // Nothing came twice for it.
    assert_eq!(getter.list().await.remove(0).downloaded, 3_050_000);
    getter.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn a_file_that_is_being_fetched_gets_another_name() {
    let rig = Rig::new(&[("film", 3_000_000)], Format::V1);
    let seeder = seeder(&rig).await;
    let (getter, mut events, key) = half_way(&rig, seeder.listen_addresses()).await;
    let to = PathBuf::from("cinema/2019/film.mkv");
    getter.rename(key, 0, to.clone()).await.unwrap();
    let missing = getter.rename(key, 7, "x".into()).await;
    assert!(matches!(missing, Err(ChangeError::NoSuchFile(7))));
    hurry(&getter, key).await;
    hear(&mut events, finished).await;
    assert!(!rig.path("target/album/film").exists());
    same(&rig, "source/album/film", "target/cinema/2019/film.mkv");
    getter.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn what_is_given_is_moved_under_its_takers_and_given_on() {
    let rig = Rig::album();
    let whole = seeder(&rig).await;
    let giver = engine(b'M', Some(rig.path("state"))).await;
    let mut events = giver.subscribe();
    let fetched = torrent(&rig, "target", Mode::Get, whole.listen_addresses());
    let key = giver.add(fetched).await.unwrap();
    hear(&mut events, finished).await;
    whole.stop().await;
    for (taker, place) in [(b'1', "first"), (b'2', "second")] {
        giver.relocate(key, rig.path(place)).await.unwrap();
        let taking = engine(taker, None).await;
        let mut events = taking.subscribe();
        let into = format!("into-{place}");
        let wanted = torrent(&rig, &into, Mode::Get, giver.listen_addresses());
        taking.add(wanted).await.unwrap();
        hear(&mut events, finished).await;
        same(&rig, "source/album/a.jpg", &format!("{into}/album/a.jpg"));
        taking.stop().await;
    }
    assert!(!rig.path("target/album").exists() && !rig.path("first/album").exists());
    // Somebody else's file in the way: nothing moves.
    std::fs::create_dir_all(rig.path("third/album")).unwrap();
    std::fs::write(rig.path("third/album/a.jpg"), "mine").unwrap();
    let refused = giver.relocate(key, rig.path("third")).await.unwrap_err();
    assert!(refused.to_string().contains("third/album/a.jpg"), "{refused}");
    same(&rig, "source/album/a.jpg", "second/album/a.jpg");
    giver.stop().await;
}

#[tokio::test]
async fn what_is_only_given_is_looked_for_elsewhere_and_never_moved() {
    let rig = Rig::album();
    let giver = seeder(&rig).await;
    let key = giver.list().await.remove(0).key;
    std::fs::rename(rig.path("source"), rig.path("attic")).unwrap();
    giver.relocate(key, rig.path("attic")).await.unwrap();
    let taking = engine(b'T', None).await;
    let mut events = taking.subscribe();
    let wanted = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    taking.add(wanted).await.unwrap();
    hear(&mut events, finished).await;
    same(&rig, "attic/album/a.jpg", "target/album/a.jpg");
    taking.stop().await;
    giver.stop().await;
}

#[tokio::test]
async fn a_file_that_nobody_wanted_comes_once_it_is_wanted() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut events = getter.subscribe();
    let mut wanted = torrent(&rig, "target", Mode::Get, seeder.listen_addresses());
    let files = [Priority::Normal, Priority::Normal, Priority::Skip].into();
    wanted.options.wishes = Wishes {
        files,
        sequential: false,
    };
    let key = getter.add(wanted).await.unwrap();
    // a.jpg and b/c.jpg: four pieces, the last of which b/d.jpg begins in.
    hear(&mut events, |event| matches!(event, Event::PieceDone { .. })).await;
    while getter.list().await.remove(0).stage != Stage::Seeding {
        tokio::task::yield_now().await;
    }
    rig.same("a.jpg");
    assert!(!rig.path("target/album/b/d.jpg").exists());
    let parts = rig.path("state").join("parts");
    assert_eq!(std::fs::read_dir(&parts).unwrap().count(), 1);
    let change = Change {
        wishes: Some(Wishes::default()),
        ..Change::default()
    };
    getter.change(key, change).await.unwrap();
    getter
        .add_peers(key, seeder.listen_addresses().to_vec())
        .await
        .unwrap();
    let details = async {
        while getter.details(key).await.unwrap().have_count < 6 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, details).await.unwrap();
    getter.stop().await;
    rig.same("b/d.jpg");
    assert_eq!(std::fs::read_dir(&parts).unwrap().count(), 0);
    seeder.stop().await;
}

#[tokio::test]
async fn what_lay_there_before_a_download_or_was_edited_since_outlives_its_removal() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let copy = |name: &str| {
        std::fs::create_dir_all(rig.path("target/album/b")).unwrap();
        let there = Path::new("source/album").join(name);
        let here = Path::new("target/album").join(name);
        std::fs::copy(
            rig.path(there.to_str().unwrap()),
            rig.path(here.to_str().unwrap()),
        )
        .unwrap();
    };
    copy("b/d.jpg");
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut events = getter.subscribe();
    let wanted = torrent(&rig, "target", Mode::Get, seeder.listen_addresses());
    let key = getter.add(wanted).await.unwrap();
    hear(&mut events, finished).await;
    // A second look, as after a restart, must know as much.
    getter.recheck(key, Check::Full).await.unwrap();
    hear(&mut events, |event| matches!(event, Event::Checked { .. })).await;
    std::fs::write(rig.path("target/album/a.jpg"), "edited").unwrap();
    let told = getter.remove(key, Content::Delete).await.unwrap_err();
    assert!(matches!(&told, ChangeError::Kept { more: 1, .. }), "{told:?}");
    let told = told.to_string();
    assert!(
        told.contains("target/album/a.jpg is kept with another file of it"),
        "{told}"
    );
    assert!(getter.list().await.is_empty());
    rig.same("b/d.jpg");
    assert!(rig.path("target/album/a.jpg").exists() && !rig.path("target/album/b/c.jpg").exists());
    getter.stop().await;
    seeder.stop().await;
}
