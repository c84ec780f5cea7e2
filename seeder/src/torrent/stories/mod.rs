//! Stories of one torrent and its peers: what is said to it, and what it wants done. One story, one rule.

mod hashes;
mod many;
mod taking;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use sha1::{Digest, Sha1};
use shared::bitfield::Bitfield;
use shared::extension::{ExtensionHandshake, METADATA_BLOCK_LENGTH, MetadataMessage};
use shared::geometry::{Block, Geometry};
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;
use shared::peer_wire::{Handshake, Message, Reserved, Span};

use super::session::Session;
use super::{Content, Direction, Identity, Input, Output, PeerKey, Settings, Torrent, Why};

mod giving;
mod suggesting;

const OURS: PeerId = PeerId([50; 20]);
const SLOW: Reserved = Reserved([0, 0, 0, 0, 0, 0x10, 0, 0]);

/// Ten pieces of four blocks.
fn geometry() -> Geometry {
    Geometry::v1(65_536, 655_360).unwrap()
}

fn info() -> Bytes {
    Bytes::from(vec![7; 20_000])
}

fn content(geometry: Geometry, have: Bitfield) -> Content {
    Content {
        geometry,
        have,
        info: info(),
        private: false,
        files: std::sync::Arc::default(),
        trees: shared::merkle::Trees::default(),
    }
}

struct Story {
    torrent: Torrent,
    now: Moment,
    dice: SmallRng,
}

impl Story {
    fn with(have: Option<&[u32]>, settings: Settings) -> Self {
        let content = have.map(|have| {
            let mut bits = Bitfield::none(&geometry());
            for number in have {
                bits.set(geometry().piece(*number).unwrap());
            }
            content(geometry(), bits)
        });
        Self::of(content, settings)
    }

    fn of(content: Option<Content>, settings: Settings) -> Self {
        let info_hash = InfoHash::from_slice(&Sha1::digest(info())).unwrap();
        let identity = Identity {
            info_hash,
            info_hash_v2: None,
            peer_id: OURS,
            listen_port: 6_881,
        };
        let now = Moment::from_secs(100);
        Self {
            torrent: Torrent::new(now, identity, content, settings),
            now,
            dice: SmallRng::seed_from_u64(4),
        }
    }

