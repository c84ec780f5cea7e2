//! Swarms on a fake clock and network: ten pure torrents, many seeds, goals instead of steps. A failure names its seed; the
//! same seed gives the same swarm, to the byte.
#![allow(clippy::expect_used, reason = "a broken rig should stop the test")]

mod large;

use std::time::Duration;

use shared::moment::Moment;
use tests::world::{Role, Weather, World};

/// Longer than any of these swarms needs, shorter than a peer's patience with one that hangs.
const LIMIT: Moment = Moment::from_secs(1_800);

/// Pieces that a liar may spoil together with honest peers, before they are known, without being found out.
const SPOILED_MAX: usize = 12;

/// Runs a swarm to its end and judges it.
#[track_caller]
fn check(name: &str, seeds: std::ops::Range<u64>, weather: Weather, make: impl Fn(&mut World)) -> Vec<World> {
    let run = |seed| {
        let mut world = World::new(seed, weather);
        make(&mut world);
        let done = world.run_until(LIMIT);
        let facts: Vec<_> = world
            .nodes
            .iter()
            .map(|node| (node.role, node.torrent.status()))
            .collect();
        assert!(done, "{name}, seed {seed}: not everyone has finished: {facts:#?}");
        judge(&world, &format!("{name}, seed {seed}"));
        world
    };
    seeds.map(run).collect()
}

#[track_caller]
fn judge(world: &World, name: &str) {
    let is_liar = |address| {
        let mut liars = world
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.role == Role::Liar);
        liars.any(|(node, _)| World::address(node).ip() == address)
    };
    for (number, node) in world.nodes.iter().enumerate() {
        assert!(
            world.agrees(number),
            "{name}: the bytes of {number} are not the album's"
        );
        let wronged: Vec<_> = node.banned.iter().filter(|address| !is_liar(**address)).collect();
        assert!(
            wronged.is_empty(),
            "{name}: {number} banned honest peers: {wronged:?}"
        );
        assert!(
            node.spoiled <= SPOILED_MAX || node.banned.iter().any(|address| is_liar(*address)),
            "{name}: {number} was sent {} wrong pieces and banned nobody",
            node.spoiled
        );
        let status = node.torrent.status();
        assert!(
            status.addresses <= 1_000 && status.peers <= 100,
            "{name}: {status:?}"
        );
    }
}

fn ten(world: &mut World) {
    world.add(Role::Seed);
    for _ in 0..9 {
        world.add(Role::Leecher);
    }
}

#[test]
fn nine_leechers_finish_from_one_seed() {
    check("ten", 0..4, Weather::default(), ten);
}

#[test]
fn a_swarm_with_little_memory_and_a_bad_network_finishes_too() {
    let weather = Weather {
        breaks: 0.5,
        disk_credit: 256 * 1024,
        latency_max: Duration::from_millis(600),
        ..Weather::default()
    };
    check("bad weather", 100..103, weather, ten);
}

#[test]
fn disks_that_fail_now_and_then_delay_but_lose_nothing() {
    let weather = Weather {
        disk_fails: 0.01,
        ..Weather::default()
    };
    check("bad disks", 700..703, weather, ten);
}

/// With nine who want all of it, the seed alone would have to give nine copies.
#[test]
fn leechers_serve_each_other() {
    for seed in 0..3 {
        let mut world = World::new(
            seed,
            Weather {
                breaks: 0.0,
                ..Weather::default()
            },
        );
        ten(&mut world);
        assert!(world.run_until(LIMIT), "seed {seed}");
        let given = |node: &tests::world::Node| node.torrent.status().uploaded;
        let all: u64 = world.nodes.iter().map(given).sum();
        let by_seed = world.nodes.first().map_or(0, given);
        assert!(
            by_seed * 2 < all,
            "seed {seed}: the first gave {by_seed} of {all} bytes"
        );
    }
}

#[test]
fn a_liar_is_banned_by_all_whom_it_spoiled_a_piece_and_nobody_else_is() {
    let with_liar = |world: &mut World| {
        ten(world);
        world.add(Role::Liar);
    };
    let worlds = check("liar", 200..204, Weather::default(), with_liar);
    let nodes = worlds.iter().flat_map(|world| &world.nodes);
    let banned = nodes.filter(|node| !node.banned.is_empty()).count();
    assert!(
        banned >= 8,
        "in four swarms of nine only {banned} found the liar out"
    );
}

#[test]
fn two_liars_and_one_seed_are_told_apart() {
    check("two liars", 300..303, Weather::default(), |world| {
        world.add(Role::Seed);
        world.add(Role::Liar);
        world.add(Role::Liar);
        for _ in 0..4 {
            world.add(Role::Leecher);
        }
    });
}

#[test]
fn magnet_links_become_torrents_and_finish() {
    check("magnets", 400..403, Weather::default(), |world| {
        world.add(Role::Seed);
        for _ in 0..4 {
            world.add(Role::Leecher);
            world.add(Role::Magnet);
        }
        world.add(Role::Magnet);
    });
}

#[test]
fn torrents_that_come_and_go_keep_what_they_had() {
    check("churn", 500..503, Weather::default(), |world| {
        ten(world);
        for node in 2..7 {
            let (after, pause) = (
                Duration::from_millis(400 * node as u64),
                Duration::from_secs(node as u64),
            );
            world.restart(node, after, pause);
        }
        world.restart(0, Duration::from_secs(3), Duration::from_secs(20));
    });
}

#[test]
fn the_swarm_finishes_after_its_only_seed_has_left() {
    check(
        "left alone",
        600..602,
        Weather {
            breaks: 0.0,
            ..Weather::default()
        },
        |world| {
            ten(world);
            // By then every piece has left the seed once, and none of the leechers can have all of them.
            world.leave(0, Duration::from_secs(9));
        },
    );
}

#[test]
fn the_same_seed_gives_the_same_swarm() {
    let run = |seed| {
        let mut world = World::new(seed, Weather::default());
        ten(&mut world);
        world.add(Role::Liar);
        world.add(Role::Magnet);
        world.restart(3, Duration::from_secs(2), Duration::from_secs(2));
        assert!(world.run_until(LIMIT), "seed {seed}");
        (world.now, world.trace())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}
