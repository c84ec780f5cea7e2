//! Stories of v2 hashes: layers that are asked for before there is content, trees that others ask us for.

use shared::geometry::BLOCK_LENGTH;
use shared::hash_span::HashSpan;
use shared::id::InfoHashV2;
use shared::merkle::{self, Hash, Tree, Trees};

use super::*;

/// One file of ten pieces of four blocks, the last block short.
fn leaves() -> Vec<Hash> {
    (0..40_u8).map(|block| merkle::leaf(&[block])).collect()
}

fn geometry_v2() -> Geometry {
    Geometry::v2(65_536, [655_350]).unwrap()
}

/// The same file's tree without its layer, and with it.
fn trees() -> (Trees, Trees) {
    let bare = Tree::new(merkle::root(&leaves()), 655_350, 4 * BLOCK_LENGTH, 0).unwrap();
    let mut whole = bare.clone();
    assert!(whole.fill(merkle::layer(&leaves(), 4 * BLOCK_LENGTH)));
    (Trees::new([bare]), Trees::new([whole]))
}

fn tree(trees: &Trees) -> &Tree {
    trees.get(&merkle::root(&leaves())).unwrap()
}

#[expect(clippy::unnecessary_box_returns, reason = "messages hold their spans boxed")]
fn span(base: u32, index: u32, length: u32, layers: u32) -> Box<HashSpan> {
    Box::new(HashSpan::new(merkle::root(&leaves()), base, index, length, layers).unwrap())
}

/// A v2 torrent: a link that has just got its metadata, or a seed.
fn story(content: bool) -> Story {
    let v2 = InfoHashV2([9; 32]);
    let content = content.then(|| Content {
        geometry: geometry_v2(),
        have: Bitfield::all(&geometry_v2()),
        info: info(),
        private: false,
        files: std::sync::Arc::default(),
        trees: trees().1,
    });
    let identity = Identity {
        info_hash: v2.truncated(),
        info_hash_v2: Some(v2),
        peer_id: OURS,
        listen_port: 6_881,
    };
    let mut story = Story::leecher();
    story.torrent = Torrent::new(story.now, identity, content, Settings::default());
    story
}

fn answer(span: &HashSpan) -> Message {
    let hashes = tree(&trees().1).answer(span).unwrap();
    Message::Hashes {
        span: Box::new(*span),
        hashes: hashes.as_flattened().to_vec().into(),
    }
}

fn asked(peer: u8, outputs: &[Output]) -> Vec<HashSpan> {
    let span = |message| match message {
        Message::HashRequest(span) => Some(*span),
        _ => None,
    };
    sent(peer, outputs).into_iter().filter_map(span).collect()
}

#[test]
fn a_torrent_without_layers_asks_its_peers_for_them_and_hands_them_on() {
    let mut story = story(false);
    story.connect(1, Reserved::ours(true));
    let asked = asked(1, &story.tell(Input::Layerless(trees().0)));
    assert_eq!(asked, [*span(2, 0, 16, 3)]);
    let outputs = story.hear(1, answer(&asked[0]));
    let [Output::Layers { layers }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        layers.values().map(Vec::as_slice).collect::<Vec<_>>(),
        [tree(&trees().1).layer().unwrap()]
    );
}

#[test]
fn whoever_sends_false_hashes_is_banned_and_the_next_is_asked() {
    let mut story = story(false);
    story.tell(Input::Layerless(trees().0));
    let wanted = asked(1, &story.connect(1, Reserved::ours(true)));
    story.connect(2, Reserved::ours(true));
    let hashes = Bytes::from(vec![3; wanted[0].answer_length() as usize * 32]);
    let span = Box::new(wanted[0]);
    let outputs = story.hear(1, Message::Hashes { span, hashes });
    assert_eq!(goodbye(1, &outputs), Some(&Why::WrongHashes));
    assert!(outputs.iter().any(|output| matches!(output, Output::Ban { .. })));
    assert_eq!(asked(2, &story.wait(1)), wanted);
}