    fn seed() -> Self {
        Self::with(Some(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Settings::default())
    }

    fn leecher() -> Self {
        Self::with(Some(&[]), Settings::default())
    }

    /// One piece is missing.
    fn nearly_done() -> Self {
        Self::with(Some(&[0, 1, 2, 3, 4, 5, 6, 7, 8]), Settings::default())
    }

    /// Tells it something, and says what it wants then.
    fn tell(&mut self, input: Input) -> Vec<Output> {
        self.torrent.handle(self.now, input, &mut self.dice);
        std::iter::from_fn(|| self.torrent.poll()).collect()
    }

    fn connect(&mut self, peer: u8, reserved: Reserved) -> Vec<Output> {
        self.connect_as(peer, reserved, PeerId([peer; 20]), Direction::Incoming)
    }

    fn connect_as(&mut self, peer: u8, reserved: Reserved, id: PeerId, direction: Direction) -> Vec<Output> {
        let handshake = Handshake {
            reserved,
            info_hash: self.torrent.identity.info_hash,
            peer_id: id,
        };
        let address = address(peer);
        self.tell(Input::Connected {
            peer: key(peer),
            address,
            direction,
            handshake,
        })
    }

    fn hear(&mut self, peer: u8, message: Message) -> Vec<Output> {
        self.tell(Input::Message {
            peer: key(peer),
            message,
        })
    }

    /// A peer that has everything and lets us ask; gives what it is asked for.
    fn seeded_by(&mut self, peer: u8, reserved: Reserved) -> Vec<Span> {
        self.connect(peer, reserved);
        self.hear(
            peer,
            Message::Bitfield(Bytes::copy_from_slice(Bitfield::all(&geometry()).as_bytes())),
        );
        requests(peer, &self.hear(peer, Message::Unchoke))
    }

    fn give(&mut self, peer: u8, span: Span) -> Vec<Output> {
        let data = Bytes::from(vec![0; span.length as usize]);
        self.hear(
            peer,
            Message::Piece {
                piece: span.piece,
                begin: span.begin,
                data,
            },
        )
    }

    /// Lets time pass second by second, as a driver would.
    fn wait(&mut self, secs: u64) -> Vec<Output> {
        let mut outputs = Vec::new();
        for _ in 0..secs {
            self.now = self.now + Duration::from_secs(1);
            outputs.extend(self.tell(Input::Tick));
        }
        outputs
    }
}

fn key(peer: u8) -> PeerKey {
    PeerKey(peer.into())
}

fn address(peer: u8) -> SocketAddr {
    ([10, 0, 0, peer], 5_000).into()
}

fn sent(peer: u8, outputs: &[Output]) -> Vec<Message> {
    let to = |output: &Output| match output {
        Output::Send { peer: to, message } if *to == key(peer) => Some(message.clone()),
        _ => None,
    };
    outputs.iter().filter_map(to).collect()
}

fn requests(peer: u8, outputs: &[Output]) -> Vec<Span> {
    let request = |message| {
        if let Message::Request(span) = message {
            Some(span)
        } else {
            None
        }
    };
    sent(peer, outputs).into_iter().filter_map(request).collect()
}

fn goodbye(peer: u8, outputs: &[Output]) -> Option<&Why> {
    outputs.iter().find_map(|output| match output {
        Output::Disconnect { peer: gone, why } if *gone == key(peer) => Some(why),
        _ => None,
    })
}

fn span(piece: u32, block: u32) -> Span {
    Span {
        piece,
        begin: block * 16_384,
        length: 16_384,
    }
}

fn block(piece: u32, number: u32) -> Block {
    geometry()
        .block(geometry().piece(piece).unwrap(), number)
        .unwrap()
}

#[test]
fn a_seed_greets_with_its_pieces_first_and_unchokes_at_once_who_is_interested() {
    let mut story = Story::seed();
    let greeting = sent(1, &story.connect(1, Reserved::OURS));
    assert_eq!(greeting[0], Message::HaveAll);
    assert!(matches!(greeting[1], Message::Extended { id: 0, .. }));
    let answer = sent(1, &story.hear(1, Message::Interested));
    assert_eq!(answer.first(), Some(&Message::Unchoke));
}

#[test]
fn without_the_fast_extension_pieces_are_told_by_bitfield_or_not_at_all() {
    let greeting = sent(1, &Story::seed().connect(1, SLOW));
    assert_eq!(greeting[0], Message::Bitfield(Bytes::from_static(&[0xff, 0xc0])));
    let greeting = sent(1, &Story::leecher().connect(1, SLOW));
    assert!(matches!(greeting[..], [Message::Extended { .. }]));
}

#[test]
fn requests_that_come_together_are_served_together() {
    let mut story = Story::seed();
    story.connect(1, Reserved::OURS);
    story.hear(1, Message::Interested);
    for number in [2, 0] {
        let input = Input::Message {
            peer: key(1),
            message: Message::Request(span(3, number)),
        };
        story.torrent.handle(story.now, input, &mut story.dice);
    }
    let blocks = vec![block(3, 2), block(3, 0)];
    assert_eq!(story.torrent.poll(), Some(Output::Serve { peer: key(1), blocks }));
    assert_eq!(story.torrent.poll(), None);
}

#[test]
fn requests_of_a_choked_peer_are_rejected_and_a_flood_of_them_ends_it() {
    let mut story = Story::seed();
    story.connect(1, Reserved::OURS);
    assert_eq!(
        sent(1, &story.hear(1, Message::Request(span(0, 0)))),
        [Message::Reject(span(0, 0))]
    );
    let flood: Vec<_> = (0..1_000)
        .flat_map(|_| story.hear(1, Message::Request(span(0, 0))))
        .collect();
    assert_eq!(goodbye(1, &flood), Some(&Why::TooManyRequests(1_001)));
}

#[test]
fn no_more_than_five_hundred_requests_wait_until_blocks_have_left() {
    let mut story = Story::seed();
    story.connect(1, Reserved::OURS);
    story.hear(1, Message::Interested);
    for _ in 0..500 {
        let answer = sent(1, &story.hear(1, Message::Request(span(0, 0))));
        assert!(!answer.contains(&Message::Reject(span(0, 0))));
    }
    assert_eq!(
        sent(1, &story.hear(1, Message::Request(span(0, 1)))),
        [Message::Reject(span(0, 1))]
    );
    story.tell(Input::Served {
        peer: key(1),
        bytes: 16_384,
    });
    assert_eq!(sent(1, &story.hear(1, Message::Request(span(0, 1)))), []);
    let unserved = story.tell(Input::Unserved {
        peer: key(1),
        block: block(0, 1),
    });
    assert_eq!(sent(1, &unserved), [Message::Reject(span(0, 1))]);
}

#[test]
fn requests_for_what_does_not_exist_end_the_connection() {
    for wrong in [
        (10, 0, 1),
        (0, 65_536, 1),
        (0, 0, 0),
        (0, u32::MAX, 2),
        (0, 0, 131_073),
    ] {
        let mut story = Story::seed();
        story.connect(1, Reserved::OURS);
        let (piece, begin, length) = wrong;
        let outputs = story.hear(1, Message::Request(Span { piece, begin, length }));
        assert_eq!(
            goodbye(1, &outputs),
            Some(&Why::BadRequest { piece, begin, length })
        );
        assert_eq!(story.torrent.status().peers, 0);
    }
}

#[test]
fn a_leecher_is_interested_in_who_has_something_and_asks_when_it_may() {
    let mut story = Story::leecher();
    story.connect(1, Reserved::OURS);
    assert_eq!(sent(1, &story.hear(1, Message::Have(3))), [Message::Interested]);
    let asked = requests(1, &story.hear(1, Message::Unchoke));
    assert_eq!(asked, [span(3, 0), span(3, 1), span(3, 2), span(3, 3)]);
}

#[test]
fn no_block_is_asked_for_that_memory_has_no_room_for() {
    let settings = Settings {
        disk_credit: 3 * 16_384,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&[]), settings);
    let asked = story.seeded_by(1, Reserved::OURS);
    assert_eq!(asked.len(), 3);
    let stored = story.give(1, asked[0]);
    assert!(matches!(stored[..], [Output::Store { .. }]), "{stored:?}");
    assert_eq!(requests(1, &story.tell(Input::Credit(16_384))).len(), 1);
}

