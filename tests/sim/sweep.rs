//! Runs the scenes of large swarms over many seeds and prints a table: `sim-sweep [SEEDS] [SCENE]`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is its output")]

use std::process::ExitCode;

use tests::swarm::scenes::Scene;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seeds = arguments.next().map_or(Ok(5), |word| word.parse::<u64>());
    let only = arguments.next();
    let known = only.as_ref().is_none_or(|only| Scene::named(only).is_some());
    let (Ok(seeds), true, None) = (seeds, known, arguments.next()) else {
        let names = Scene::ALL.map(|scene| scene.name).join(", ");
        eprintln!("sim-sweep [SEEDS] [SCENE]: a number and one of these scenes: {names}");
        return ExitCode::from(2);
    };
    println!(
        "| scene | seed | best, s | half | 95 % | last | times best | uplinks busy | wasted | copies by the seed | a free-rider got from leechers + seeds |"
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
    ExitCode::SUCCESS
}
