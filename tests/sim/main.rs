//! Swarms on a fake clock and network: ten pure torrents, many seeds, goals instead of steps. A failure names its seed; the
//! same seed gives the same swarm, to the byte.
#![allow(
    clippy::expect_used,
    reason = "a broken rig should stop the test"
)]

use std::time::Duration;

use shared::moment::Moment;
use tests::world::{Role, Weather, World};

/// Longer than any of these swarms needs, shorter than a peer's patience with one that hangs.
const LIMIT: Moment = Moment::from_secs(1_800);

/// Runs a swarm to its end and judges it.
#[track_caller]
fn check(name: &str, seeds: std::ops::Range<u64>, weather: Weather, make: impl Fn(&mut World)) {
    for seed in seeds {
        let mut world = World::new(seed, weather);
        make(&mut world);
        let done = world.run_until(LIMIT);
        let facts: Vec<_> = world.nodes.iter().map(|node| (node.role, node.torrent.status())).collect();
        assert!(done, "{name}, seed {seed}: not everyone has finished: {facts:#?}");
        judge(&world, &format!("{name}, seed {seed}"));
    }
}

#[track_caller]
fn judge(world: &World, name: &str) {
    let is_liar = |address| {
        let mut liars = world.nodes.iter().enumerate().filter(|(_, node)| node.role == Role::Liar);
        liars.any(|(node, _)| World::address(node).ip() == address)
    };
    for (number, node) in world.nodes.iter().enumerate() {
        assert!(world.agrees(number), "{name}: the bytes of {number} are not the album's");
        let wronged: Vec<_> = node.banned.iter().filter(|address| !is_liar(**address)).collect();
        assert!(wronged.is_empty(), "{name}: {number} banned honest peers: {wronged:?}");
        let status = node.torrent.status();
        assert!(status.addresses <= 1_000 && status.peers <= 100, "{name}: {status:?}");
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
    check("ten", 0..12, Weather::default(), ten);
}

#[test]
fn a_swarm_with_little_memory_and_a_bad_network_finishes_too() {
    let weather = Weather {
        breaks: 0.5,
        disk_credit: 256 * 1024,
        latency_max: Duration::from_millis(600),
        ..Weather::default()
    };
    check("bad weather", 100..108, weather, ten);
}