#[test]
fn disk_trouble_stops_all_asking_until_the_disk_is_ready() {
    let mut story = Story::nearly_done();
    let asked = story.seeded_by(1, Reserved::OURS);
    story.give(1, asked[0]);
    let piece = geometry().piece(asked[0].piece).unwrap();
    let trouble = story.tell(Input::StoreFailed { piece });
    let cancels = sent(1, &trouble)
        .iter()
        .filter(|message| matches!(message, Message::Cancel(_)))
        .count();
    assert_eq!(cancels, asked.len() - 1);
    assert_eq!(requests(1, &story.wait(5)), []);
    assert_eq!(story.give(1, asked[1]), [], "what comes late cannot be kept");
    assert_eq!(
        requests(1, &story.tell(Input::DiskReady)),
        asked,
        "the lost block is asked for again"
    );
}

#[test]
fn a_whole_piece_is_verified_told_and_the_last_one_finishes_once() {
    let mut story = Story::nearly_done();
    story.connect(2, Reserved::OURS);
    let asked = story.seeded_by(1, Reserved::OURS);
    let stored: Vec<Output> = asked.iter().flat_map(|span| story.give(1, *span)).collect();
    let piece = geometry().piece(9).unwrap();
    assert_eq!(stored.last(), Some(&Output::Verify { piece }));
    let done = story.tell(Input::Verified { piece, good: true });
    assert!(done.contains(&Output::PieceDone { piece }) && done.contains(&Output::Finished));
    assert_eq!(sent(2, &done).first(), Some(&Message::Have(9)));
    assert_eq!(goodbye(1, &done), Some(&Why::BothSeeds));
    assert_eq!(story.tell(Input::Verified { piece, good: true }), []);
    assert!(story.torrent.is_complete());
}

