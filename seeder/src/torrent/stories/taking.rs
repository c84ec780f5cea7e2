//! What we take: what is wanted, what is lost, who lies, who costs too much, and what the web gives.

use super::super::{FileSpan, PieceState, Priority, Wishes};
use super::*;

/// Ten files, a piece each, of which those with a dot are wanted: `..x...`.
fn wishing(drawing: &str) -> Story {
    let mut story = Story::leecher();
    let span = |piece| FileSpan {
        start: geometry().start_of(piece),
        length: geometry().length_of(piece).into(),
        padding: false,
    };
    story.torrent.content.as_mut().unwrap().files = geometry().pieces().map(span).collect();
    story.tell(wishes(drawing));
    story
}

fn wishes(drawing: &str) -> Input {
    let read = |letter| {
        if letter == '.' {
            Priority::Normal
        } else {
            Priority::Skip
        }
    };
    Input::Wishes(Wishes {
        files: drawing.chars().map(read).collect(),
        sequential: false,
    })
}

fn piece(number: u32) -> shared::geometry::PieceIndex {
    geometry().piece(number).unwrap()
}

fn everything() -> Message {
    Message::Bitfield(Bytes::copy_from_slice(Bitfield::all(&geometry()).as_bytes()))
}

fn takes(story: &mut Story, peer: u8, spans: &[Span], byte: u8) {
    for span in spans {
        let data = Bytes::from(vec![byte; span.length as usize]);
        story.hear(
            peer,
            Message::Piece {
                piece: span.piece,
                begin: span.begin,
                data,
            },
        );
    }
}

#[test]
fn only_what_is_wanted_is_asked_for_and_all_of_it_is_the_end() {
    let mut story = wishing("xxx.xxxxxx");
    story.connect(1, Reserved::OURS);
    assert_eq!(sent(1, &story.hear(1, Message::Have(0))), []);
    assert_eq!(sent(1, &story.hear(1, Message::Have(3))), [Message::Interested]);
    let asked = requests(1, &story.hear(1, Message::Unchoke));
    assert_eq!(asked, [0, 1, 2, 3].map(|number| span(3, number)));
    let status = story.torrent.status();
    assert_eq!((status.wanted_count, status.left_bytes), (1, 65_536));
    takes(&mut story, 1, &asked, 0);
    let done = story.tell(Input::Verified {
        piece: piece(3),
        good: true,
    });
    assert!(done.contains(&Output::Finished));
    assert!(sent(1, &done).contains(&Message::NotInterested));
    assert!(story.torrent.is_finished() && !story.torrent.is_complete());
    let drawn = story.torrent.piece_states();
    assert_eq!(drawn[2..4], [PieceState::Skipped, PieceState::Verified]);
    assert_eq!(story.torrent.availability()[..4], [1, 0, 0, 1]);
}

#[test]
fn who_wants_more_after_the_end_waits_for_the_disk() {
    let mut story = wishing("xxxxxxxxxx");
    story.connect(1, Reserved::OURS);
    // Two that want nothing would part; this one lacks the last piece.
    story.hear(1, Message::Bitfield(Bytes::from_static(&[0xff, 0x80])));
    story.hear(1, Message::Unchoke);
    let more = story.tell(wishes("xxxxx.xxxx"));
    assert!(more.contains(&Output::Unfinished));
    assert_eq!(sent(1, &more).first(), Some(&Message::Interested));
    let credit = 2 * 16_384;
    assert_eq!(
        requests(1, &story.tell(Input::Disk { credit })),
        [span(5, 0), span(5, 1)]
    );
}

#[test]
fn a_download_without_memory_asks_for_it_and_one_that_gave_it_back_asks_again() {
    let settings = Settings {
        disk_credit: 0,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&[]), settings);
    let first = story.tell(Input::Tick);
    assert!(first.contains(&Output::Unfinished));
    assert_eq!(story.seeded_by(1, Reserved::OURS), []);
    let open = Input::Disk { credit: 2 * 16_384 };
    let asked = requests(1, &story.tell(open));
    assert_eq!(asked.len(), 2);
    let closed = story.tell(Input::DiskClosed);
    assert!(closed.contains(&Output::Unfinished));
    for span in asked {
        assert!(sent(1, &closed).contains(&Message::Cancel(span)));
    }
    let open = Input::Disk { credit: 3 * 16_384 };
    assert_eq!(requests(1, &story.tell(open)).len(), 3);
}

