//! Real engines on real sockets of this machine.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::id::PeerId;
use shared::magnet::Magnet;
use shared::metainfo::write::Format;
use shared::peer_wire::{Handshake, Reserved};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::*;
use crate::disk::tests::{Rig, spoil};

/// Nothing here takes a second on an idle machine; a busy one may need more.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn config(name: u8, data: Option<PathBuf>) -> EngineConfig {
    EngineConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        data,
        peer_id: PeerId([name; 20]),
        allocation: Allocation::default(),
        limits: Limits::default(),
        encryption: Encryption::default(),
        rates: Rates::default(),
        store: None,
    }
}

pub(super) async fn engine(name: u8, data: Option<PathBuf>) -> Engine {
    Engine::start(config(name, data)).await.unwrap()
}

pub(super) fn torrent(rig: &Rig, root: &str, mode: Mode, peers: &[SocketAddr]) -> AddTorrent {
    AddTorrent {
        source: Source::Metainfo(Arc::clone(&rig.metainfo)),
        root: rig.path(root),
        mode,
        trackers: Vec::new(),
        peers: peers.to_vec(),
        options: Options::default(),
    }
}

/// A seeder of the rig's source.
pub(super) async fn seeder(rig: &Rig) -> Engine {
    let seeder = engine(b'S', None).await;
    let mut events = seeder.subscribe();
    seeder.add(torrent(rig, "source", Mode::Seed, &[])).await.unwrap();
    hear(&mut events, |event| matches!(event, Event::Checked { .. })).await;
    seeder
}

/// Listens until the event comes; gives back all that came.
pub(super) async fn hear(
    events: &mut broadcast::Receiver<Event>,
    wanted: impl Fn(&Event) -> bool,
) -> Vec<Event> {
    let mut heard = Vec::new();
    let listen = async {
        loop {
            let event = events.recv().await.unwrap();
            let last = wanted(&event);
            heard.push(event);
            if last {
                return;
            }
        }
    };
    let in_time = timeout(PATIENCE, listen).await;
    assert!(in_time.is_ok(), "it never came: {heard:#?}");
    heard
}

pub(super) fn finished(event: &Event) -> bool {
    matches!(event, Event::Finished { .. })
}

fn pieces(events: &[Event]) -> usize {
    events
        .iter()
        .filter(|event| matches!(event, Event::PieceDone { .. }))
        .count()
}

#[tokio::test]
async fn an_album_crosses_from_one_engine_to_another() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut events = getter.subscribe();
    let key = getter
        .add(torrent(&rig, "target", Mode::Get, seeder.listen_addresses()))
        .await
        .unwrap();
    let heard = hear(&mut events, finished).await;
    assert_eq!(pieces(&heard), 6);
    let status = getter.status(key).await.unwrap();
    assert_eq!((status.stage, status.facts.have_count), (Stage::Seeding, 6));
    getter.stop().await;
    seeder.stop().await;
    for name in ["a.jpg", "b/c.jpg", "b/d.jpg", "empty"] {
        rig.same(name);
    }
}

#[tokio::test]
async fn a_magnet_link_brings_the_metadata_first() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let getter = engine(b'G', None).await;
    let mut events = getter.subscribe();
    let magnet: Magnet = format!("magnet:?xt=urn:btih:{}", rig.info.wire_hash())
        .parse()
        .unwrap();
    let mut torrent = torrent(&rig, "target", Mode::Get, seeder.listen_addresses());
    torrent.source = Source::Magnet(Box::new(magnet));
    getter.add(torrent).await.unwrap();
    let heard = hear(&mut events, finished).await;
    assert!(matches!(&heard[1], Event::Metadata { info, .. } if info.raw() == rig.info.raw()));
    rig.same("a.jpg");
}

#[tokio::test]
async fn hybrids_and_v2_torrents_cross_too() {
    for format in [Format::Hybrid, Format::V2] {
        let rig = Rig::new(&[("a", 70_000), ("b", 10), ("c", 32_768)], format);
        let seeder = seeder(&rig).await;
        let getter = engine(b'G', None).await;
        let mut events = getter.subscribe();
        getter
            .add(torrent(&rig, "target", Mode::Get, seeder.listen_addresses()))
            .await
            .unwrap();
        hear(&mut events, finished).await;
        for name in ["a", "b", "c"] {
            rig.same(name);
        }
    }
}