#[test]
fn who_alone_sent_a_wrong_piece_is_named_and_banned() {
    let mut story = Story::nearly_done();
    for span in story.seeded_by(1, Reserved::OURS) {
        story.give(1, span);
    }
    let outputs = story.tell(Input::Verified {
        piece: geometry().piece(9).unwrap(),
        good: false,
    });
    let why = Why::WrongPiece(9);
    assert_eq!(
        why.to_string(),
        "it alone sent piece 9, and the hash of it is wrong"
    );
    assert!(outputs.contains(&Output::Ban {
        address: address(1).ip(),
        why
    }));
    assert_eq!(goodbye(1, &outputs), Some(&Why::Banned));
    assert_eq!(goodbye(1, &story.connect(1, Reserved::OURS)), Some(&Why::Banned));
    assert_eq!(
        story.seeded_by(2, Reserved::OURS).len(),
        4,
        "the piece is asked for again"
    );
}

#[test]
fn of_two_who_sent_a_wrong_piece_the_liar_is_found_by_itself() {
    let mut story = Story::nearly_done();
    let reqq = |reqq| ExtensionHandshake {
        reqq: Some(reqq),
        ..ExtensionHandshake::default()
    };
    for peer in [1, 2] {
        story.connect(peer, Reserved::OURS);
        story.hear(
            peer,
            Message::Extended {
                id: 0,
                payload: reqq(2).encode(),
            },
        );
        story.hear(peer, Message::HaveAll);
    }
    let asked: Vec<_> = [1, 2]
        .map(|peer| requests(peer, &story.hear(peer, Message::Unchoke)))
        .into();
    assert_eq!(asked, [[span(9, 0), span(9, 1)], [span(9, 2), span(9, 3)]]);
    for (peer, spans) in [1, 2].into_iter().zip(asked) {
        for span in spans {
            story.give(peer, span);
        }
    }
    let piece = geometry().piece(9).unwrap();
    let wrong = story.tell(Input::Verified { piece, good: false });
    assert!(!wrong.iter().any(|output| matches!(output, Output::Ban { .. })));
    let alone: Vec<u8> = [1, 2]
        .into_iter()
        .filter(|peer| !requests(*peer, &wrong).is_empty())
        .collect();
    let [suspect] = alone[..] else {
        panic!("one of them has the piece for itself: {wrong:?}")
    };
    for number in 0..4 {
        story.give(suspect, span(9, number));
    }
    let outputs = story.tell(Input::Verified { piece, good: false });
    let why = Why::WrongPiece(9);
    assert!(outputs.contains(&Output::Ban {
        address: address(suspect).ip(),
        why
    }));
}

#[test]
fn blocks_that_nobody_asked_for_end_the_connection() {
    let mut story = Story::leecher();
    story.connect(1, Reserved::OURS);
    let outputs = story.give(1, span(0, 0));
    assert_eq!(
        goodbye(1, &outputs),
        Some(&Why::Unrequested {
            piece: 0,
            begin: 0,
            length: 16_384
        })
    );
}

#[test]
fn without_the_fast_extension_a_choke_forgets_the_requests_and_late_blocks_are_kept() {
    let mut story = Story::nearly_done();
    let asked = story.seeded_by(1, SLOW);
    story.hear(1, Message::Choke);
    assert_eq!(story.seeded_by(2, SLOW).len(), 4, "others are asked at once");
    let late = story.give(1, asked[0]);
    assert!(
        matches!(
            late[0],
            Output::Send {
                peer: PeerKey(2),
                message: Message::Cancel(_)
            }
        ),
        "{late:?}"
    );
    assert!(late.iter().any(|output| matches!(output, Output::Store { .. })));
    let second = story.give(2, asked[0]);
    assert!(
        !second.iter().any(|output| matches!(output, Output::Store { .. })),
        "stored twice"
    );
}