#[test]
fn what_is_wanted_no_more_is_cancelled() {
    let mut story = wishing("..........");
    let asked = story.seeded_by(1, Reserved::OURS);
    let cancelled = sent(1, &story.tell(wishes("xxxxxxxxxx")));
    let cancels = asked.iter().map(|span| Message::Cancel(*span));
    assert!(cancels.into_iter().all(|cancel| cancelled.contains(&cancel)));
    assert!(cancelled.contains(&Message::NotInterested));
    assert!(story.torrent.is_finished());
}

#[test]
fn a_lost_piece_is_refused_and_fetched_again_where_something_may_be_written() {
    for downloads in [false, true] {
        let settings = Settings {
            downloads,
            ..Settings::default()
        };
        let mut story = Story::with(Some(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), settings);
        story.connect(1, Reserved::OURS);
        story.hear(1, Message::Interested);
        let pieces = vec![piece(4)];
        let lost = story.tell(Input::Lost { pieces });
        assert_eq!(lost.contains(&Output::Unfinished), downloads);
        assert_eq!(story.torrent.status().left_count, 1);
        let refused = story.hear(1, Message::Request(span(4, 0)));
        assert_eq!(sent(1, &refused), [Message::Reject(span(4, 0))]);
        let interested = sent(1, &story.hear(1, Message::Have(4))).contains(&Message::Interested);
        assert_eq!(interested, downloads);
        let found = story.tell(Input::Found {
            pieces: vec![piece(4)],
        });
        assert!(sent(1, &found).contains(&Message::Have(4)));
        assert!(story.torrent.is_complete());
    }
}

#[test]
fn of_two_who_sent_a_wrong_piece_exactly_the_liar_is_banned_once_it_is_right() {
    let mut story = Story::nearly_done();
    let reqq = ExtensionHandshake {
        reqq: Some(2),
        ..ExtensionHandshake::default()
    };
    for peer in [1, 2] {
        story.connect(peer, Reserved::OURS);
        let payload = reqq.encode();
        story.hear(peer, Message::Extended { id: 0, payload });
        story.hear(peer, Message::HaveAll);
    }
    for (peer, byte) in [(1, 0), (2, 1)] {
        let asked = requests(peer, &story.hear(peer, Message::Unchoke));
        takes(&mut story, peer, &asked, byte);
    }
    let again = story.tell(Input::Verified {
        piece: piece(9),
        good: false,
    });
    let alone = [1, 2]
        .into_iter()
        .find(|peer| !requests(*peer, &again).is_empty());
    let spans = [0, 1, 2, 3].map(|number| span(9, number));
    takes(&mut story, alone.unwrap(), &spans, 0);
    let right = story.tell(Input::Verified {
        piece: piece(9),
        good: true,
    });
    let bans: Vec<&Output> = right
        .iter()
        .filter(|output| matches!(output, Output::Ban { .. }))
        .collect();
    let liar = Output::Ban {
        address: address(2).ip(),
        why: Why::WrongBlocks(9),
    };
    assert_eq!(bans, [&liar]);
}

#[test]
fn a_web_seed_is_asked_and_told_nothing_else_and_a_lying_one_is_banned_by_its_number() {
    let settings = Settings {
        connections_max: 1,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&[0, 1, 2, 3, 4, 5, 6, 7, 8]), settings);
    assert_eq!(goodbye(1, &story.connect(1, Reserved::OURS)), None);
    let greeting = story.connect_as(2, Reserved::OURS, OURS, Direction::Web(3));
    assert_eq!(
        greeting,
        [],
        "neither its id nor the bound of connections matters"
    );
    assert_eq!(story.torrent.status().peers, 1);
    story.hear(2, Message::HaveAll);
    let asked = requests(2, &story.hear(2, Message::Unchoke));
    assert_eq!(asked.len(), 4);
    takes(&mut story, 2, &asked, 1);
    let wrong = story.tell(Input::Verified {
        piece: piece(9),
        good: false,
    });
    let ban = Output::BanWebSeed {
        seed: 3,
        why: Why::WrongPiece(9),
    };
    assert!(wrong.contains(&ban));
    assert_eq!(goodbye(2, &wrong), Some(&Why::Banned));
    let again = story.connect_as(3, Reserved::OURS, OURS, Direction::Web(3));
    assert_eq!(goodbye(3, &again), Some(&Why::Banned));
}

