//! The picker among drawn peers.

use std::net::IpAddr;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::events::{FileSpan, Wishes};
use super::*;

const NOW: Moment = Moment::from_secs(1);

/// A picker among peers, each with what it has and what it owes us.
struct Scene {
    picker: Picker,
    peers: BTreeMap<char, (Bitfield, BTreeSet<Block>)>,
    last: BTreeMap<char, PieceIndex>,
    /// Peers that give long runs, and slow ones.
    runs: BTreeSet<char>,
    slow: BTreeSet<char>,
    dice: SmallRng,
}

/// A file a piece, each as wanted as its letter says: Skip, Low, Normal, High; in order if there is an arrow.
fn wanted(geometry: &Geometry, drawing: &str) -> Arc<Wanted> {
    let span = |piece| FileSpan {
        start: geometry.start_of(piece),
        length: geometry.length_of(piece).into(),
        padding: false,
    };
    let spans: Vec<FileSpan> = geometry.pieces().map(span).collect();
    let files = drawing.trim_end_matches('>').chars().map(|letter| match letter {
        's' => Priority::Skip,
        'l' => Priority::Low,
        'h' => Priority::High,
        _ => Priority::Normal,
    });
    let wishes = Wishes {
        files: files.collect(),
        sequential: drawing.ends_with('>'),
    };
    Arc::new(Wanted::new(geometry, &spans, &wishes))
}

impl Scene {
    /// Pieces of `blocks` blocks: `#` is there, `.` is not. First what we have, then a peer a word: `a:##..`.
    fn new(blocks: u64, have: &str, peers: &str) -> Self {
        let length = 16_384 * blocks;
        let geometry = Geometry::v1(length, length * have.len() as u64).unwrap();
        let mut dice = SmallRng::seed_from_u64(9);
        let bits = |drawing: &str| {
            let mut bits = Bitfield::none(&geometry);
            for (piece, _) in geometry
                .pieces()
                .zip(drawing.chars())
                .filter(|(_, mark)| *mark == '#')
            {
                bits.set(piece);
            }
            bits
        };
        let mut picker = Picker::new(geometry.clone(), bits(have), Arc::default(), &mut dice);
        let mut scene = BTreeMap::new();
        for word in peers.split_whitespace() {
            let (name, drawing) = word.split_once(':').unwrap();
            let has = bits(drawing);
            if !has.is_complete() {
                geometry
                    .pieces()
                    .filter(|piece| has.has(*piece))
                    .for_each(|piece| picker.more(piece));
            }
            scene.insert(name.chars().next().unwrap(), (has, BTreeSet::new()));
        }
        Self {
            picker,
            peers: scene,
            last: BTreeMap::new(),
            runs: BTreeSet::new(),
            slow: BTreeSet::new(),
            dice,
        }
    }

    fn ask(&mut self, peer: char, room: usize, again: bool) -> String {
        let (has, owes) = self.peers.get_mut(&peer).unwrap();
        let asker = Asker {
            peer: PeerKey(peer.into()),
            has,
            withheld: &BTreeMap::new(),
            suggested: &[],
            asked: owes,
            pickable: u32::MAX,
            last: self.last.get(&peer).copied(),
            runs: self.runs.contains(&peer),
            slow: self.slow.contains(&peer),
        };
        let picked = if again {
            self.picker.pick_again(&asker, room, &mut self.dice)
        } else {
            self.picker.pick(NOW, &asker, room, &mut self.dice)
        };
        owes.extend(&picked);
        if let Some(block) = picked.last() {
            self.last.insert(peer, block.piece());
        }
        self.picker.check_invariants();
        let names = picked
            .iter()
            .map(|block| format!("{}.{}", block.piece().number(), block.number()));
        names.collect::<Vec<_>>().join(" ")
    }

    /// What the peer is asked for, as `piece.block`.
    #[track_caller]
    fn picks(&mut self, peer: char, room: usize, expected: &str) {
        assert_eq!(self.ask(peer, room, false), expected);
    }

    /// Other pieces are wanted now; gives the numbers of those that were dropped.
    fn wants(&mut self, drawing: &str) -> Vec<u32> {
        let wanted = wanted(self.picker.geometry(), drawing);
        let dropped = self.picker.want(wanted, &mut self.dice);
        for (_, owes) in self.peers.values_mut() {
            owes.retain(|block| !dropped.contains(&block.piece()));
        }
        self.picker.check_invariants();
        dropped.into_iter().map(PieceIndex::number).collect()
    }