#[tokio::test]
async fn a_download_that_was_dropped_goes_on_where_it_was() {
    let rig = Rig::new(&[("film", 3_000_000)], Format::V1);
    let seeder = seeder(&rig).await;
    let getter = engine(b'G', Some(rig.path("state"))).await;
    let mut events = getter.subscribe();
    getter
        .add(torrent(&rig, "target", Mode::Get, seeder.listen_addresses()))
        .await
        .unwrap();
    let mut first = hear(&mut events, |event| matches!(event, Event::PieceDone { .. })).await;
    getter.stop().await;
    while let Ok(event) = events.try_recv() {
        first.push(event);
    }
    let again = engine(b'A', Some(rig.path("state"))).await;
    let mut events = again.subscribe();
    again
        .add(torrent(&rig, "target", Mode::Get, seeder.listen_addresses()))
        .await
        .unwrap();
    let heard = hear(&mut events, finished).await;
    let known = heard.iter().find_map(|event| match event {
        Event::Checked { have, of, .. } => Some((*have as usize, *of as usize)),
        _ => None,
    });
    let (known, all) = known.unwrap();
    assert!(
        known >= pieces(&first),
        "{known} known, {} were done",
        pieces(&first)
    );
    assert_eq!(pieces(&heard), all - known);
    rig.same("film");
}

#[tokio::test]
async fn a_damaged_file_is_named_and_not_served() {
    let rig = Rig::album();
    spoil(&rig.path("source/album/b/d.jpg"), 69_000);
    let seeder = seeder(&rig).await;
    let mut troubles = seeder.subscribe();
    let getter = engine(b'G', None).await;
    let mut events = getter.subscribe();
    getter
        .add(torrent(&rig, "target", Mode::Get, seeder.listen_addresses()))
        .await
        .unwrap();
    let trouble = hear(&mut troubles, |event| matches!(event, Event::CannotServe { .. })).await;
    let named = matches!(trouble.last(), Some(Event::CannotServe { path, .. }) if path.ends_with("b/d.jpg"));
    assert!(named, "{trouble:?}");
    let mut done = 0;
    while done < 5 {
        done += pieces(&hear(&mut events, |event| matches!(event, Event::PieceDone { .. })).await);
    }
    assert!(
        !std::iter::from_fn(|| events.try_recv().ok()).any(|event| matches!(event, Event::Banned { .. }))
    );
    rig.same("a.jpg");
}

#[tokio::test]
async fn the_same_torrent_is_not_taken_twice() {
    let rig = Rig::album();
    let engine = engine(b'S', None).await;
    engine
        .add(torrent(&rig, "source", Mode::Seed, &[]))
        .await
        .unwrap();
    let second = engine.add(torrent(&rig, "source", Mode::Seed, &[])).await;
    assert!(matches!(second, Err(AddError::Duplicate(hash)) if hash == rig.info.wire_hash()));
    engine.stop().await;
}

/// A stranger's socket, from an address of its own so that a ban meets nobody else.
async fn stranger(engine: &Engine, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(engine.listen_addresses()[0]).await.unwrap()
}

fn hello(rig: &Rig) -> Vec<u8> {
    let peer_id = PeerId([b'X'; 20]);
    Handshake {
        reserved: Reserved::OURS,
        info_hash: rig.info.wire_hash(),
        peer_id,
    }
    .encode()
    .to_vec()
}

/// Says this; then the connection must be closed by the other side.
async fn is_closed_after(engine: &Engine, last: u8, bytes: &[u8]) {
    let mut socket = stranger(engine, last).await;
    socket.write_all(bytes).await.unwrap();
    let mut heard = Vec::new();
    // A reset is as good as an end: what we sent was not even read.
    let closed = timeout(PATIENCE, socket.read_to_end(&mut heard)).await;
    assert!(closed.is_ok(), "still open after {} bytes", bytes.len());
}