#[test]
fn a_peer_that_owes_blocks_for_a_minute_is_snubbed_and_others_are_asked() {
    let mut story = Story::nearly_done();
    let asked = story.seeded_by(1, Reserved::OURS);
    let waited = story.wait(61);
    let cancels = sent(1, &waited)
        .iter()
        .filter(|message| matches!(message, Message::Cancel(_)))
        .count();
    assert_eq!(cancels, asked.len());
    assert_eq!(requests(1, &waited).len(), 1, "it may show that it is there");
    assert_eq!(story.seeded_by(2, Reserved::OURS).len(), 3, "the rest");
}

#[test]
fn silence_is_broken_before_two_minutes_and_silent_peers_are_let_go() {
    let mut story = Story::leecher();
    story.connect(1, Reserved::OURS);
    let spoken = sent(1, &story.wait(100));
    assert_eq!(
        spoken,
        [Message::KeepAlive],
        "one that dozes after its handshake is woken"
    );
    let spoken = sent(1, &story.wait(20));
    assert_eq!(spoken, [Message::KeepAlive]);
    assert_eq!(goodbye(1, &story.wait(31)), Some(&Why::Silent(150)));
}

#[test]
fn nobody_talks_to_himself() {
    let mut story = Story::leecher();
    let outputs = story.connect_as(1, Reserved::OURS, OURS, Direction::Outgoing);
    assert_eq!(goodbye(1, &outputs), Some(&Why::Myself));
}

#[test]
fn of_two_connections_that_crossed_the_smaller_peer_id_keeps_its_own() {
    // Ours is 50: against 60 our call counts, against 40 theirs.
    for (theirs, kept) in [(60, Direction::Outgoing), (40, Direction::Incoming)] {
        for first in [Direction::Outgoing, Direction::Incoming] {
            let mut story = Story::leecher();
            let second = if first == Direction::Outgoing {
                Direction::Incoming
            } else {
                Direction::Outgoing
            };
            story.connect_as(1, Reserved::OURS, PeerId([theirs; 20]), first);
            let outputs = story.connect_as(2, Reserved::OURS, PeerId([theirs; 20]), second);
            let dropped = if first == kept { 2 } else { 1 };
            assert_eq!(goodbye(dropped, &outputs), Some(&Why::Duplicate));
            assert_eq!(story.torrent.status().peers, 1);
        }
    }
}

#[test]
fn of_calls_to_several_addresses_the_caller_keeps_the_first_and_the_called_side_lets_it_choose() {
    for (direction, refused) in [
        (Direction::Outgoing, Some(&Why::Duplicate)),
        (Direction::Incoming, None),
    ] {
        let mut story = Story::leecher();
        story.connect_as(1, Reserved::OURS, PeerId([40; 20]), direction);
        let outputs = story.connect_as(2, Reserved::OURS, PeerId([40; 20]), direction);
        assert_eq!(goodbye(2, &outputs), refused);
        assert_eq!(goodbye(1, &outputs), None);
    }
}

#[test]
fn a_peer_that_calls_and_calls_is_refused_in_the_end() {
    let mut story = Story::leecher();
    let refused = (1..=9).filter(|number| {
        let outputs = story.connect_as(*number, Reserved::OURS, PeerId([40; 20]), Direction::Incoming);
        goodbye(*number, &outputs).is_some()
    });
    assert_eq!(refused.collect::<Vec<_>>(), [9]);
}

#[test]
fn a_second_connection_long_after_the_first_is_refused() {
    let mut story = Story::leecher();
    story.connect_as(1, Reserved::OURS, PeerId([40; 20]), Direction::Outgoing);
    story.wait(11);
    let outputs = story.connect_as(2, Reserved::OURS, PeerId([40; 20]), Direction::Incoming);
    assert_eq!(goodbye(2, &outputs), Some(&Why::Duplicate));
}

