//! Two hundred peers at a time: how long the honest ones take beside the best possible time, what free-riders get, who is
//! banned. `sim-sweep` runs the same scenes over many seeds; `RESULTS.md` has its figures.

use tests::swarm::scenes::{Outcome, Scene};
use tests::swarm::{Role, Swarm};

/// The last honest peer has what it wants within so many times the best possible time.
const BAR: f64 = 1.3;

/// Runs a scene and judges what holds in all of them.
#[track_caller]
fn check(name: &str) -> Outcome {
    let scene = Scene::named(name).expect("a scene of this name");
    let outcome = scene.run(1);
    let line = outcome.line();
    assert!(outcome.done, "not every honest peer has finished: {line}");
    assert!(outcome.factor() <= BAR, "{line}");
    let lies = |address| {
        let mut members = outcome.swarm.members.iter().enumerate();
        members.any(|(node, member)| member.nature.role == Role::Liar && Swarm::address(node).ip() == address)
    };
    for (node, member) in outcome.swarm.members.iter().enumerate() {
        let wronged: Vec<_> = member.banned.iter().filter(|address| !lies(**address)).collect();
        assert!(wronged.is_empty(), "{node} banned honest peers: {wronged:?}");
        let status = member.status();
        assert!(
            status.peers <= 30 && status.addresses <= 1_000,
            "{node}: {status:?}"
        );
    }
    outcome
}

#[test]
fn a_slow_seed_that_super_seeds_gives_little_more_than_one_copy_and_keeps_nobody_waiting() {
    let outcome = check("super-seed");
    assert!(outcome.seed_copies() <= SEED_COPIES, "{}", outcome.line());
}

/// It suggests what has not left it yet, so that its neighbours, who see only their own, do not fetch the same pieces twice.
#[test]
fn a_slow_seed_that_only_suggests_keeps_nobody_waiting_either() {
    let outcome = check("slow seed");
    assert!(outcome.seed_copies() <= SEED_COPIES, "{}", outcome.line());
}

/// While pieces are still seen nowhere else, a peer that was shown one and is slow to pass it on is not waited for for ever.
const SEED_COPIES: f64 = 1.25;

#[test]
fn who_leaves_comes_back_comes_late_or_loses_pieces_finishes_in_time() {
    check("churn");
}

/// A tenth of the swarm takes and gives nothing. Leechers give it their optimistic turns and what honest peers leave.
#[test]
fn free_riders_get_little_from_those_who_miss_something_themselves() {
    let outcome = check("free-riders");
    let (from_leechers, _) = outcome.got(Role::FreeRider);
    assert!(from_leechers <= 0.6, "{}", outcome.line());
    let (of_honest, _) = outcome.got(Role::Honest);
    assert!(from_leechers <= of_honest * 0.7, "{}", outcome.line());
    let first = |role| {
        let of_role = outcome
            .swarm
            .members
            .iter()
            .filter(move |member| member.nature.role == role);
        of_role.filter_map(|member| member.finished).min()
    };
    assert!(first(Role::FreeRider).is_none_or(|rider| Some(rider) > first(Role::Honest)));
}

#[test]
fn liars_are_found_out_and_boasters_hold_nobody_up() {
    let outcome = check("liars");
    let honest = || {
        outcome
            .swarm
            .members
            .iter()
            .filter(|member| member.nature.role == Role::Honest)
    };
    let tolerant = honest().filter(|member| member.spoiled > SPOILED_MAX && member.banned.is_empty());
    assert_eq!(tolerant.count(), 0, "{}", outcome.line());
    assert!(honest().any(|member| !member.banned.is_empty()));
}

/// Pieces that liars may spoil together with honest peers before one of them is known.
const SPOILED_MAX: u32 = 12;

#[test]
fn all_troubles_at_once_are_borne() {
    check("all at once");
}

#[test]
fn two_hundred_peers_do_the_same_from_the_same_seed() {
    let run = |seed| {
        let scene = Scene {
            pieces: 24,
            ..Scene::named("all at once").expect("a scene of this name")
        };
        let outcome = scene.run(seed);
        assert!(outcome.done, "{}", outcome.line());
        (outcome.swarm.now(), outcome.swarm.trace())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}
