//! Stories of what we give: lines, cancels, chokes, allowed-fast sets, pieces that are gone, super-seeding, bounds.

use std::collections::BTreeSet;

use super::*;
use shared::extension::{DontHave, LT_DONTHAVE_ID};

const ALL: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

fn with_slots(slots: usize) -> Settings {
    Settings {
        upload_slots: Some(slots),
        ..Settings::default()
    }
}

fn served(outputs: &[Output]) -> Vec<Block> {
    let blocks = outputs.iter().filter_map(|output| match output {
        Output::Serve { blocks, .. } => Some(blocks.clone()),
        _ => None,
    });
    blocks.flatten().collect()
}

fn handshake(extensions: ExtensionHandshake) -> Message {
    Message::Extended {
        id: 0,
        payload: extensions.encode(),
    }
}

fn upload_only(yes: bool) -> Message {
    handshake(ExtensionHandshake {
        upload_only: Some(yes),
        ..ExtensionHandshake::default()
    })
}

fn dont_have(piece: u32) -> Message {
    Message::Extended {
        id: LT_DONTHAVE_ID,
        payload: DontHave(piece).encode(),
    }
}

/// The pieces that this peer is told of one by one.
fn shown(peer: u8, outputs: &[Output]) -> Vec<u32> {
    let haves = sent(peer, outputs)
        .into_iter()
        .filter_map(|message| match message {
            Message::Have(piece) => Some(piece),
            _ => None,
        });
    haves.collect()
}

impl Story {
    /// A peer that may ask and asks for all forty blocks.
    fn asked_for_everything(&mut self, peer: u8, reserved: Reserved) -> Vec<Output> {
        self.connect(peer, reserved);
        self.hear(peer, Message::Interested);
        let spans = (0..10).flat_map(|piece| (0..4).map(move |block| span(piece, block)));
        spans
            .flat_map(|span| self.hear(peer, Message::Request(span)))
            .collect()
    }

    fn served(&mut self, peer: u8, bytes: u64) -> Vec<Output> {
        self.tell(Input::Served {
            peer: key(peer),
            bytes,
        })
    }

    fn empty_peer(&mut self, peer: u8) -> Vec<Output> {
        let mut outputs = self.connect(peer, Reserved::OURS);
        outputs.extend(self.hear(peer, Message::HaveNone));
        outputs
    }
}

#[test]
fn a_peer_has_a_window_under_way_and_what_it_cancels_of_the_rest_never_leaves() {
    let mut story = Story::seed();
    assert_eq!(served(&story.asked_for_everything(1, Reserved::OURS)).len(), 2);
    assert_eq!(sent(1, &story.hear(1, Message::Cancel(span(0, 0)))), []);
    let cancelled = story.hear(1, Message::Cancel(span(4, 0)));
    assert_eq!(sent(1, &cancelled), [Message::Reject(span(4, 0))]);
    let more = served(&story.served(1, 2 * 16_384));
    assert_eq!(more, [block(0, 2), block(0, 3)]);
    let more = served(&story.served(1, 2 * 16_384));
    assert_eq!(more.first(), Some(&block(1, 0)));
    assert_eq!(story.torrent.peer_facts()[0].requests_in, 35);
}

#[test]
fn a_choke_takes_back_what_has_not_left_and_says_so_where_it_can() {
    // The piece that was begun may be finished, where the peer can be told so.
    let finish = [Message::AllowedFast(0), Message::Choke];
    for (reserved, told, rejects) in [(Reserved::OURS, &finish[..], 36), (SLOW, &finish[1..], 0)] {
        let mut story = Story::seed();
        story.asked_for_everything(1, reserved);
        let limit = Input::Limits {
            connections: 100,
            upload_slots: Some(0),
        };
        let messages = sent(1, &story.tell(limit));
        assert!(messages.starts_with(told), "{messages:?}");
        assert_eq!(messages.len(), told.len() + rejects);
        let rest = served(&story.served(1, 2 * 16_384));
        assert_eq!(rest.len(), if rejects > 0 { 2 } else { 0 });
        assert_eq!(served(&story.served(1, 2 * 16_384)), []);
    }
}

#[test]
fn a_block_that_cannot_be_read_is_refused_and_the_next_leaves_in_its_place() {
    let mut story = Story::seed();
    story.asked_for_everything(1, Reserved::OURS);
    let outputs = story.tell(Input::Unserved {
        peer: key(1),
        block: block(0, 1),
    });
    assert_eq!(sent(1, &outputs), [Message::Reject(span(0, 1))]);
    assert_eq!(served(&outputs), [block(0, 2)]);
}