#[test]
fn addresses_are_called_once_and_connections_bounded() {
    let settings = Settings {
        connections_max: 2,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&[]), settings);
    let addresses = [1, 2, 3, 1].map(address).to_vec();
    let dials = story.tell(Input::Peers { addresses });
    let called = |outputs: &[Output]| -> Vec<u8> {
        let is_called = |peer: &u8| {
            outputs.contains(&Output::Dial {
                address: address(*peer),
            })
        };
        (1..=3).filter(is_called).collect()
    };
    let (first, last) = (
        called(&dials),
        (1..=3).find(|peer| !called(&dials).contains(peer)),
    );
    assert_eq!((dials.len(), first.len()), (2, 2));
    for peer in &first {
        story.connect_as(*peer, Reserved::OURS, PeerId([*peer; 20]), Direction::Outgoing);
    }
    for peer in &first {
        story.hear(*peer, Message::Interested);
    }
    assert_eq!(
        goodbye(7, &story.connect(7, Reserved::OURS)),
        Some(&Why::TooManyConnections(2))
    );
    let next = story.tell(Input::Disconnected { peer: key(first[0]) });
    assert_eq!(called(&next), Vec::from_iter(last));
}

#[test]
fn who_wants_nothing_makes_room_for_who_comes() {
    let settings = Settings {
        connections_max: 2,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&[]), settings);
    story.connect(1, Reserved::OURS);
    story.connect(2, Reserved::OURS);
    story.hear(1, Message::Interested);
    let outputs = story.connect(3, Reserved::OURS);
    assert_eq!(goodbye(2, &outputs), Some(&Why::TooManyConnections(2)));
    assert_eq!(story.torrent.status().peers, 2);
}

#[test]
fn one_address_with_many_places_makes_room_for_another() {
    let settings = Settings {
        connections_max: 6,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&[]), settings);
    let mut knock = |number: u8, ip: [u8; 4]| {
        let handshake = Handshake {
            reserved: Reserved::OURS,
            info_hash: story.torrent.identity.info_hash,
            peer_id: PeerId([number; 20]),
        };
        let outputs = story.tell(Input::Connected {
            peer: key(number),
            address: (ip, 5_000 + u16::from(number)).into(),
            direction: Direction::Incoming,
            handshake,
        });
        story.hear(number, Message::Interested);
        outputs
    };
    for number in 1..=6 {
        knock(number, [10, 0, 0, 1]);
    }
    let crowd = knock(7, [10, 0, 0, 1]);
    assert_eq!(goodbye(7, &crowd), Some(&Why::TooManyConnections(6)));
    for number in 8..=9 {
        let friend = knock(number, [10, 0, 0, number]);
        assert_eq!(goodbye(number, &friend), None);
    }
    let third = knock(10, [10, 0, 0, 10]);
    assert!(goodbye(10, &third).is_some(), "four from one house are no crowd");
}

#[test]
fn a_hungry_torrent_asks_for_peers_now_and_then() {
    let mut story = Story::leecher();
    let count = |outputs: Vec<Output>| {
        outputs
            .iter()
            .filter(|output| **output == Output::WantPeers)
            .count()
    };
    assert_eq!(count(story.wait(29)), 0);
    assert_eq!(count(story.wait(2)), 1);
    assert_eq!(count(story.wait(120)), 2);
    assert_eq!(count(Story::seed().wait(120)), 0);
}

#[test]
fn an_idle_seed_has_no_deadline() {
    assert_eq!(Story::seed().torrent.deadline(), None);
}

