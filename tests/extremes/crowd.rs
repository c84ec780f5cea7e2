//! One torrent with very many peers: hundreds that take at the same time, and hundreds that offer.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use bytes::Bytes;
use shared::peer_wire::{Message, Span};

use super::sides::{Seeding, Subject, row};
use super::{Bound, Report, Scene};
use crate::fake_peer::{FakePeer, FakeSeed, Habit, Stock};
use crate::rig::{digests, fill};

const PIECE: u32 = 256 << 10;
const BLOCK: u32 = 16 << 10;
const LENGTH: u32 = 64 << 20;

/// Blocks that every leecher takes, four in flight.
const BLOCKS_EACH: u32 = 16;
const IN_FLIGHT: u32 = 4;

/// Connections that a torrent has where nobody says otherwise.
const CONNECTIONS: usize = 100;

/// A household of its own for each.
fn household(net: u8, number: usize) -> IpAddr {
    let [.., high, low] = u32::try_from(number + 1).unwrap().to_be_bytes();
    Ipv4Addr::new(127, net, high, low).into()
}

/// All at once: everybody is connected before anybody asks, and nobody goes before the last has got all it wants.
#[track_caller]
fn lavish(scene: &Scene, subject: &Subject, seed: SocketAddr, look: impl FnOnce()) {
    let content = fs::read(subject.folder.join(subject.name)).unwrap();
    let mut peers: Vec<FakePeer> = (0..scene.size.peers)
        .map(|number| FakePeer::dial_from(household(2, number), seed, subject.info_hash))
        .collect();
    for peer in &mut peers {
        peer.say(&Message::Interested).unwrap();
    }
    for peer in &mut peers {
        while peer.hear().unwrap() != Message::Unchoke {}
    }
    for round in 0..BLOCKS_EACH / IN_FLIGHT {
        for (number, peer) in peers.iter_mut().enumerate() {
            for turn in 0..IN_FLIGHT {
                peer.say(&Message::Request(span(number, round * IN_FLIGHT + turn)))
                    .unwrap();
            }
        }
        for peer in &mut peers {
            for _block in 0..IN_FLIGHT {
                take_block(peer, &content);
            }
        }
    }
    look();
}

/// Which block a leecher asks for next: others than its neighbours.
fn span(number: usize, turn: u32) -> Span {
    let block = (u32::try_from(number).unwrap() * 131 + turn * 61) % (LENGTH / BLOCK);
    Span {
        piece: block / (PIECE / BLOCK),
        begin: block % (PIECE / BLOCK) * BLOCK,
        length: BLOCK,
    }
}

#[track_caller]
fn take_block(peer: &mut FakePeer, content: &[u8]) {
    loop {
        match peer.hear().unwrap() {
            Message::Piece { piece, begin, data } => {
                let start = (piece * PIECE + begin) as usize;
                assert!(
                    data == content[start..start + data.len()],
                    "piece {piece} from {begin}"
                );
                return;
            }
            Message::Choke | Message::Reject(_) => panic!("refused"),
            _ => (),
        }
    }
}

/// KiB of the resident set before anybody came, while all were there; what was shown of them.
#[track_caller]
fn crowd_of_ours(scene: &Scene, subject: &Subject) -> (Seeding, u64, u64) {
    let (data, count) = (scene.home.join("seeder"), scene.size.peers.to_string());
    let seeding = scene.seed(subject, &data);
    // One peer has all of it hashed and in the page cache, so that what follows is the peers' own.
    warm(subject, seeding.address);
    let room = (scene.size.peers + 1).to_string();
    scene.ask(&data, &["limit", "--connections", &room]);
    scene.ask(
        &data,
        &["limit", subject.name, "--connections", &room, "--slots", &count],
    );
    let before = seeding.meter.resident();
    let mut during = 0;
    lavish(scene, subject, seeding.address, || {
        during = seeding.meter.resident();
        let shown = scene.show(subject, &data);
        assert_eq!(
            shown["peer_list"].as_array().map(Vec::len),
            Some(scene.size.peers)
        );
    });
    (seeding, before, during)
}