#[test]
fn who_floods_with_messages_that_tell_nothing_is_let_go() {
    let mut story = Story::leecher();
    story.connect(1, Reserved::OURS);
    let flood: Vec<Output> = (0..4_001)
        .flat_map(|_| story.hear(1, Message::KeepAlive))
        .collect();
    assert_eq!(goodbye(1, &flood), Some(&Why::TooManyMessages(4_001)));
}

#[test]
fn a_peer_with_which_nothing_passes_makes_room_for_an_address_that_waits() {
    let settings = Settings {
        connections_max: 1,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&[]), settings);
    story.connect(1, Reserved::OURS);
    story.hear(1, everything());
    story.tell(Input::Peers {
        addresses: vec![address(7)],
    });
    let mut waited = Vec::new();
    for _ in 0..4 {
        waited.extend(story.wait(80));
        story.hear(1, Message::KeepAlive);
    }
    assert_eq!(goodbye(1, &waited), Some(&Why::Useless(300)));
    assert!(waited.contains(&Output::Dial { address: address(7) }));
}

#[test]
fn where_memory_is_scarce_who_gives_nothing_does_not_keep_it_from_others() {
    let settings = Settings {
        disk_credit: 8 * 16_384,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&[]), settings);
    assert_eq!(story.seeded_by(1, Reserved::OURS).len(), 8, "it is the first");
    assert_eq!(story.seeded_by(2, Reserved::OURS), []);
    let waited = story.wait(11);
    assert!(
        requests(2, &waited).len() >= 4,
        "the other gets what the first holds"
    );
    assert!(requests(1, &waited).len() <= 1);
}

/// What five hundred peers on a hundred thousand pieces cost: a stated number of bytes each.
#[test]
fn memory_of_a_peer_and_of_a_torrent_stay_within_their_bounds() {
    let geometry = Geometry::v1(65_536, 65_536 * 100_000).unwrap();
    let settings = Settings {
        connections_max: 500,
        ..Settings::default()
    };
    let mut story = Story::with(Some(&[]), settings);
    let content = Content {
        have: Bitfield::none(&geometry),
        geometry: geometry.clone(),
        ..story.torrent.content.clone().unwrap()
    };
    story.torrent.hold(content);
    for number in 0..500_u16 {
        let peer = PeerKey(number.into());
        let mut id = [1; 20];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let handshake = Handshake {
            reserved: Reserved::OURS,
            info_hash: story.torrent.identity.info_hash,
            peer_id: PeerId(id),
        };
        let [high, low] = number.to_be_bytes();
        story.tell(Input::Connected {
            peer,
            address: ([10, 1, high, low], 5_000).into(),
            direction: Direction::Incoming,
            handshake,
        });
        let mut bits = Bitfield::none(&geometry);
        let its = geometry.pieces().skip(number.into()).step_by(400);
        its.for_each(|piece| _ = bits.set(piece));
        let told = Message::Bitfield(Bytes::copy_from_slice(bits.as_bytes()));
        for message in [told, Message::Unchoke] {
            story.tell(Input::Message { peer, message });
        }
    }
    let torrent = &story.torrent;
    assert_eq!(torrent.status().peers, 500);
    let most = torrent.sessions.values().map(Session::heap).max().unwrap();
    assert!(most <= 64 << 10, "a peer holds {most} bytes");
    let picker = torrent.picker.as_ref().unwrap().heap();
    assert!(picker <= 2 << 20, "the pieces hold {picker} bytes");
}
