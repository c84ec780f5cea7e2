//! Bounds that hold while torrents run and change while they do; goals; and what a restart finds.

use std::path::Path;

use shared::id::PeerId;
use shared::peer_wire::{Handshake, Reserved};
use sqlx::{Connection as _, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::operations::{keeping, only, until};
use super::tests::{PATIENCE, config, engine, finished, hear, seeder, torrent};
use super::*;
use crate::disk::tests::Rig;
use crate::torrent::{Priority, Wishes};

/// Asks again until the sums are so.
async fn until_facts(engine: &Engine, is_so: impl Fn(&EngineFacts) -> bool) {
    let ask = async {
        while !is_so(&engine.facts().await) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ask).await.unwrap();
}

/// A stranger who shakes hands, and wants nothing.
async fn stranger(rig: &Rig, engine: &Engine, name: u8) -> TcpStream {
    let mut socket = TcpStream::connect(engine.listen_addresses()[0]).await.unwrap();
    let hello = Handshake {
        reserved: Reserved::OURS,
        info_hash: rig.info.wire_hash(),
        peer_id: PeerId([name; 20]),
    };
    socket.write_all(&hello.encode()).await.unwrap();
    socket.read_exact(&mut [0; 68]).await.unwrap();
    socket
}

/// The other side hangs up.
async fn is_closed(mut socket: TcpStream) {
    let mut heard = Vec::new();
    // A reset is as good as an end.
    let _ = timeout(PATIENCE, socket.read_to_end(&mut heard)).await.unwrap();
}

#[tokio::test]
async fn connections_in_all_have_a_bound_that_changes_live_and_goes_back_to_the_usual_one() {
    let rig = Rig::album();
    let engine = seeder(&rig).await;
    let bound = |connections| Rates {
        connections,
        ..Rates::default()
    };
    engine.set_rates(bound(Some(2))).await.unwrap();
    let mut inside = vec![stranger(&rig, &engine, 1).await, stranger(&rig, &engine, 2).await];
    until_facts(&engine, |facts| facts.connections == 2).await;
    is_closed(stranger(&rig, &engine, 3).await).await;
    engine.set_rates(bound(Some(3))).await.unwrap();
    inside.push(stranger(&rig, &engine, 4).await);
    until_facts(&engine, |facts| {
        (facts.connections, facts.connections_max) == (3, 3)
    })
    .await;
    engine.set_rates(bound(None)).await.unwrap();
    assert!(engine.facts().await.connections_max >= 100);
    drop(inside);
    engine.stop().await;
}

#[tokio::test]
async fn connections_of_one_torrent_have_a_bound_that_ends_those_beyond_it() {
    let rig = Rig::album();
    let engine = seeder(&rig).await;
    let key = only(&engine).await.key;
    let mut inside = vec![stranger(&rig, &engine, 1).await, stranger(&rig, &engine, 2).await];
    until(&engine, |summary| summary.peers == 2).await;
    let limits = TorrentLimits {
        connections: Some(1),
        ..TorrentLimits::default()
    };
    let change = Change {
        limits: Some(limits),
        ..Change::default()
    };
    engine.change(key, change).await.unwrap();
    until(&engine, |summary| summary.peers == 1).await;
    until_facts(&engine, |facts| facts.connections == 1).await;
    inside.push(stranger(&rig, &engine, 3).await);
    until_facts(&engine, |facts| facts.connections <= 1).await;
    drop(inside);
    engine.stop().await;
}

#[tokio::test]
async fn calls_that_wait_for_their_turn_hold_no_place_of_somebody_elses() {
    let rig = Rig::album();
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let mut config = config(b'H', None);
    config.limits.half_open = 2;
    let engine = Engine::start(config).await.unwrap();
    let peers: Vec<SocketAddr> = silent.iter().map(|peer| peer.local_addr().unwrap()).collect();
    engine
        .add(torrent(&rig, "target", Mode::Get, &peers))
        .await
        .unwrap();
    until_facts(&engine, |facts| facts.connections == 2).await;
    until(&engine, |summary| summary.stage == Stage::Downloading).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(engine.facts().await.connections <= 2);
    }
    engine.stop().await;
}