#[test]
fn a_newcomer_that_must_wait_may_have_a_piece_all_the_same_but_not_for_ever() {
    let mut story = Story::with(Some(&ALL), with_slots(1));
    story.connect(1, Reserved::OURS);
    story.hear(1, Message::Interested);
    story.empty_peer(2);
    let told = sent(2, &story.hear(2, Message::Interested));
    let [Message::AllowedFast(piece)] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        served(&story.hear(2, Message::Request(span(piece, 1)))),
        [block(piece, 1)]
    );
    let other = span((piece + 1) % 10, 0);
    assert_eq!(
        sent(2, &story.hear(2, Message::Request(other))),
        [Message::Reject(other)]
    );
    let more = (0..20).map(|_| {
        story.served(2, 16_384);
        served(&story.hear(2, Message::Request(span(piece, 0)))).len()
    });
    assert_eq!(more.sum::<usize>(), 7, "twice its four blocks, with the first");
    // It is told once, and who has many pieces is told nothing.
    story.hear(2, Message::NotInterested);
    assert_eq!(sent(2, &story.hear(2, Message::Interested)), []);
}

#[test]
fn a_peer_that_is_complete_is_told_of_as_a_copy_once() {
    let mut story = Story::leecher();
    story.connect(1, Reserved::OURS);
    let copy = Output::CopySeen {
        address: address(1).ip(),
    };
    assert!(story.hear(1, Message::HaveAll).contains(&copy));
    story.tell(Input::Disconnected { peer: key(1) });
    story.connect(1, Reserved::OURS);
    assert!(!story.hear(1, Message::HaveAll).contains(&copy));
}

#[test]
fn a_partial_seed_is_let_go_by_a_seed_unless_it_asks_for_something() {
    let mut story = Story::seed();
    story.empty_peer(1);
    assert_eq!(
        goodbye(1, &story.hear(1, upload_only(true))),
        Some(&Why::BothSeeds)
    );
    story.empty_peer(2);
    story.hear(2, Message::Interested);
    assert_eq!(goodbye(2, &story.hear(2, upload_only(true))), None);
    // One that still takes something is kept, and we take from it what it has.
    let mut story = Story::leecher();
    story.connect(1, Reserved::OURS);
    story.hear(1, Message::Bitfield(Bytes::from_static(&[0xf0, 0])));
    assert_eq!(goodbye(1, &story.hear(1, upload_only(true))), None);
    assert_eq!(requests(1, &story.hear(1, Message::Unchoke)).len(), 8);
}

#[test]
fn everyone_is_told_when_we_want_no_more() {
    let mut story = Story::nearly_done();
    story.empty_peer(2);
    let asked = story.seeded_by(1, Reserved::OURS);
    for span in asked {
        story.give(1, span);
    }
    let piece = geometry().piece(9).unwrap();
    let done = sent(2, &story.tell(Input::Verified { piece, good: true }));
    let Some(Message::Extended { id: 0, payload }) = done.last() else {
        panic!("{done:?}");
    };
    assert_eq!(
        ExtensionHandshake::decode(payload).unwrap().upload_only,
        Some(true)
    );
}

#[test]
fn a_piece_that_a_peer_has_no_more_is_not_asked_of_it() {
    for reserved in [Reserved::OURS, SLOW] {
        let mut story = Story::leecher();
        let gone = story.seeded_by(1, reserved)[0].piece;
        let outputs = story.hear(1, dont_have(gone));
        assert!(requests(1, &outputs).iter().all(|span| span.piece != gone));
        let mut asked = story.torrent.sessions[&key(1)].asked.iter();
        let waits = asked.any(|block| block.piece().number() == gone);
        assert_eq!(waits, reserved != SLOW, "with BEP 6 it refuses itself");
        // Lost and found again, twice, and gone: the counts must bear it.
        for piece in [3, 4] {
            story.hear(1, dont_have(piece));
            story.hear(1, Message::Have(piece));
        }
        story.hear(1, Message::Have(3));
        story.hear(1, dont_have(5));
        story.tell(Input::Disconnected { peer: key(1) });
    }
    let mut story = Story::leecher();
    story.connect(1, Reserved::OURS);
    assert_eq!(
        goodbye(1, &story.hear(1, dont_have(10))),
        Some(&Why::NoSuchPiece(10))
    );
}

#[test]
fn pieces_that_we_have_no_more_are_taken_back_and_told_to_who_understands() {
    let mut story = Story::seed();
    story.connect(2, Reserved::OURS);
    story.hear(
        2,
        handshake(ExtensionHandshake {
            lt_donthave: Some(9),
            ..ExtensionHandshake::default()
        }),
    );
    story.asked_for_everything(1, Reserved::OURS);
    let piece = geometry().piece(8).unwrap();
    story.torrent.content.as_mut().unwrap().have.unset(piece);
    story.torrent.tell_lost(story.now, &[piece]);
    let outputs: Vec<Output> = std::iter::from_fn(|| story.torrent.poll()).collect();
    let payload = DontHave(8).encode();
    assert_eq!(sent(2, &outputs), [Message::Extended { id: 9, payload }]);
    let rejected: Vec<Message> = (0..4).map(|number| Message::Reject(span(8, number))).collect();
    assert_eq!(sent(1, &outputs), rejected);
}