/// A magnet link meets a peer that has told its pieces early; the metadata make sense of them.
#[test]
fn what_a_peer_said_before_the_metadata_counts_after_them() {
    let mut story = Story::with(None, Settings::default());
    assert_eq!(sent(1, &story.connect(1, Reserved::OURS))[0], Message::HaveNone);
    story.hear(1, Message::Bitfield(Bytes::from_static(&[0x40, 0])));
    story.hear(1, Message::Have(9));
    let offer = ExtensionHandshake {
        ut_metadata: Some(5),
        metadata_size: Some(20_000),
        ..ExtensionHandshake::default()
    };
    let asked = sent(
        1,
        &story.hear(
            1,
            Message::Extended {
                id: 0,
                payload: offer.encode(),
            },
        ),
    );
    let request = |piece| Message::Extended {
        id: 5,
        payload: MetadataMessage::Request { piece }.encode(),
    };
    assert_eq!(asked, [request(0), request(1)]);
    let mut outputs = Vec::new();
    for piece in [1, 0] {
        let begin = (piece * METADATA_BLOCK_LENGTH) as usize;
        let data = info().slice(begin..20_000.min(begin + 16_384));
        let payload = MetadataMessage::Data {
            piece,
            total_size: 20_000,
            data,
        }
        .encode();
        outputs.extend(story.hear(1, Message::Extended { id: 1, payload }));
    }
    assert_eq!(outputs, [Output::Metadata { info: info() }]);
    let have = Bitfield::none(&geometry());
    let content = Content {
        geometry: geometry(),
        have,
        info: info(),
        private: false,
        files: std::sync::Arc::default(),
        trees: shared::merkle::Trees::default(),
    };
    let outputs = story.tell(Input::Content(content));
    assert!(sent(1, &outputs).contains(&Message::Interested));
    let mut asked: Vec<u32> = requests(1, &story.hear(1, Message::Unchoke))
        .iter()
        .map(|span| span.piece)
        .collect();
    asked.sort_unstable();
    assert_eq!(asked, [1, 1, 1, 1, 9, 9, 9, 9]);
}

#[test]
fn metadata_are_given_to_who_asks_and_refused_while_we_have_none() {
    let offer = ExtensionHandshake {
        ut_metadata: Some(5),
        ..ExtensionHandshake::default()
    };
    let ask = MetadataMessage::Request { piece: 1 }.encode();
    let data = MetadataMessage::Data {
        piece: 1,
        total_size: 20_000,
        data: info().slice(16_384..),
    };
    for (mut story, answer) in [
        (Story::seed(), data),
        (
            Story::with(None, Settings::default()),
            MetadataMessage::Reject { piece: 1 },
        ),
    ] {
        story.connect(1, Reserved::OURS);
        story.hear(
            1,
            Message::Extended {
                id: 0,
                payload: offer.encode(),
            },
        );
        let outputs = story.hear(
            1,
            Message::Extended {
                id: 1,
                payload: ask.clone(),
            },
        );
        assert_eq!(
            sent(1, &outputs),
            [Message::Extended {
                id: 5,
                payload: answer.encode()
            }]
        );
    }
}

#[test]
fn a_peer_that_refuses_many_pieces_still_gives_the_others() {
    for good in 0..10 {
        let settings = Settings {
            requests_out_max: 1,
            ..Settings::default()
        };
        let mut story = Story::with(Some(&[]), settings);
        let mut asked = story.seeded_by(1, Reserved::OURS);
        let (mut given, mut refused) = (0, 0);
        while let Some(span) = asked.pop() {
            let answer = if span.piece == good {
                given += 1;
                story.give(1, span)
            } else {
                refused += 1;
                story.hear(1, Message::Reject(span))
            };
            asked.extend(requests(1, &answer));
        }
        assert_eq!((given, refused), (4, 9), "each piece is tried once");
        let again = requests(1, &story.wait(31));
        assert_eq!(again.len(), 1, "and once more when things may have changed");
    }
}

#[test]
fn broken_rules_end_the_connection_and_a_habit_of_it_bans() {
    let rude = [
        (Reserved::OURS, Message::Bitfield(Bytes::from_static(&[0xff]))),
        (Reserved::OURS, Message::Have(10)),
        (SLOW, Message::HaveAll),
        (SLOW, Message::Reject(span(0, 0))),
        (
            Reserved::OURS,
            Message::Extended {
                id: 0,
                payload: Bytes::from_static(b"le"),
            },
        ),
    ];
    let mut story = Story::leecher();
    let mut banned = 0;
    for (reserved, message) in rude {
        story.connect(1, reserved);
        let outputs = story.hear(1, message);
        assert!(goodbye(1, &outputs).is_some(), "{outputs:?}");
        banned += outputs
            .iter()
            .filter(|output| matches!(output, Output::Ban { .. }))
            .count();
    }
    assert_eq!(banned, 1, "with the fifth");
}

