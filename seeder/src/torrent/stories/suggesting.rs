//! Stories of suggestions, of pieces begun when a slot is lost, and of whom a seed believes.

use std::collections::BTreeSet;

use super::*;

const ALL: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

fn with_slots(slots: usize) -> Settings {
    Settings {
        upload_slots: Some(slots),
        ..Settings::default()
    }
}

/// The pieces that this peer is told to take.
fn suggested(peer: u8, outputs: &[Output]) -> Vec<u32> {
    let piece = |message| match message {
        Message::Suggest(piece) => Some(piece),
        _ => None,
    };
    sent(peer, outputs).into_iter().filter_map(piece).collect()
}

impl Story {
    /// A peer that has nothing and has a slot; gives what it is suggested.
    fn taker(&mut self, peer: u8) -> Vec<u32> {
        self.connect(peer, Reserved::OURS);
        self.hear(peer, Message::HaveNone);
        suggested(peer, &self.hear(peer, Message::Interested))
    }
}

#[test]
fn a_seed_suggests_to_each_who_has_a_slot_pieces_that_nobody_else_was_told_of() {
    let mut story = Story::with(Some(&ALL), with_slots(4));
    let first = story.taker(1);
    let second = story.taker(2);
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(first.iter().all(|piece| !second.contains(piece)));
    // With the first request for one of them comes the next; requests for the same piece bring no more.
    let next = suggested(1, &story.hear(1, Message::Request(span(first[0], 0))));
    assert_eq!(next.len(), 1);
    assert!(suggested(1, &story.hear(1, Message::Request(span(first[0], 1)))).is_empty());
    // What another peer has needs no hint.
    story.connect(3, Reserved::OURS);
    let known: BTreeSet<u32> = [&first[..], &second, &next].concat().into_iter().collect();
    let theirs: Vec<u32> = ALL.into_iter().filter(|piece| !known.contains(piece)).collect();
    let (kept, has) = theirs.split_last().unwrap();
    story.hear(3, Message::HaveNone);
    for piece in has {
        story.hear(3, Message::Have(*piece));
    }
    assert_eq!(story.taker(4), [*kept]);
}

#[test]
fn what_a_peer_did_not_ask_for_before_it_lost_its_slot_is_suggested_to_others() {
    let mut story = Story::with(Some(&ALL), with_slots(1));
    let first: BTreeSet<u32> = story.taker(1).into_iter().collect();
    story.connect(2, Reserved::OURS);
    story.hear(2, Message::HaveNone);
    for piece in ALL.into_iter().filter(|piece| !first.contains(piece)) {
        story.hear(2, Message::Have(piece));
    }
    story.hear(2, Message::Interested);
    let outputs = story.tell(Input::Disconnected { peer: key(1) });
    let second: BTreeSet<u32> = suggested(2, &outputs).into_iter().collect();
    assert_eq!(second, first);
}

#[test]
fn who_claims_everything_ends_neither_hints_nor_super_seeding() {
    for super_seed in [false, true] {
        let settings = Settings {
            super_seed,
            ..Settings::default()
        };
        let mut story = Story::with(Some(&ALL), settings);
        story.taker(1);
        story.connect(9, Reserved::OURS);
        let goodbye = story.hear(9, Message::HaveAll);
        assert!(
            goodbye
                .iter()
                .any(|output| matches!(output, Output::Disconnect { .. }))
        );
        assert_eq!(story.torrent.offers.is_some(), super_seed);
        let shown = if super_seed {
            sent(2, &story.empty(2))
                .iter()
                .filter(|message| matches!(message, Message::Have(_)))
                .count()
        } else {
            story.taker(2).len()
        };
        assert_eq!(shown, 2);
    }
}

impl Story {
    fn empty(&mut self, peer: u8) -> Vec<Output> {
        let mut outputs = self.connect(peer, Reserved::OURS);
        outputs.extend(self.hear(peer, Message::HaveNone));
        outputs
    }
}

#[test]
fn who_loses_its_slot_in_the_middle_of_a_piece_may_finish_it_and_no_other() {
    let mut story = Story::with(Some(&ALL), with_slots(1));
    let piece = story.taker(1)[0];
    story.hear(1, Message::Request(span(piece, 0)));
    story.tell(Input::Served {
        peer: key(1),
        bytes: 16_384,
    });
    let limit = Input::Limits {
        connections: 100,
        upload_slots: Some(0),
    };
    let told = sent(1, &story.tell(limit));
    assert_eq!(told, [Message::AllowedFast(piece), Message::Choke]);
    let rest = story.hear(1, Message::Request(span(piece, 1)));
    let left =
        |output: &Output| matches!(output, Output::Serve { blocks, .. } if *blocks == [block(piece, 1)]);
    assert!(rest.iter().any(left));
    let other = span((piece + 1) % 10, 0);
    assert_eq!(
        sent(1, &story.hear(1, Message::Request(other))),
        [Message::Reject(other)]
    );
}

#[test]
fn of_pieces_that_are_equally_rare_the_suggested_one_is_asked_for() {
    for piece in [2, 7] {
        let mut story = Story::leecher();
        story.connect(1, Reserved::OURS);
        story.hear(1, Message::HaveAll);
        story.hear(1, Message::Suggest(piece));
        assert_eq!(
            requests(1, &story.hear(1, Message::Unchoke))[..4],
            [0, 1, 2, 3].map(|number| span(piece, number))
        );
    }
}

#[test]
fn a_suggestion_of_what_others_have_is_worth_nothing_where_something_is_rarer() {
    let mut story = Story::with(Some(&[0, 1, 2, 3]), Settings::default());
    story.connect(2, Reserved::OURS);
    story.hear(2, Message::Bitfield(Bytes::from_static(&[0b0000_1111, 0x80])));
    story.connect(1, Reserved::OURS);
    story.hear(1, Message::HaveAll);
    story.hear(1, Message::Suggest(6));
    let first = requests(1, &story.hear(1, Message::Unchoke))[0];
    assert_eq!(first.piece, 9, "the one that the other has not");
}

#[test]
fn suggestions_without_end_are_remembered_up_to_a_bound_and_then_cost() {
    let mut story = Story::leecher();
    story.connect(1, Reserved::OURS);
    story.hear(1, Message::HaveNone);
    let mut last = Vec::new();
    for number in 0..5_000 {
        last = story.hear(1, Message::Suggest(number % 10));
        if !last.is_empty() {
            break;
        }
    }
    assert!(
        matches!(goodbye(1, &last), Some(Why::TooManyMessages(_))),
        "{last:?}"
    );
    let mut story = Story::leecher();
    story.connect(1, Reserved::OURS);
    assert_eq!(
        goodbye(1, &story.hear(1, Message::Suggest(10))),
        Some(&Why::NoSuchPiece(10))
    );
}

#[test]
fn two_partial_seeds_part_when_neither_asks_any_more() {
    let mut story = Story::seed();
    story.taker(1);
    let done = ExtensionHandshake {
        upload_only: Some(true),
        ..ExtensionHandshake::default()
    };
    let done = Message::Extended {
        id: 0,
        payload: done.encode(),
    };
    assert_eq!(goodbye(1, &story.hear(1, done)), None, "it still asks");
    let outputs = story.hear(1, Message::NotInterested);
    assert_eq!(goodbye(1, &outputs), Some(&Why::BothSeeds));
}