    /// The hash of a piece was wrong, after these peers had sent all of it.
    fn spoiled(&mut self, piece: u32) {
        let piece = self.picker.geometry().piece(piece).unwrap();
        assert!(self.picker.verified(piece, false).is_some());
        self.picker.check_invariants();
    }

    fn block(&self, piece: u32, number: u32) -> Block {
        let geometry = self.picker.geometry();
        geometry.block(geometry.piece(piece).unwrap(), number).unwrap()
    }

    fn arrives(&mut self, peer: char, piece: u32, number: u32) -> Arrival {
        let block = self.block(piece, number);
        let owed = self.peers.get_mut(&peer).unwrap().1.remove(&block);
        let arriving = Arriving {
            block,
            data: &[1],
            giver: ip(peer),
            owed,
            watched: true,
        };
        let arrival = self.picker.arrived(NOW, &arriving);
        self.picker.check_invariants();
        arrival
    }
}

fn ip(peer: char) -> Giver {
    Giver::Address(IpAddr::from([10, 0, 0, peer as u8]))
}

#[test]
fn the_rarest_comes_first() {
    let mut scene = Scene::new(1, "####....", "a:....#### b:....#.## c:....#..# d:....#...");
    scene.picks('a', 9, "5.0 6.0 7.0 4.0");
}

#[test]
fn peers_who_have_everything_make_nothing_less_rare() {
    let mut scene = Scene::new(1, "####..", "a:###### b:#####. c:######");
    scene.picks('a', 1, "5.0");
}

#[test]
fn begun_pieces_come_before_new_ones_and_blocks_in_order() {
    let mut scene = Scene::new(3, "####..", "a:....#. b:....## c:.....#");
    scene.picks('a', 2, "4.0 4.1");
    scene.picks('b', 4, "4.2 5.0 5.1 5.2");
    scene.picks('c', 4, "");
}

#[test]
fn a_peer_is_asked_only_for_what_it_has_and_we_lack() {
    let mut scene = Scene::new(1, "##..", "a:#..# b:#...");
    scene.picks('a', 9, "3.0");
    scene.picks('b', 9, "");
}

#[test]
fn what_a_peer_gives_up_is_free_for_others() {
    let mut scene = Scene::new(2, "####.", "a:##### b:#####");
    scene.picks('a', 2, "4.0 4.1");
    scene.picker.release(scene.block(4, 0));
    scene.picks('b', 9, "4.0");
    scene.picker.release(scene.block(4, 0));
    scene.picker.release(scene.block(4, 1));
    assert_eq!(
        scene.picker.missing().count(),
        1,
        "nobody owes anything of it: it is missing again"
    );
}

#[test]
fn in_the_endgame_one_other_is_asked_too_and_the_second_copy_is_useless() {
    let mut scene = Scene::new(2, "####.", "a:##### b:##### c:#####");
    scene.picks('a', 1, "4.0");
    assert_eq!(scene.ask('b', 9, true), "", "a block is still free");
    scene.picks('a', 1, "4.1");
    assert_eq!(scene.ask('b', 1, true).len(), 3);
    assert_eq!(
        scene.ask('b', 9, true).len(),
        3,
        "the other one, not the same again"
    );
    assert_eq!(scene.ask('c', 9, true), "", "two are enough");
    assert_eq!(
        scene.arrives('a', 4, 0),
        Arrival::Fresh {
            others: true,
            last: false
        }
    );
    assert_eq!(scene.arrives('b', 4, 0), Arrival::Useless);
    assert_eq!(
        scene.arrives('b', 4, 1),
        Arrival::Fresh {
            others: true,
            last: true
        }
    );
}

#[test]
fn a_verified_piece_is_had_and_a_wrong_one_missing_again() {
    let mut scene = Scene::new(2, "####..", "a:###### b:######");
    scene.ask('a', 3, false);
    scene.ask('b', 1, false);
    let (first, second) = if scene.peers[&'a'].1.contains(&scene.block(4, 1)) {
        (4, 5)
    } else {
        (5, 4)
    };
    scene.arrives('a', first, 0);
    scene.arrives('a', first, 1);
    scene.arrives('a', second, 0);
    scene.arrives('b', second, 1);
    let piece = |scene: &Scene, number| scene.picker.geometry().piece(number).unwrap();
    let (right, wrong) = (piece(&scene, first), piece(&scene, second));
    assert!(scene.picker.verified(right, true).is_some());
    assert!(scene.picker.verified(wrong, false).is_some());
    assert_eq!(scene.picker.verified(wrong, true), None, "nobody has asked");
    assert!(scene.picker.have().has(right) && scene.picker.is_missing(wrong));
    scene.picker.check_invariants();
}