/// An honest friend still gets everything.
async fn still_serves(rig: &Rig, seeder: &Engine) {
    let getter = engine(b'H', None).await;
    let mut events = getter.subscribe();
    getter
        .add(torrent(rig, "target", Mode::Get, seeder.listen_addresses()))
        .await
        .unwrap();
    hear(&mut events, finished).await;
    rig.same("a.jpg");
}

#[tokio::test]
async fn rude_bytes_end_their_own_connection_and_nothing_else() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let ten_gigabytes = [hello(&rig), u32::MAX.to_be_bytes().to_vec()].concat();
    let garbage = [hello(&rig), vec![0xa5; 70_000]].concat();
    let unknown = [&hello(&rig)[..28], &[9; 40]].concat();
    let web = b"GET / HTTP/1.1\r\nHost: example\r\n\r\n".repeat(3);
    for (last, bytes) in (10..).zip([ten_gigabytes, garbage, unknown, web]) {
        is_closed_after(&seeder, last, &bytes).await;
    }
    still_serves(&rig, &seeder).await;
}

#[tokio::test]
async fn a_thousand_silent_strangers_keep_nobody_out() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let mut silent = Vec::new();
    for number in (0..200_u8).cycle().take(1_000) {
        let mut socket = stranger(&seeder, 20 + number).await;
        // Half of them begin a handshake and stop in the middle.
        if number % 2 == 0 {
            socket.write_all(&hello(&rig)[..30]).await.unwrap();
        }
        silent.push(socket);
    }
    timeout(Duration::from_secs(30), still_serves(&rig, &seeder))
        .await
        .unwrap();
    drop(silent);
}

#[tokio::test]
async fn strangers_who_shake_hands_and_want_nothing_make_room_for_a_friend() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let mut idle = Vec::new();
    for number in 0..200_u8 {
        let mut socket = stranger(&seeder, 20).await;
        let peer_id = PeerId([number; 20]);
        let (reserved, info_hash) = (Reserved::OURS, rig.info.wire_hash());
        let hello = Handshake {
            reserved,
            info_hash,
            peer_id,
        }
        .encode();
        socket.write_all(&hello).await.unwrap();
        idle.push(socket);
    }
    still_serves(&rig, &seeder).await;
    drop(idle);
}

