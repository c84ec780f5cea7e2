//! The first bytes that real clients send to a peer that calls itself complete or empty: handshake, extension handshake,
//! pieces. Each was captured once as a seed and once as a leecher, with the same torrent of ten pieces.

use std::path::Path;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use seeder::torrent::{Content, Direction, Identity, Input, Output, PeerKey, Settings, Torrent};
use shared::bitfield::Bitfield;
use shared::extension::{ExtensionHandshake, HANDSHAKE_ID};
use shared::geometry::Geometry;
use shared::id::PeerId;
use shared::moment::Moment;
use shared::peer_wire::{HANDSHAKE_LENGTH, Handshake, Message, frame_length, frame_limit};

/// The torrent of all captures: a file of 300,000 bytes.
const INFO_HASH: &str = "4b8f68d0ddc43e78845864149964f8d02cadc2ff";

fn geometry() -> Geometry {
    Geometry::v1(32_768, 300_000).expect("ten pieces")
}

fn capture(client: &str, role: &str) -> (Handshake, Vec<Message>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/handshakes");
    let text =
        std::fs::read_to_string(folder.join(format!("{client}-{role}.hex"))).expect("the capture is there");
    let digits: String = text.split_whitespace().collect();
    let bytes = HEXLOWER.decode(digits.as_bytes()).expect("hex");
    let (handshake, mut rest) = bytes
        .split_first_chunk::<HANDSHAKE_LENGTH>()
        .expect("a handshake");
    let mut messages = Vec::new();
    while let Some((prefix, after)) = rest.split_first_chunk::<4>() {
        let length = frame_length(*prefix, frame_limit(Some(&geometry()))).expect("a modest length");
        let (frame, after) = after.split_at(length as usize);
        messages.push(Message::decode(Bytes::copy_from_slice(frame)).expect("a message"));
        rest = after;
    }
    assert!(rest.is_empty(), "{client} {role}: bytes are left over");
    (Handshake::decode(handshake).expect("a handshake"), messages)
}

fn extensions(messages: &[Message]) -> ExtensionHandshake {
    let payload = messages.iter().find_map(|message| match message {
        Message::Extended {
            id: HANDSHAKE_ID,
            payload,
        } => Some(payload),
        _ => None,
    });
    ExtensionHandshake::decode(payload.expect("an extension handshake")).expect("a dictionary")
}

/// What a torrent of ours, complete or empty, says to the whole capture.
fn hear(complete: bool, handshake: Handshake, messages: &[Message]) -> (Torrent, Vec<Output>) {
    let geometry = geometry();
    let have = if complete {
        Bitfield::all(&geometry)
    } else {
        Bitfield::none(&geometry)
    };
    let content = Content {
        geometry,
        have,
        info: Bytes::from_static(b"de"),
        private: false,
        files: std::sync::Arc::default(),
        trees: shared::merkle::Trees::default(),
    };
    let info_hash = INFO_HASH.parse().expect("a hash");
    let identity = Identity {
        info_hash,
        info_hash_v2: None,
        peer_id: PeerId(*b"-KW0100-abcdefghijkl"),
        listen_port: 7001,
    };
    let now = Moment::from_secs(1);
    let mut torrent = Torrent::new(now, identity, Some(content), Settings::default());
    let mut dice = SmallRng::seed_from_u64(1);
    let (peer, direction) = (PeerKey(1), Direction::Incoming);
    let address = ([10, 98, 0, 11], 47_137).into();
    torrent.handle(
        now,
        Input::Connected {
            peer,
            address,
            direction,
            handshake,
        },
        &mut dice,
    );
    for message in messages {
        torrent.handle(
            now,
            Input::Message {
                peer,
                message: message.clone(),
            },
            &mut dice,
        );
    }
    let outputs = std::iter::from_fn(|| torrent.poll()).collect();
    (torrent, outputs)
}

/// Reads both captures of a client and lets our torrents hear them.
#[track_caller]
fn check(client: &str, name: &str, reqq: Option<u32>, fast: bool) {
    for role in ["seed", "leech"] {
        let (handshake, messages) = capture(client, role);
        assert_eq!(handshake.info_hash.to_string(), INFO_HASH);
        assert!(handshake.reserved.extended());
        assert_eq!(handshake.reserved.fast(), fast);
        let told = extensions(&messages);
        assert_eq!(
            (told.client.as_deref(), told.port, told.reqq),
            (Some(name), Some(7_005), reqq)
        );
        assert_eq!(told.metadata_size, Some(269));
        assert!(told.ut_metadata.is_some_and(|id| id != 0));

        let (torrent, outputs) = hear(role == "leech", handshake, &messages);
        let goodbye = outputs
            .iter()
            .find(|output| matches!(output, Output::Disconnect { .. }));
        assert_eq!(goodbye, None, "{client} {role}");
        assert_eq!(
            torrent.status().seeds,
            usize::from(role == "seed"),
            "{client} {role}"
        );
        let peer = PeerKey(1);
        let interested = outputs.contains(&Output::Send {
            peer,
            message: Message::Interested,
        });
        assert_eq!(interested, role == "seed", "{client} {role}");
    }
}

#[test]
fn libtorrent_is_understood() {
    check("libtorrent-2.1.1", "libtorrent/2.1.1.0", Some(2_000), true);
}

#[test]
fn transmission_is_understood() {
    check("transmission-3.00", "Transmission 3.00", Some(512), true);
}

#[test]
fn aria2_is_understood() {
    check("aria2-1.36", "aria2/1.36.0", None, true);
}

#[test]
fn rtorrent_is_understood() {
    check("rtorrent-0.9.8", "libTorrent 0.13.8", Some(2_048), false);
}

#[test]
fn qbittorrent_is_understood() {
    check("qbittorrent-4.5.2", "qBittorrent/4.5.2", Some(2_000), true);
}

#[test]
fn a_seed_that_meets_a_seed_lets_it_go() {
    let (handshake, messages) = capture("transmission-3.00", "seed");
    let (torrent, outputs) = hear(true, handshake, &messages);
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Disconnect { .. }))
    );
    assert_eq!(torrent.status().peers, 0);
}
