//! What becomes of torrents of which not all is wanted, whose files others change, or that claim each other's files.

use std::net::SocketAddr;

use shared::announce;
use shared::magnet::Magnet;
use shared::metainfo::write::Format;

use super::operations::{keeping, only, until};
use super::tests::{PATIENCE, config, engine, finished, hear, seeder, torrent};
use super::*;
use crate::discovery::trackers::fake::Counting;
use crate::disk::tests::{Rig, spoil};
use crate::torrent::{Priority, Wishes};

fn wishes(files: &[Priority]) -> Wishes {
    Wishes {
        files: files.into(),
        sequential: false,
    }
}

fn wish(files: &[Priority]) -> Change {
    Change {
        wishes: Some(wishes(files)),
        ..Change::default()
    }
}

const LAST_ONLY: [Priority; 4] = [Priority::Skip, Priority::Skip, Priority::Normal, Priority::Skip];

#[tokio::test]
async fn who_wants_a_part_completes_nothing_and_who_wants_the_rest_later_completes_it() {
    let rig = Rig::album();
    let giver = seeder(&rig).await;
    let tracker = Counting::start().await;
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut events = getter.subscribe();
    let mut part = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    part.trackers = vec![vec![tracker.url.clone()]];
    part.options.wishes = wishes(&LAST_ONLY);
    let key = getter.add(part).await.unwrap();
    hear(&mut events, finished).await;
    let here = until(&getter, |summary| summary.partial).await;
    assert_eq!(here.stage, Stage::Seeding);
    assert!(here.have_bytes >= 70_000 && here.have_bytes < here.total_bytes);
    let why = here.why.unwrap_or_default();
    assert!(why.starts_with("all that is wanted is there"), "{why}");
    assert!(!rig.path("target/album/a.jpg").exists());
    getter.announce(key, true).await.unwrap();
    tracker
        .until(|told| told.iter().any(|told| told.event == announce::Event::Paused))
        .await;
    assert_eq!(tracker.count(announce::Event::Completed), 0);

    getter.change(key, wish(&[Priority::Normal; 4])).await.unwrap();
    hear(&mut events, finished).await;
    let whole = until(&getter, |summary| summary.have_bytes == summary.total_bytes).await;
    assert!(!whole.partial);
    for name in ["a.jpg", "b/c.jpg", "b/d.jpg"] {
        rig.same(name);
    }
    tracker
        .until(|told| told.iter().any(|told| told.event == announce::Event::Completed))
        .await;
    let told = tracker.told();
    let completed: Vec<u64> = told
        .iter()
        .filter(|told| told.event == announce::Event::Completed)
        .map(|told| told.left)
        .collect();
    assert_eq!(completed, [0]);
    getter.stop().await;
    giver.stop().await;
}

#[tokio::test]
async fn a_part_that_is_there_from_the_start_is_finished_once_and_completes_nothing() {
    let rig = Rig::album();
    let giver = seeder(&rig).await;
    let tracker = Counting::start().await;
    for _ in 0..2 {
        let getter = engine(b'G', Some(rig.path("state"))).await;
        let mut events = getter.subscribe();
        let mut part = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
        part.trackers = vec![vec![tracker.url.clone()]];
        part.options.wishes = wishes(&LAST_ONLY);
        getter.add(part).await.unwrap();
        let before = tracker.told().len();
        hear(&mut events, finished).await;
        tracker.until(|told| told.len() > before).await;
        assert!(until(&getter, |summary| summary.partial).await.partial);
        getter.stop().await;
        assert!(std::iter::from_fn(|| events.try_recv().ok()).all(|event| !finished(&event)));
    }
    assert_eq!(tracker.count(announce::Event::Completed), 0);
    giver.stop().await;
}