#[test]
fn a_connection_of_v1_is_not_asked_for_hashes() {
    let mut story = story(false);
    story.torrent.identity.info_hash = InfoHash([1; 20]);
    story.tell(Input::Layerless(trees().0));
    assert_eq!(asked(1, &story.connect(1, Reserved::OURS)), []);
    assert_eq!(asked(2, &story.connect(2, Reserved::ours(true))).len(), 1);
}

#[test]
fn a_seed_gives_the_piece_layer_with_its_proof_and_refuses_what_it_has_not() {
    let mut story = story(true);
    story.connect(1, Reserved::ours(true));
    let wanted = span(2, 8, 4, 3);
    let told = sent(1, &story.hear(1, Message::HashRequest(wanted.clone())));
    assert_eq!(told, [answer(&wanted)]);
    let stranger = Box::new(HashSpan::new([7; 32], 2, 0, 4, 0).unwrap());
    for wrong in [stranger, span(2, 16, 16, 0), span(2, 0, 16, 9), span(7, 0, 2, 0)] {
        let told = sent(1, &story.hear(1, Message::HashRequest(wrong.clone())));
        assert_eq!(told, [Message::HashReject(wrong)]);
    }
}

#[test]
fn the_blocks_of_a_piece_are_hashed_for_whoever_asks() {
    let mut story = story(true);
    story.connect(1, Reserved::ours(true));
    let wanted = span(0, 4, 4, 5);
    let outputs = story.hear(1, Message::HashRequest(wanted.clone()));
    let piece = geometry_v2().piece(1).unwrap();
    let peer = key(1);
    let span = wanted.clone();
    assert_eq!(outputs, [Output::Leaves { peer, span, piece }]);
    let (span, leaves) = (wanted.clone(), Some(leaves()[4..8].to_vec()));
    let told = sent(1, &story.tell(Input::Leaves { peer, span, leaves }));
    let [Message::Hashes { span, hashes }] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(*span, wanted);
    assert!(tree(&trees().1).proves(span, hashes.as_chunks().0));
}

#[test]
fn a_piece_that_cannot_be_read_is_refused_and_few_are_read_at_a_time() {
    let mut story = story(true);
    story.connect(1, Reserved::ours(true));
    let reads = |outputs: Vec<Output>| {
        outputs
            .iter()
            .any(|output| matches!(output, Output::Leaves { .. }))
    };
    let wanted = |piece: u32| span(0, piece * 4, 4, 5);
    for piece in 0..4 {
        assert!(reads(story.hear(1, Message::HashRequest(wanted(piece)))));
    }
    let refused = sent(1, &story.hear(1, Message::HashRequest(wanted(4))));
    assert_eq!(refused, [Message::HashReject(wanted(4))]);
    let (peer, span) = (key(1), wanted(0));
    let told = sent(
        1,
        &story.tell(Input::Leaves {
            peer,
            span,
            leaves: None,
        }),
    );
    assert_eq!(told, [Message::HashReject(wanted(0))]);
    assert!(reads(story.hear(1, Message::HashRequest(wanted(4)))));
}

#[test]
fn a_flood_of_hash_requests_is_refused_and_then_ends_the_connection() {
    let mut story = story(true);
    story.connect(1, Reserved::ours(true));
    let mut given = 0;
    let ended = (0..10_000).find(|_| {
        let outputs = story.hear(1, Message::HashRequest(span(2, 0, 16, 3)));
        given += sent(1, &outputs)
            .iter()
            .filter(|message| matches!(message, Message::Hashes { .. }))
            .count();
        matches!(goodbye(1, &outputs), Some(Why::TooManyRequests(_)))
    });
    assert!(ended.is_some(), "it may go on for ever");
    assert_eq!(given, 2_048, "1 MiB of hashes at once");
}