#[test]
fn a_piece_that_was_wrong_comes_from_one_peer_alone_next_time() {
    let mut scene = Scene::new(2, "####.", "a:##### b:#####");
    scene.picks('a', 1, "4.0");
    scene.picks('b', 1, "4.1");
    scene.arrives('a', 4, 0);
    scene.arrives('b', 4, 1);
    scene.spoiled(4);
    scene.picks('b', 1, "4.0");
    scene.picks('a', 9, "");
    assert_eq!(scene.ask('a', 9, true), "", "nor in the endgame");
    scene.arrives('b', 4, 0);
    scene.picks('a', 9, "");
    scene.picks('b', 9, "4.1");
    assert_eq!(
        scene.arrives('b', 4, 1),
        Arrival::Fresh {
            others: false,
            last: true
        }
    );
}

#[test]
fn who_gives_up_a_piece_of_its_own_leaves_it_to_others_from_the_start() {
    let mut scene = Scene::new(3, "####.", "a:##### b:#####");
    scene.picks('a', 3, "4.0 4.1 4.2");
    (0..3).for_each(|number| _ = scene.arrives('a', 4, number));
    scene.spoiled(4);
    scene.picks('b', 2, "4.0 4.1");
    scene.arrives('b', 4, 0);
    scene.picker.release(scene.block(4, 1));
    scene.picker.check_invariants();
    scene.picks('a', 9, "4.0 4.1 4.2");
}

#[test]
fn who_has_a_piece_for_itself_and_gives_too_little_is_slow() {
    let mut scene = Scene::new(3, "####.", "a:##### b:#####");
    scene.picks('a', 3, "4.0 4.1 4.2");
    (0..3).for_each(|number| _ = scene.arrives('a', 4, number));
    scene.spoiled(4);
    scene.picks('b', 3, "4.0 4.1 4.2");
    let patience = Duration::from_secs(20);
    let slow = |scene: &Scene, secs| {
        scene
            .picker
            .slow_owners(NOW + Duration::from_secs(secs), patience)
    };
    assert!(slow(&scene, 20).is_empty());
    assert_eq!(slow(&scene, 21), [PeerKey('b'.into())].into());
    scene.picker.disown(PeerKey('b'.into()));
    assert!(scene.picker.is_missing(scene.block(4, 0).piece()));
    scene.picker.check_invariants();
}

#[test]
fn what_is_wanted_most_comes_first_and_what_nobody_wants_never() {
    let mut scene = Scene::new(1, "####........", "a:############ b:.....##..... c:.....##.....");
    scene.wants("nnnnnlnhsnlh");
    let order = scene.ask('a', 9, false);
    let pieces: Vec<&str> = order.split(' ').collect();
    let sorted = |pieces: &[&str]| {
        let mut pieces: Vec<String> = pieces.iter().map(ToString::to_string).collect();
        pieces.sort_unstable();
        pieces
    };
    assert_eq!(sorted(&pieces[..2]), ["11.0", "7.0"]);
    assert_eq!(sorted(&pieces[2..4]), ["4.0", "9.0"]);
    assert_eq!(pieces[4..], ["6.0", "10.0", "5.0"], "the rarer first");
    let again = scene.ask('b', 9, true);
    assert!(["5.0 6.0", "6.0 5.0"].contains(&again.as_str()), "{again}");
}

#[test]
fn a_more_wanted_piece_is_begun_before_a_less_wanted_one_is_done() {
    let mut scene = Scene::new(3, "####...", "a:####### b:#######");
    scene.wants("nnnnlls");
    let low = scene.ask('a', 1, false);
    assert!(low == "4.0" || low == "5.0");
    assert!(scene.wants("nnnnllh").is_empty());
    scene.picks('b', 4, &format!("6.0 6.1 6.2 {}", low.replace(".0", ".1")));
}

