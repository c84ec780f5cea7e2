//! Runs the scenes of large swarms over many seeds and prints a table: `sim-sweep [SEEDS] [SCENE]`.
#![allow(clippy::print_stdout, reason = "this is its output")]

use tests::swarm::scenes::Scene;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seeds: u64 = arguments.next().and_then(|word| word.parse().ok()).unwrap_or(5);
    let only = arguments.next();
    println!(
        "| scene | seed | best, s | half | 95 % | last | times best | uplinks busy | wasted | copies by the seed | a free-rider got |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for scene in Scene::ALL {
        if only.as_ref().is_some_and(|only| only != scene.name) {
            continue;
        }
        for seed in 1..=seeds {
            println!("| {} |", scene.run(seed).line());
        }
    }
}