#[tokio::test]
async fn what_others_changed_in_a_finished_download_stays_theirs_until_it_is_checked() {
    let rig = Rig::album();
    let giver = seeder(&rig).await;
    let keeper = keeping(&rig).await;
    let mut events = keeper.subscribe();
    let wanted = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    let key = keeper.add(wanted).await.unwrap();
    hear(&mut events, finished).await;
    keeper.stop().await;

    let edited = rig.path("target/album/b/d.jpg");
    spoil(&edited, 10);
    std::fs::remove_file(rig.path("target/album/a.jpg")).unwrap();
    let keeper = keeping(&rig).await;
    let mut events = keeper.subscribe();
    let here = until(&keeper, |summary| summary.stage == Stage::Seeding).await;
    let why = here.why.unwrap_or_default();
    assert!(
        why.starts_with("others changed it after it was finished"),
        "{why}"
    );
    let givers = giver.listen_addresses().to_vec();
    keeper.add_peers(key, givers.clone()).await.unwrap();
    // A pause and its end look at the files again, and write nothing either.
    keeper.pause(key).await.unwrap();
    keeper.resume(key).await.unwrap();
    until(&keeper, |summary| summary.stage == Stage::Seeding).await;
    assert!(!rig.path("target/album/a.jpg").exists());
    assert!(std::fs::read(&edited).unwrap() != std::fs::read(rig.path("source/album/b/d.jpg")).unwrap());

    keeper.recheck(key, Check::Full).await.unwrap();
    until(&keeper, |summary| summary.stage == Stage::Downloading).await;
    keeper.add_peers(key, givers).await.unwrap();
    hear(&mut events, finished).await;
    rig.same("a.jpg");
    rig.same("b/d.jpg");
    keeper.stop().await;
    giver.stop().await;
}

#[tokio::test]
async fn two_torrents_never_write_the_same_file_nor_one_what_another_gives() {
    let ours = Rig::album();
    let theirs = Rig::new(&[("a.jpg", 5), ("other.jpg", 7)], Format::V1);
    let apart = Rig::new(&[("z.jpg", 5)], Format::V1);
    let getter = engine(b'G', Some(ours.path("state"))).await;
    let at = |rig: &Rig, root: &str, mode| AddTorrent {
        root: ours.path(root),
        ..torrent(rig, root, mode, &[])
    };
    getter.add(at(&ours, "target", Mode::Get)).await.unwrap();
    let refused = getter.add(at(&theirs, "target", Mode::Get)).await.unwrap_err();
    let Some(Clash { path, name }) = clash(refused) else {
        panic!("not for that")
    };
    assert_eq!((path, name.as_str()), (ours.path("target/album/a.jpg"), "album"));
    // Another folder, or other files in the same, are free.
    getter.add(at(&apart, "target", Mode::Get)).await.unwrap();
    let elsewhere = getter.add(at(&theirs, "elsewhere", Mode::Get)).await.unwrap();
    // Nor does one get there by a move, though there is no file of either yet.
    let refused = getter.relocate(elsewhere, ours.path("target")).await.unwrap_err();
    let words = "target/album/a.jpg belongs to the torrent \"album\"";
    assert!(refused.to_string().contains(words), "{refused}");
    getter.stop().await;

    // What is given is never written to; to give what another fetches does no harm.
    let engine = engine(b'S', None).await;
    engine.add(at(&ours, "source", Mode::Seed)).await.unwrap();
    let refused = engine.add(at(&theirs, "source", Mode::Get)).await.unwrap_err();
    assert!(clash(refused).is_some());
    engine.add(at(&theirs, "source", Mode::Seed)).await.unwrap();
    engine.stop().await;
}

fn clash(error: AddError) -> Option<Clash> {
    match error {
        AddError::Clash(clash) => Some(clash),
        _ => None,
    }
}

/// A link to the rig's torrent, by its v1 hash.
fn link(rig: &Rig) -> Source {
    let magnet: Magnet = format!("magnet:?xt=urn:btih:{}", rig.info.info_hash_v1().unwrap())
        .parse()
        .unwrap();
    Source::Magnet(Box::new(magnet))
}