#[test]
fn what_is_wanted_no_more_is_dropped_and_can_be_wanted_again() {
    let mut scene = Scene::new(2, "####..", "a:###### b:######");
    scene.ask('a', 4, false);
    scene.arrives('a', 4, 0);
    scene.arrives('a', 4, 1);
    assert_eq!(scene.wants("nnnnss"), [5], "a whole piece is judged all the same");
    assert!(scene.picker.is_endgame());
    scene.picks('b', 9, "");
    let whole = scene.block(4, 0).piece();
    assert!(scene.picker.verified(whole, true).is_some() && scene.picker.have().has(whole));
    scene.wants("nnnnsn");
    scene.picks('b', 9, "5.0 5.1");
}

#[test]
fn a_lost_piece_is_missing_again_and_a_found_one_is_not() {
    let mut scene = Scene::new(2, "#####.", "a:######");
    let piece = scene.block(2, 0).piece();
    scene.picker.lost(piece);
    scene.picker.check_invariants();
    scene.ask('a', 1, false);
    for number in [2, 5] {
        scene.picker.found(scene.block(number, 0).piece());
        scene.picker.check_invariants();
    }
    scene.picks('a', 9, "");
}

#[test]
fn one_after_the_other_means_the_first_ahead_and_the_rarest_beyond() {
    let mut scene = Scene::new(1, "####........", "a:############ b:....#######.");
    scene.wants(">");
    scene.picker.read_ahead(3);
    scene.picks('a', 4, "4.0 5.0 6.0 11.0");
}

#[test]
fn what_is_next_goes_on_when_the_first_arrives_and_slow_peers_are_kept_from_it() {
    let mut scene = Scene::new(1, "####......", "a:########## b:########## c:........#.");
    scene.wants(">");
    scene.picker.read_ahead(2);
    scene.slow.insert('b');
    let slow = scene.ask('b', 1, false);
    assert_ne!(slow, "4.0");
    scene.picks('a', 1, "4.0");
    scene.arrives('a', 4, 0);
    let first = scene.block(4, 0).piece();
    scene.picker.verified(first, true);
    if slow != "5.0" {
        scene.picks('a', 1, "5.0");
    }
}

#[test]
fn who_gives_runs_gets_whole_pieces_one_after_the_other() {
    let mut scene = Scene::new(2, "####......", "a:########## w:##########");
    scene.runs.insert('w');
    scene.ask('a', 1, false);
    let begun = scene.last[&'a'].number();
    let run = scene.ask('w', 4, false);
    let pieces: Vec<u32> = run
        .split(' ')
        .map(|block| block.split_once('.').unwrap().0.parse().unwrap())
        .collect();
    assert!(
        !pieces.contains(&begun),
        "it joins nobody while pieces are missing: {run}"
    );
    let first = pieces[0];
    if first != 9 && first + 1 != begun {
        assert_eq!(pieces, [first, first, first + 1, first + 1]);
    }
}

#[test]
fn the_first_pieces_are_random() {
    let firsts: BTreeSet<String> = (0..20)
        .map(|seed| {
            let mut scene = Scene::new(1, "........", "a:######## b:#......# c:#......#");
            scene.dice = SmallRng::seed_from_u64(seed);
            scene.ask('a', 1, false)
        })
        .collect();
    assert!(firsts.len() > 3, "{firsts:?}");
}

impl Scene {
    /// Lets a peer be asked for one block, and judges which.
    fn judged(&mut self, peer: char) {
        self.last.remove(&peer);
        let (has, before) = self.peers[&peer].clone();
        let picker = &self.picker;
        let priority = |piece: &PieceIndex| picker.order.wanted().of(*piece);
        let is_open = |piece: &PieceIndex| picker.open.contains(&picker.order.rank(*piece));
        let its = picker.geometry.pieces().filter(|piece| has.has(*piece));
        let choices: BTreeSet<PieceIndex> = its
            .filter(|piece| picker.is_missing(*piece) || is_open(piece))
            .collect();
        let best = choices.iter().map(priority).max();
        let of_best = || choices.iter().filter(|piece| Some(priority(piece)) == best);
        let begun: BTreeSet<PieceIndex> = of_best().filter(|piece| is_open(piece)).copied().collect();
        let best: BTreeSet<PieceIndex> = of_best().copied().collect();
        // Where pieces are wanted one after the other and none is under way, the first is next.
        let line = picker.order.line().filter(|_| picker.begun.is_empty());
        let next = line.and_then(|line| line.first()).map(|(_, piece)| *piece);
        let next = next.filter(|piece| has.has(*piece));
        let owed: BTreeSet<Block> = self.peers.values().flat_map(|(_, owes)| owes).copied().collect();
        let verified = picker.have.clone();
        self.ask(peer, 1, false);
        let new: Vec<Block> = self.peers[&peer].1.difference(&before).copied().collect();
        let Some(block) = new.first() else {
            assert!(
                choices.is_empty(),
                "nothing was asked for, but there is {choices:?}"
            );
            return;
        };
        let piece = block.piece();
        assert_eq!(new.len(), 1);
        assert!(!verified.has(piece) && has.has(piece), "{block:?}");
        assert!(!owed.contains(block), "{block:?} is owed by somebody");
        assert!(best.contains(&piece), "{block:?} is less wanted than {best:?}");
        assert!(
            begun.is_empty() || begun.contains(&piece),
            "{begun:?} before {block:?}"
        );
        assert!(next.is_none_or(|next| next == piece), "{next:?} before {block:?}");
    }
}