fn any_message() -> impl Strategy<Value = Message> {
    let span = || {
        (
            0_u32..12,
            0_u32..5,
            prop::sample::select(vec![16_384, 1, 131_073, u32::MAX]),
        )
            .prop_map(|(piece, block, length)| Span {
                piece,
                begin: block * 16_384,
                length,
            })
    };
    let extended = prop_oneof![
        Just(b"d1:md11:ut_metadatai3ee13:metadata_sizei20000e4:reqqi3ee".to_vec()),
        Just(b"d8:msg_typei0e5:piecei0ee".to_vec()),
        Just(b"d8:msg_typei1e5:piecei1e10:total_sizei20000eexxxx".to_vec()),
        Just(b"d8:msg_typei2e5:piecei0ee".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop_oneof![
        Just(Message::KeepAlive),
        Just(Message::Choke),
        Just(Message::Unchoke),
        Just(Message::Interested),
        Just(Message::NotInterested),
        Just(Message::HaveAll),
        Just(Message::HaveNone),
        (0_u32..11).prop_map(Message::Have),
        prop::collection::vec(any::<u8>(), 2..3).prop_map(|bits| Message::Bitfield(bits.into())),
        (0_u8..=255).prop_map(|bits| Message::Bitfield(Bytes::from(vec![bits, 0xc0]))),
        span().prop_map(Message::Request),
        span().prop_map(Message::Cancel),
        span().prop_map(Message::Reject),
        (0_u32..11).prop_map(Message::AllowedFast),
        (0_u8..3, extended).prop_map(|(id, payload)| Message::Extended {
            id,
            payload: payload.into()
        }),
    ]
}

proptest! {
    /// Three peers say anything in any order, and get some of what they are owed; the invariants are checked at every step.
    #[test]
    fn whatever_strangers_say_the_torrent_keeps_its_head(
        kind in 0..4,
        steps in prop::collection::vec((0_u8..3, 0..12, any_message()), 1..150),
    ) {
        let mut story = match kind {
            0 => Story::seed(),
            1 => Story::with(None, Settings::default()),
            2 => Story::nearly_done(),
            _ => Story::with(Some(&[2, 3]), Settings { disk_credit: 10 * 16_384, ..Settings::default() }),
        };
        let mut owed: Vec<(u8, Span)> = Vec::new();
        for (peer, step, message) in steps {
            let outputs = match (step, owed.pop()) {
                (0, _) => story.connect(peer, if peer == 0 { SLOW } else { Reserved::OURS }),
                (1, _) => story.wait(1),
                (2 | 3, Some((peer, span))) => story.give(peer, span),
                (4, _) => story.tell(Input::Credit(16_384)),
                (5, _) if peer == 0 => story.tell(Input::StoreFailed { piece: geometry().piece(9).unwrap() }),
                (5, _) => story.tell(Input::DiskReady),
                (9, _) => story.tell(Input::Wishes(super::Wishes { sequential: peer == 0, ..super::Wishes::default() })),
                (10, _) => story.tell(Input::Lost { pieces: geometry().pieces().skip(7 + usize::from(peer)).collect() }),
                (11, _) if peer == 0 => story.tell(Input::Found { pieces: geometry().pieces().skip(8).collect() }),
                _ => story.hear(peer, message),
            };
            for output in outputs {
                match output {
                    Output::Send { peer, message: Message::Request(span) } => {
                        owed.push((u8::try_from(peer.0).unwrap(), span));
                    }
                    Output::Unfinished => _ = story.tell(Input::Disk { credit: 10 * 16_384 }),
                    Output::Verify { piece } => _ = story.tell(Input::Verified { piece, good: step > 2 }),
                    _ => (),
                }
            }
        }
    }
}