#[tokio::test]
async fn the_lan_is_free_of_the_usual_rate_and_has_one_of_its_own_that_changes_live() {
    let rig = Rig::album();
    let giver = seeder(&rig).await;
    let strict = Rates {
        upload: Some(1),
        ..Rates::default()
    };
    giver.set_rates(strict.clone()).await.unwrap();
    let fetch = async |name: u8, root: &str| {
        let getter = engine(name, None).await;
        let events = getter.subscribe();
        let album = torrent(&rig, root, Mode::Get, giver.listen_addresses());
        getter.add(album).await.unwrap();
        (getter, events)
    };
    let (first, mut events) = fetch(b'1', "first").await;
    hear(&mut events, finished).await;
    first.stop().await;
    let stricter = Rates {
        lan_upload: Some(1),
        ..strict.clone()
    };
    giver.set_rates(stricter).await.unwrap();
    let (second, mut events) = fetch(b'2', "second").await;
    until_facts(&giver, |facts| facts.connections == 1).await;
    assert_eq!(only(&second).await.downloaded, 0);
    giver.set_rates(strict).await.unwrap();
    hear(&mut events, finished).await;
    second.stop().await;
    giver.stop().await;
}

#[tokio::test]
async fn a_torrents_own_rate_holds_at_home_too_and_changes_live() {
    let rig = Rig::album();
    let giver = engine(b'S', None).await;
    let mut album = torrent(&rig, "source", Mode::Seed, &[]);
    album.options.limits.upload = Some(1);
    let key = giver.add(album).await.unwrap();
    let getter = engine(b'G', None).await;
    let mut events = getter.subscribe();
    let wanted = torrent(&rig, "target", Mode::Get, giver.listen_addresses());
    getter.add(wanted).await.unwrap();
    until_facts(&giver, |facts| facts.connections == 1).await;
    assert_eq!(only(&getter).await.downloaded, 0);
    let free = Change {
        limits: Some(TorrentLimits::default()),
        ..Change::default()
    };
    giver.change(key, free).await.unwrap();
    hear(&mut events, finished).await;
    getter.stop().await;
    giver.stop().await;
}

/// An engine that peers know by an address of its own.
async fn at(address: &str) -> Engine {
    let mut config = config(b'A', None);
    config.listen = vec![address.parse().unwrap()];
    config.peer_id = PeerId([address.as_bytes()[8]; 20]);
    Engine::start(config).await.unwrap()
}

#[tokio::test]
async fn enough_copies_are_counted_by_address_remembered_and_end_the_giving() {
    let rig = Rig::album();
    let keeper = keeping(&rig).await;
    let mut album = torrent(&rig, "source", Mode::Seed, &[]);
    album.options.goals.copies = Some(2);
    let key = keeper.add(album).await.unwrap();
    let fetch = async |keeper: &Engine, address: &str, root: &str| {
        let getter = at(address).await;
        let mut events = getter.subscribe();
        getter.add(torrent(&rig, root, Mode::Get, &[])).await.unwrap();
        keeper
            .add_peers(key, getter.listen_addresses().to_vec())
            .await
            .unwrap();
        hear(&mut events, finished).await;
        getter.stop().await;
    };
    let copies = async |keeper: &Engine, count: u32| {
        let seen = async {
            while keeper.details(key).await.unwrap().copies != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, seen).await.unwrap();
    };
    fetch(&keeper, "127.0.0.2:0", "first").await;
    copies(&keeper, 1).await;
    // The same house again is no second copy.
    fetch(&keeper, "127.0.0.2:0", "second").await;
    assert_eq!(keeper.details(key).await.unwrap().copies, 1);
    keeper.stop().await;
    let keeper = keeping(&rig).await;
    let mut events = keeper.subscribe();
    until(&keeper, |summary| summary.stage == Stage::Seeding).await;
    assert_eq!(keeper.details(key).await.unwrap().copies, 1);
    fetch(&keeper, "127.0.0.3:0", "third").await;
    let heard = hear(&mut events, |event| matches!(event, Event::GoalReached { .. })).await;
    let goal = heard.into_iter().find_map(|event| match event {
        Event::GoalReached { goal, .. } => Some(goal),
        _ => None,
    });
    assert_eq!(
        goal.as_deref(),
        Some("2 other complete copies were seen within a week")
    );
    until(&keeper, |summary| summary.stage == Stage::Paused).await;
    keeper.stop().await;
}