#[tokio::test]
async fn a_handshake_in_two_halves_is_answered_after_the_first() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    let mut socket = stranger(&seeder, 3).await;
    let hello = hello(&rig);
    socket.write_all(&hello[..48]).await.unwrap();
    let mut answer = [0; 68];
    timeout(PATIENCE, socket.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(Handshake::decode(&answer).unwrap().peer_id, PeerId([b'S'; 20]));
    socket.write_all(&hello[48..]).await.unwrap();
    assert_ne!(
        timeout(PATIENCE, socket.read(&mut answer))
            .await
            .unwrap()
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn a_file_cut_short_under_our_hands_gives_an_event_and_no_wrong_byte() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    still_serves(&rig, &seeder).await;
    let mut troubles = seeder.subscribe();
    File::options()
        .write(true)
        .open(rig.path("source/album/a.jpg"))
        .unwrap()
        .set_len(50_000)
        .unwrap();
    std::fs::remove_dir_all(rig.path("target")).unwrap();
    let getter = engine(b'G', None).await;
    let mut events = getter.subscribe();
    getter
        .add(torrent(&rig, "target", Mode::Get, seeder.listen_addresses()))
        .await
        .unwrap();
    // Whoever reads it and whoever looks for it may be first.
    let is_told = |event: &Event| matches!(event, Event::CannotServe { .. } | Event::Lost { .. });
    let trouble = hear(&mut troubles, is_told).await;
    let named = matches!(
        trouble.last(),
        Some(Event::CannotServe { path, .. } | Event::Lost { path, .. }) if path.ends_with("a.jpg")
    );
    assert!(named, "{trouble:?}");
    // The other file's two pieces come in any case. The first of this one is sound still, but where the change was seen before
    // anybody read the piece, all of the file is taken back.
    let mut done = 0;
    while done < 2 {
        done += pieces(&hear(&mut events, |event| matches!(event, Event::PieceDone { .. })).await);
    }
    assert!(
        !std::iter::from_fn(|| events.try_recv().ok()).any(|event| matches!(event, Event::Banned { .. }))
    );
}

#[tokio::test]
async fn a_target_that_cannot_be_written_is_named_and_the_download_goes_on_once_it_can() {
    let rig = Rig::album();
    let seeder = seeder(&rig).await;
    std::fs::write(rig.path("target"), "a file where the folder should be").unwrap();
    let getter = engine(b'G', None).await;
    let mut events = getter.subscribe();
    getter
        .add(torrent(&rig, "target", Mode::Get, seeder.listen_addresses()))
        .await
        .unwrap();
    hear(
        &mut events,
        |event| matches!(event, Event::DiskTrouble { path, .. } if path.ends_with("target")),
    )
    .await;
    std::fs::remove_file(rig.path("target")).unwrap();
    let heard = hear(&mut events, finished).await;
    assert!(
        heard
            .iter()
            .any(|event| matches!(event, Event::DiskRecovered { .. }))
    );
    rig.same("a.jpg");
}

#[tokio::test]
async fn stopping_takes_no_five_seconds() {
    let rig = Rig::album();
    let engine = engine(b'S', None).await;
    let mut torrent = torrent(&rig, "source", Mode::Seed, &["127.0.0.1:1".parse().unwrap()]);
    // A tracker that accepts and never answers.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    torrent.trackers = vec![vec![format!("http://{}/announce", dead.local_addr().unwrap())]];
    engine.add(torrent).await.unwrap();
    timeout(Duration::from_secs(5), engine.stop()).await.unwrap();
}

#[tokio::test]
async fn both_families_share_one_port_and_both_lead_in() {
    let rig = Rig::album();
    let config = EngineConfig {
        listen: ["127.0.0.1:0", "[::1]:0"]
            .map(|address| address.parse().unwrap())
            .to_vec(),
        data: None,
        peer_id: PeerId([b'S'; 20]),
        allocation: Allocation::default(),
        limits: Limits::default(),
        encryption: Encryption::default(),
        rates: Rates::default(),
        store: None,
    };
    let seeder = Engine::start(config).await.unwrap();
    let mut events = seeder.subscribe();
    seeder
        .add(torrent(&rig, "source", Mode::Seed, &[]))
        .await
        .unwrap();
    hear(&mut events, |event| matches!(event, Event::Checked { .. })).await;
    let ports: Vec<_> = seeder.listen_addresses().iter().map(SocketAddr::port).collect();
    assert_eq!(ports[0], ports[1]);
    let getter = engine(b'G', None).await;
    let mut events = getter.subscribe();
    getter
        .add(torrent(
            &rig,
            "target",
            Mode::Get,
            &seeder.listen_addresses()[1..],
        ))
        .await
        .unwrap();
    hear(&mut events, finished).await;
    rig.same("a.jpg");
}

#[tokio::test]
async fn a_seeder_whose_file_is_missing_gives_the_rest_and_fetches_nothing() {
    let rig = Rig::album();
    let whole = seeder(&rig).await;
    let getter = engine(b'G', None).await;
    let mut events = getter.subscribe();
    getter
        .add(torrent(&rig, "target", Mode::Get, whole.listen_addresses()))
        .await
        .unwrap();
    hear(&mut events, finished).await;
    std::fs::remove_file(rig.path("target/album/b/d.jpg")).unwrap();
    let partial = engine(b'P', None).await;
    let mut partial_events = partial.subscribe();
    let key = partial
        .add(torrent(&rig, "target", Mode::Seed, whole.listen_addresses()))
        .await
        .unwrap();
    hear(&mut partial_events, |event| {
        matches!(event, Event::Checked { have: 3, .. })
    })
    .await;
    let another = engine(b'A', None).await;
    let mut events = another.subscribe();
    another
        .add(torrent(&rig, "second", Mode::Get, partial.listen_addresses()))
        .await
        .unwrap();
    // The other file's two pieces come in any case. The first of this one is sound still, but where the change was seen before
    // anybody read the piece, all of the file is taken back.
    let mut done = 0;
    while done < 2 {
        done += pieces(&hear(&mut events, |event| matches!(event, Event::PieceDone { .. })).await);
    }
    assert_eq!(partial.status(key).await.unwrap().facts.downloaded, 0);
    assert!(!rig.path("target/album/b/d.jpg").exists());
}