#[test]
fn a_super_seeder_shows_two_pieces_and_the_next_when_they_are_seen_elsewhere() {
    let settings = Settings {
        super_seed: true,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&ALL), settings);
    let greeting = story.connect(1, Reserved::OURS);
    assert_eq!(sent(1, &greeting)[0], Message::HaveNone);
    let first = shown(1, &story.hear(1, Message::HaveNone));
    let second = shown(2, &story.empty_peer(2));
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(first.iter().all(|piece| !second.contains(piece)));
    // What it was not shown, a peer cannot have.
    story.hear(1, Message::Interested);
    let hidden = span(second[0], 0);
    assert_eq!(
        sent(1, &story.hear(1, Message::Request(hidden))),
        [Message::Reject(hidden)]
    );
    assert_eq!(
        served(&story.hear(1, Message::Request(span(first[0], 0)))),
        [block(first[0], 0)]
    );
    // Its own word moves nothing; that of another does.
    assert!(shown(1, &story.hear(1, Message::Have(first[0]))).is_empty());
    let third = shown(1, &story.hear(2, Message::Have(first[0])));
    assert_eq!(third.len(), 1);
    // All is somewhere: from now on it seeds like any other.
    let end: Vec<Output> = (0..10)
        .flat_map(|piece| story.hear(2, Message::Have(piece)))
        .collect();
    let mut told = [first, third, shown(1, &end)].concat();
    told.sort_unstable();
    assert_eq!(told, ALL);
    story.tell(Input::Disconnected { peer: key(1) });
    assert_eq!(sent(3, &story.connect(3, Reserved::OURS))[0], Message::HaveAll);
}

#[test]
fn a_super_seeder_does_not_keep_a_lonely_peer_waiting() {
    let mut story = Story::seed();
    story.tell(Input::SuperSeed(true));
    let mut told = shown(1, &story.empty_peer(1));
    while let Some(piece) = told.pop() {
        story.hear(1, Message::Interested);
        let more = shown(1, &story.hear(1, Message::Have(piece)));
        told.extend(more);
    }
    assert!(story.torrent.offers.is_none());
    assert_eq!(story.torrent.status().seeds, 0, "it was let go as a seed");
}

#[test]
fn a_peer_that_does_nothing_with_what_it_was_shown_delays_others_for_half_a_minute() {
    let mut story = Story::seed();
    story.tell(Input::SuperSeed(true));
    let told = (1..=5).flat_map(|peer| shown(peer, &story.empty_peer(peer)));
    assert_eq!(told.collect::<BTreeSet<u32>>().len(), 10);
    story.empty_peer(6);
    assert!(shown(6, &story.wait(29)).is_empty());
    assert_eq!(shown(6, &story.wait(2)).len(), 2);
    story.tell(Input::SuperSeed(false));
    assert_eq!(sent(7, &story.connect(7, Reserved::OURS))[0], Message::HaveAll);
}

#[test]
fn fewer_connections_let_the_idle_go_first() {
    let mut story = Story::leecher();
    for peer in 1..=6 {
        story.connect(peer, Reserved::OURS);
    }
    story.seeded_by(7, Reserved::OURS);
    story.hear(3, Message::Interested);
    let outputs = story.tell(Input::Limits {
        connections: 2,
        upload_slots: None,
    });
    let gone: Vec<u8> = (1..=7)
        .filter(|peer| goodbye(*peer, &outputs).is_some())
        .collect();
    assert_eq!(gone, [1, 2, 4, 5, 6]);
    assert_eq!(story.torrent.status().peers, 2);
}

#[test]
fn of_those_who_wait_for_nothing_useful_a_newcomer_that_ranks_higher_takes_the_place_of_the_lowest() {
    let settings = Settings {
        connections_max: 3,
        ..with_slots(0)
    };
    let mut story = Story::with(Some(&[]), settings);
    for peer in 1..=3 {
        story.connect(peer, Reserved::OURS);
        story.hear(peer, Message::Interested);
    }
    let rank = |story: &Story, peer: u8| story.torrent.outward.priority(address(peer));
    let lowest = (1..=3).min_by_key(|peer| rank(&story, *peer)).unwrap();
    let higher = (10..200)
        .find(|peer| rank(&story, *peer) > rank(&story, lowest))
        .unwrap();
    let lower = (10..200)
        .find(|peer| rank(&story, *peer) < rank(&story, lowest))
        .unwrap();
    assert!(
        goodbye(higher, &story.connect(higher, Reserved::OURS)).is_some(),
        "they have just come"
    );
    story.wait(60);
    assert!(goodbye(lower, &story.connect(lower, Reserved::OURS)).is_some());
    let outputs = story.connect(higher, Reserved::OURS);
    assert_eq!(goodbye(lowest, &outputs), Some(&Why::TooManyConnections(3)));
    assert_eq!(goodbye(higher, &outputs), None);
}
