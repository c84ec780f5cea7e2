//! Torrents of many pieces, of which many change at once.

use super::*;

/// Sixteen kilobytes a piece.
fn geometry_of(pieces: u32) -> Geometry {
    Geometry::v1(16_384, u64::from(pieces) * 16_384).unwrap()
}

fn whole(pieces: u32) -> Content {
    let geometry = geometry_of(pieces);
    let have = Bitfield::all(&geometry);
    content(geometry, have)
}

/// Somebody whom we can call again.
fn call(story: &mut Story, peer: u8) -> Vec<Output> {
    story.connect_as(peer, Reserved::OURS, PeerId([peer; 20]), Direction::Outgoing)
}

/// Few pieces are told one by one. Where they are many, the connection begins anew.
#[track_caller]
fn check_told(pieces: u32, story: &mut Story, told: Input) {
    let outputs = story.tell(told);
    let single = |message: &Message| matches!(message, Message::Have(_) | Message::Extended { id: 3, .. });
    let count = sent(1, &outputs).iter().filter(|message| single(message)).count();
    if pieces <= 1_000 {
        assert_eq!((count, goodbye(1, &outputs)), (pieces as usize, None));
    } else {
        assert_eq!((count, goodbye(1, &outputs)), (0, Some(&Why::MuchToTell)));
        let again = Output::Dial { address: address(1) };
        assert_eq!(outputs.last(), Some(&again));
    }
}

#[test]
fn what_a_link_finds_on_disk_fits_into_a_connection() {
    for pieces in [1_000, 1_001] {
        let mut story = Story::of(None, Settings::default());
        call(&mut story, 1);
        check_told(pieces, &mut story, Input::Content(whole(pieces)));
    }
}

#[test]
fn what_super_seeding_hid_fits_into_a_connection() {
    for pieces in [1_000, 1_001] {
        let settings = Settings {
            super_seed: true,
            ..Settings::default()
        };
        let mut story = Story::of(Some(whole(pieces)), settings);
        call(&mut story, 1);
        check_told(pieces, &mut story, Input::SuperSeed(false));
    }
}

#[test]
fn what_is_lost_and_found_at_once_fits_into_a_connection() {
    for pieces in [1_000, 1_001] {
        let settings = Settings {
            downloads: false,
            ..Settings::default()
        };
        let mut story = Story::of(Some(whole(pieces)), settings);
        call(&mut story, 1);
        let dont_have = ExtensionHandshake {
            lt_donthave: Some(3),
            ..ExtensionHandshake::default()
        };
        let payload = dont_have.encode();
        story.hear(1, Message::Extended { id: 0, payload });
        let all: Vec<_> = geometry_of(pieces).pieces().collect();
        let lost = Input::Lost { pieces: all.clone() };
        check_told(pieces, &mut story, lost);
        if pieces > 1_000 {
            call(&mut story, 1);
        }
        check_told(pieces, &mut story, Input::Found { pieces: all });
    }
}

#[test]
fn a_late_bitfield_is_acted_upon_once_and_counts_as_so_many_pieces() {
    let content = content(geometry_of(2_000), Bitfield::none(&geometry_of(2_000)));
    let settings = Settings {
        requests_out_max: 10,
        ..Settings::default()
    };
    let mut story = Story::of(Some(content), settings);
    call(&mut story, 1);
    story.hear(1, Message::Have(1_999));
    story.hear(1, Message::Unchoke);
    let all = Bitfield::all(&geometry_of(2_000));
    let mut told = Bitfield::none(&geometry_of(2_000));
    for piece in geometry_of(2_000).pieces().take(1_500) {
        told.set(piece);
    }
    let late = |bits: &Bitfield| Message::Bitfield(Bytes::copy_from_slice(bits.as_bytes()));
    let asked = requests(1, &story.hear(1, late(&told)));
    let pieces: std::collections::BTreeSet<u32> = asked.iter().map(|span| span.piece).collect();
    assert!(
        pieces.iter().any(|piece| *piece >= 100),
        "what is asked for is chosen among all: {pieces:?}"
    );
    assert_eq!(
        story
            .torrent
            .availability()
            .iter()
            .filter(|count| **count == 1)
            .count(),
        1_501
    );
    story.hear(1, late(&all));
    assert_eq!(story.torrent.status().seeds, 1);
    assert!(story.torrent.availability().iter().all(|count| *count == 1));
    story.hear(1, late(&all));
    assert_eq!(story.torrent.status().seeds, 1);
}

#[test]
fn a_late_bitfield_shows_who_super_seeds_what_is_out() {
    let settings = Settings {
        super_seed: true,
        ..Settings::default()
    };
    let mut story = Story::of(Some(whole(3)), settings);
    for peer in [1, 2] {
        call(&mut story, peer);
        story.hear(peer, Message::HaveNone);
    }
    // Who claims everything would prove nothing.
    story.hear(2, Message::Bitfield(Bytes::from_static(&[0xc0])));
    assert!(
        story.torrent.is_hidden_from(key(1)),
        "the last piece is nowhere else"
    );
    story.hear(1, Message::Bitfield(Bytes::from_static(&[0x20])));
    assert!(
        !story.torrent.is_hidden_from(key(1)),
        "every piece is somewhere else"
    );
}