#[tokio::test]
async fn a_link_to_files_of_another_torrent_ends_with_the_reason() {
    let rig = Rig::album();
    let theirs = Rig::new(&[("a.jpg", 5)], Format::V1);
    let giver = seeder(&rig).await;
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut first = torrent(&theirs, "target", Mode::Get, &[]);
    first.root = rig.path("target");
    getter.add(first).await.unwrap();
    let mut second = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    second.source = link(&rig);
    let mut events = getter.subscribe();
    let key = getter.add(second).await.unwrap();
    let heard = hear(&mut events, |event| matches!(event, Event::Refused { .. })).await;
    let Some(Event::Refused { reason, .. }) = heard.last() else {
        panic!("{heard:?}")
    };
    assert!(
        reason.contains("a.jpg belongs to the torrent \"album\""),
        "{reason}"
    );
    let of_link = async {
        loop {
            let list = getter.list().await;
            let row = list.into_iter().find(|row| row.key == key).unwrap();
            if row.stage == Stage::Error {
                return row;
            }
            tokio::task::yield_now().await;
        }
    };
    let row = tokio::time::timeout(PATIENCE, of_link).await.unwrap();
    assert_eq!(row.why.as_ref(), Some(reason));
    getter.stop().await;
    giver.stop().await;
}

#[tokio::test]
async fn a_link_that_leads_to_a_hybrid_is_known_by_both_its_hashes_from_then_on() {
    let rig = Rig::new(&[("a", 70_000), ("b", 10)], Format::Hybrid);
    let giver = seeder(&rig).await;
    let tracker = Counting::start().await;
    let getter = engine(b'G', None).await;
    let mut events = getter.subscribe();
    let mut wanted = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    wanted.source = link(&rig);
    wanted.trackers = vec![vec![tracker.url.clone()]];
    getter.add(wanted).await.unwrap();
    hear(&mut events, finished).await;
    let second = rig.info.info_hash_v2().unwrap();
    assert_eq!(only(&getter).await.info_hash_v2, Some(second.to_string()));
    tracker
        .until(|told| told.iter().any(|told| told.info_hash == second.truncated()))
        .await;
    // Who knows it by the second hash alone is let in.
    let other = engine(b'O', None).await;
    let mut events = other.subscribe();
    let mut by_v2 = torrent(&rig, "third", Mode::Get, getter.listen_addresses());
    let magnet: Magnet = format!("magnet:?xt=urn:btmh:1220{second}").parse().unwrap();
    by_v2.source = Source::Magnet(Box::new(magnet));
    other.add(by_v2).await.unwrap();
    hear(&mut events, finished).await;
    for engine in [other, getter, giver] {
        engine.stop().await;
    }
}

#[tokio::test]
async fn the_files_that_a_link_selects_are_remembered_and_give_way_to_what_was_asked_for() {
    let rig = Rig::album();
    let giver = seeder(&rig).await;
    let select = |so: &str| {
        let hash = rig.info.wire_hash();
        let magnet: Magnet = format!("magnet:?xt=urn:btih:{hash}&so={so}").parse().unwrap();
        Source::Magnet(Box::new(magnet))
    };
    let keeper = keeping(&rig).await;
    let mut events = keeper.subscribe();
    let mut selected = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    selected.source = select("2");
    selected.options.wishes.sequential = true;
    let key = keeper.add(selected).await.unwrap();
    hear(&mut events, finished).await;
    keeper.stop().await;
    let keeper = keeping(&rig).await;
    let details = keeper.details(key).await.unwrap();
    assert!(details.options.sequential);
    let drawn: Vec<Priority> = details.files.iter().map(|file| file.priority).collect();
    assert_eq!(drawn, LAST_ONLY);
    until(&keeper, |summary| summary.partial).await;
    keeper.stop().await;
    assert!(!rig.path("target/album/a.jpg").exists());

    // Files that were asked for count more than the link's; a selection of nothing that is there counts nothing.
    for (so, files, has_first) in [("0", &LAST_ONLY[..], false), ("77", &[], true)] {
        let root = format!("target-{so}");
        let getter = engine(b'G', None).await;
        let mut events = getter.subscribe();
        let mut wanted = torrent(&rig, &root, Mode::Get, giver.listen_addresses());
        wanted.source = select(so);
        wanted.options.wishes = wishes(files);
        getter.add(wanted).await.unwrap();
        hear(&mut events, finished).await;
        let there = until(&getter, |summary| {
            summary.total_bytes > 0 && summary.stage == Stage::Seeding
        })
        .await;
        assert_eq!(there.partial, !has_first, "{so}");
        getter.stop().await;
    }
    giver.stop().await;
}