#[track_caller]
fn warm(subject: &Subject, seed: SocketAddr) {
    let content = fs::read(subject.folder.join(subject.name)).unwrap();
    let mut peer = FakePeer::dial(seed, subject.info_hash);
    peer.say(&Message::Interested).unwrap();
    while peer.hear().unwrap() != Message::Unchoke {}
    for piece in 0..LENGTH / PIECE {
        let span = Span {
            piece,
            begin: 0,
            length: BLOCK,
        };
        peer.say(&Message::Request(span)).unwrap();
        take_block(&mut peer, &content);
    }
}

/// Hundreds of seeds, each at an address of its own.
#[track_caller]
fn seeds(scene: &Scene, subject: &Subject) -> Vec<FakeSeed> {
    let content = Bytes::from(fs::read(subject.folder.join(subject.name)).unwrap());
    let stock = Stock {
        info_hash: subject.info_hash,
        content,
        piece_length: PIECE,
        habit: Habit::Honest,
    };
    let start = |number| FakeSeed::start(household(3, number), stock.clone());
    (0..scene.size.peers).map(start).collect()
}

fn addresses(seeds: &[FakeSeed]) -> Vec<SocketAddr> {
    seeds.iter().map(FakeSeed::address).collect()
}

#[track_caller]
pub(super) fn peers(scene: &Scene) -> Report {
    let folder = scene.home.join("content");
    fill(&folder.join("film.mkv"), 9, LENGTH.into());
    let torrent = scene.home.join("made.torrent");
    scene.create(
        &folder.join("film.mkv"),
        &torrent,
        &["--piece-length", &PIECE.to_string()],
    );
    let subject = Subject::read(torrent, folder, "film.mkv");
    let (seeding, before, during) = crowd_of_ours(scene, &subject);
    let sent = seeding.end();
    let rival_sent = scene.libtorrent_seed(&subject).map(|seeding| {
        lavish(scene, &subject, seeding.address, || ());
        seeding.end().peak
    });
    let offering = seeds(scene, &subject);
    let (into, data) = (scene.home.join("got"), scene.home.join("getter"));
    let program = scene.get(&subject, &into, &data).args(["--encryption", "off"]);
    let known = addresses(&offering);
    let program = program.args(
        known
            .iter()
            .flat_map(|seed| ["--peer".to_owned(), seed.to_string()]),
    );
    let (finished, got) = scene.finish(program);
    finished.succeeded();
    assert_eq!(digests(Path::new(&into)), digests(&subject.folder));
    let asked = offering.iter().filter(|seed| !seed.diary().is_empty()).count();
    drop(offering);
    let rival_got = scene.python.as_ref().and_then(|_| {
        let offering = seeds(scene, &subject);
        scene.libtorrent_get(&subject, "", &addresses(&offering))
    });
    let count = scene.size.peers;
    let each = during.saturating_sub(before) * 1024 / count as u64;
    Report {
        rows: vec![
            row(
                "seed, all take at once",
                sent,
                Bound {
                    peak: 64 + ((count as u64 * 128) >> 10),
                    descriptors: count + 48,
                },
                rival_sent,
            ),
            row(
                "get, all offer",
                got,
                Bound {
                    peak: 160,
                    descriptors: CONNECTIONS + 48,
                },
                rival_got,
            ),
        ],
        notes: vec![
            format!(
                "{count} leechers, each at an address of its own, all unchoked, {BLOCKS_EACH} blocks each: {} KiB a peer beyond what the seeder had before they came.",
                each >> 10
            ),
            format!(
                "{count} seeds offered, {CONNECTIONS} connections allowed: {asked} seeds were asked for something."
            ),
        ],
    }
}