proptest! {
    /// What is asked for is there to be had, missing, owed by nobody, the most wanted, begun before new, and in its turn.
    #[test]
    fn a_peer_is_asked_for_the_most_wanted_that_it_has_begun_pieces_first_and_never_for_what_is_there(
        seed: u64, steps in prop::collection::vec((0..7, 0_usize..3, 0_usize..5), 1..80),
    ) {
        let mut scene = Scene::new(2, "#.......", "a:######## b:####.... c:..####..");
        scene.dice = SmallRng::seed_from_u64(seed);
        for (step, peer, which) in steps {
            let peer = ['a', 'b', 'c'][peer];
            let owed = scene.peers[&peer].1.iter().next().copied();
            match (step, owed) {
                (0..=2, _) => scene.judged(peer),
                (3 | 4, Some(block)) => {
                    let arrival = scene.arrives(peer, block.piece().number(), block.number());
                    if let Arrival::Fresh { last: true, .. } = arrival {
                        prop_assert!(scene.picker.verified(block.piece(), true).is_some());
                    }
                }
                (5, Some(block)) => {
                    scene.peers.get_mut(&peer).unwrap().1.remove(&block);
                    scene.picker.release(block);
                }
                (6, _) => _ = scene.wants(["nnnnnnnn", "nshlnshl", "ssssnnnn>", "hhhhllll>", "nnsssssn"][which]),
                _ => (),
            }
        }
    }

    /// Three peers ask, deliver, give up and leave in any order, while wishes change; no block is asked for twice outside the
    /// endgame.
    #[test]
    fn states_and_counts_always_agree(seed: u64, steps in prop::collection::vec((0..9, 0_usize..3, 1_usize..5), 1..120)) {
        let mut scene = Scene::new(3, "#.......", "a:######## b:####.... c:..####..");
        scene.dice = SmallRng::seed_from_u64(seed);
        for (step, peer, room) in steps {
            let peer = ['a', 'b', 'c'][peer];
            let owed = scene.peers[&peer].1.iter().nth(room).copied();
            match (step, owed) {
                (0 | 1, _) => _ = scene.ask(peer, room, false),
                (2, _) => _ = scene.ask(peer, 1, true),
                (3 | 4, Some(block)) => {
                    let (piece, number) = (block.piece(), block.number());
                    let arrival = scene.arrives(peer, piece.number(), number);
                    scene.peers.values_mut().for_each(|(_, asked)| _ = asked.remove(&block));
                    if let Arrival::Fresh { last: true, .. } = arrival {
                        scene.picker.verified(piece, room > 1);
                    }
                }
                (5, Some(block)) => {
                    scene.peers.get_mut(&peer).unwrap().1.remove(&block);
                    scene.picker.release(block);
                }
                (6, _) => _ = scene.wants(["nnnnnnnn", "nshlnshl", "ssssnnnn>", "hhhhllll>", "nnsssssn"][room % 5]),
                (7, _) => scene.picker.lost(scene.block(u32::try_from(room).unwrap(), 0).piece()),
                (8, _) => {
                    let key = PeerKey(peer.into());
                    let picker = &scene.picker;
                    let owned: Vec<PieceIndex> = picker.owned.iter().filter(|(_, owner)| **owner == key).map(|(piece, _)| *piece).collect();
                    scene.peers.get_mut(&peer).unwrap().1.retain(|block| !owned.contains(&block.piece()));
                    scene.picker.disown(key);
                }
                _ => (),
            }
            scene.picker.check_invariants();
            let owed: usize = scene.peers.values().map(|(_, asked)| asked.len()).sum();
            prop_assert_eq!(scene.picker.owed(), owed);
        }
    }
}