async fn sql(path: &Path, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn everything_that_was_said_of_a_torrent_stands_again_after_a_restart() {
    let rig = Rig::album();
    let keeper = keeping(&rig).await;
    let mut album = torrent(&rig, "source", Mode::Seed, &[]);
    album.options = Options {
        wishes: Wishes {
            files: [Priority::High, Priority::Skip, Priority::Low].into(),
            sequential: true,
        },
        limits: TorrentLimits {
            upload: Some(5_000),
            download: Some(6_000),
            connections: Some(7),
            upload_slots: Some(8),
        },
        goals: Goals {
            ratio: Some(9.5),
            time: Some(std::time::Duration::from_secs(1_000)),
            copies: Some(11),
        },
        paused: true,
        web_seeds: vec!["http://seeds.example/".to_owned()],
        super_seed: true,
        ..Options::default()
    };
    let key = keeper.add(album).await.unwrap();
    let before = keeper.details(key).await.unwrap();
    keeper.stop().await;
    let keeper = keeping(&rig).await;
    let after = keeper.details(key).await.unwrap();
    assert!(after.summary.paused);
    assert_eq!(after.options, before.options);
    assert_eq!(after.web_seeds, before.web_seeds);
    let priorities = |details: &Details| details.files.iter().map(|file| file.priority).collect::<Vec<_>>();
    assert_eq!(priorities(&after), priorities(&before));
    assert_eq!(after.options.seed_seconds, Some(1_000));
    keeper.stop().await;
}

#[tokio::test]
async fn a_torrent_whose_row_is_damaged_stays_in_the_database_and_the_others_run() {
    let (rig, other) = (
        Rig::album(),
        Rig::new(&[("b", 9)], shared::metainfo::write::Format::V1),
    );
    let keeper = keeping(&rig).await;
    keeper
        .add(torrent(&rig, "source", Mode::Seed, &[]))
        .await
        .unwrap();
    let key = keeper
        .add(torrent(&other, "source", Mode::Seed, &[]))
        .await
        .unwrap();
    keeper.stop().await;
    let store = rig.path("state").join("seeder.sqlite");
    sql(&store, "UPDATE torrents SET options = '{' WHERE id = 0").await;
    let keeper = keeping(&rig).await;
    assert_eq!(only(&keeper).await.key, key);
    // A torrent that comes now takes nobody's number.
    let third = Rig::new(&[("c", 7)], shared::metainfo::write::Format::V1);
    assert!(
        keeper
            .add(torrent(&third, "source", Mode::Seed, &[]))
            .await
            .unwrap()
            > key
    );
    keeper.stop().await;
    sql(&store, "UPDATE torrents SET options = '{}' WHERE id = 0").await;
    let keeper = keeping(&rig).await;
    assert_eq!(keeper.list().await.len(), 3);
    keeper.stop().await;
}

#[tokio::test]
async fn a_damaged_database_is_named_and_left_as_it_is() {
    let rig = Rig::album();
    std::fs::create_dir_all(rig.path("state")).unwrap();
    let store = rig.path("state").join("seeder.sqlite");
    std::fs::write(
        &store,
        b"this was a database once, before the disk went bad".repeat(100),
    )
    .unwrap();
    let before = std::fs::read(&store).unwrap();
    let mut config = config(b'K', None);
    config.store = Some(store.clone());
    let words = Engine::start(config).await.unwrap_err().to_string();
    assert!(words.contains(&store.display().to_string()), "{words}");
    assert!(words.contains("Move it away"), "{words}");
    assert_eq!(std::fs::read(&store).unwrap(), before);
}