#[tokio::test]
async fn a_link_whose_metadata_have_not_come_keeps_its_peers_over_a_restart() {
    let rig = Rig::album();
    let keeper = keeping(&rig).await;
    let giver = seeder(&rig).await;
    let peer: SocketAddr = giver.listen_addresses()[0];
    let hash = rig.info.wire_hash();
    let magnet: Magnet = format!("magnet:?xt=urn:btih:{hash}&x.pe={peer}").parse().unwrap();
    let mut wanted = torrent(&rig, "target", Mode::Get, &[]);
    wanted.source = Source::Magnet(Box::new(magnet));
    wanted.options.paused = true;
    let key = keeper.add(wanted).await.unwrap();
    keeper.stop().await;
    let keeper = keeping(&rig).await;
    let mut events = keeper.subscribe();
    keeper.resume(key).await.unwrap();
    hear(&mut events, finished).await;
    keeper.stop().await;
    giver.stop().await;
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_made_of_it() {
    let rig = Rig::album();
    let engine = engine(b'G', Some(rig.path("state"))).await;
    let refusal = async |change: fn(&mut AddTorrent)| {
        let mut nonsense = torrent(&rig, "target", Mode::Get, &[]);
        change(&mut nonsense);
        engine.add(nonsense).await.unwrap_err().to_string()
    };
    let relative = refusal(|torrent| torrent.root = "target".into()).await;
    assert_eq!(relative, "target is no whole path");
    let files = refusal(|torrent| torrent.options.wishes = wishes(&[Priority::Low; 9])).await;
    assert_eq!(files, "the torrent has no file 8");
    let ratio = refusal(|torrent| torrent.options.goals.ratio = Some(f64::NAN)).await;
    assert_eq!(ratio, "a ratio is a number from 0 on");
    let rate = refusal(|torrent| torrent.options.limits.upload = Some(0)).await;
    assert!(rate.starts_with("a rate of 0 would be a pause"), "{rate}");
    let places = refusal(|torrent| torrent.options.limits.connections = Some(0)).await;
    assert!(places.starts_with("no connections at all"), "{places}");
    let url = refusal(|torrent| torrent.options.web_seeds = vec!["file:///etc/passwd".to_owned()]).await;
    assert!(url.starts_with("file:///etc/passwd: "), "{url}");
    assert!(engine.list().await.is_empty() && !rig.path("target").exists());
    engine.stop().await;
}

#[tokio::test]
async fn a_check_tells_how_far_it_is() {
    let rig = Rig::new(&[("film", 40_000_000)], Format::V1);
    let engine = Engine::start(config(b'C', None)).await.unwrap();
    let mut events = engine.subscribe();
    let mut film = torrent(&rig, "source", Mode::Seed, &[]);
    film.options.check = Check::Full;
    tokio::time::pause();
    let key = engine.add(film).await.unwrap();
    let mut last = 0;
    loop {
        // Seconds pass as fast as they can be counted; the disk takes its own time.
        tokio::time::advance(std::time::Duration::from_millis(500)).await;
        match events.try_recv() {
            Ok(Event::CheckProgress {
                key: of_key,
                done,
                of,
            }) => {
                assert!(
                    of_key == key && done > last && done <= of,
                    "{done} of {of} after {last}"
                );
                last = done;
            }
            Ok(Event::Checked { have, of, .. }) => {
                assert_eq!(have, of);
                break;
            }
            _ => (),
        }
    }
    assert!(last > 0, "nothing was told of it");
    tokio::time::resume();
    engine.stop().await;
}
