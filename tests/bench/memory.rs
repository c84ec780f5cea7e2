//! Bytes a peer: how much the resident memory of a process grows while its swarms fill, torrents, allocator and slack
//! included. Each figure comes from a process of its own. Beside it, what an announce costs in the swarms alone, in swarms
//! that are few, many and huge.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use shared::announce::AnnounceRequest;
use shared::id::{InfoHash, PeerId};
use shared::moment::Moment;
use tests::measure::Cpu;
use tracker::swarm::{Policy, SHARD_COUNT, SwarmLimits, Swarms, Visit};

/// Announces timed after the swarms are full.
const TIMED: usize = 1_000_000;

#[derive(Debug, Parser)]
struct Args {
    /// Measure one population in this very process instead of the whole table.
    #[arg(long, requires = "torrents")]
    peers: Option<usize>,
    #[arg(long)]
    torrents: Option<usize>,
    #[arg(long, value_enum, default_value_t = Shape::Tail)]
    shape: Shape,
}

/// How peers are spread over torrents.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    /// Torrent k has a share of k^-0.8, as real ones have.
    Tail,
    /// Every torrent has as many.
    Even,
}

/// In which order who arrives: one torrent's number for every peer, shuffled.
fn arrivals(peers: usize, torrents: usize, shape: Shape, dice: &mut SmallRng) -> Vec<u32> {
    let mut arrivals = Vec::with_capacity(peers);
    let weight = |rank: u32| match shape {
        Shape::Tail => f64::from(rank + 1).powf(-0.8),
        Shape::Even => 1.0,
    };
    let ranks = 0..u32::try_from(torrents).unwrap_or(u32::MAX);
    let sum: f64 = ranks.clone().map(weight).sum();
    let mut owed = 0.0;
    for rank in ranks {
        owed += weight(rank) / sum * f64::from(u32::try_from(peers).unwrap_or(u32::MAX));
        while owed >= 1.0 && arrivals.len() < peers {
            arrivals.push(rank);
            owed -= 1.0;
        }
    }
    arrivals.shuffle(dice);
    arrivals
}

/// The same torrent number always gives the same hash; consecutive ones have nothing in common.
fn hash(torrent: u32) -> InfoHash {
    InfoHash(SmallRng::seed_from_u64(u64::from(torrent)).random())
}

/// The `number`-th arrival: an address of its own, six in ten a seeder.
fn announce(swarms: &Swarms, torrent: u32, number: usize, dice: &mut SmallRng, out: &mut Vec<u8>) {
    let policy = Policy::default();
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let mut request = AnnounceRequest::new(hash(torrent), PeerId([b'x'; 20]), 6881);
    request.left = if number % 10 < 6 { 0 } else { 1_000_000 };
    out.clear();
    let visit = Visit {
        now: Moment::START,
        request: &request,
        // From 16.0.0.0 on, away from the networks at home.
        sender: Ipv4Addr::from_bits(0x1000_0000 + number.wrapping_mul(3)).into(),
        reached: None,
        policy: &policy,
    };
    swarms.announce(&visit, dice, out);
}

/// Resident bytes of this process, as the kernel counts them.
fn resident() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text
        .split_whitespace()
        .nth(1)
        .context("/proc/self/statm has no second field")?
        .parse()?;
    Ok(pages * f64::from(u32::try_from(rustix::param::page_size())?))
}

/// CPU seconds of this process so far, which other programs on the machine disturb less than the clock on the wall.
fn cpu() -> std::io::Result<f64> {
    Cpu::of(std::process::id()).map(Cpu::total)
}

/// Fills the swarms and prints one row of the table.
fn measure(peers: usize, torrents: usize, shape: Shape) -> anyhow::Result<()> {
    let mut dice = SmallRng::seed_from_u64(1);
    let arrivals = arrivals(peers, torrents, shape, &mut dice);
    let mut out = Vec::with_capacity(4_096);
    let empty = resident()?;
    let swarms = Swarms::new(SwarmLimits::default(), [1, 2, 3, 4]);
    for (number, torrent) in arrivals.iter().enumerate() {
        announce(&swarms, *torrent, number, &mut dice, &mut out);
    }
    let full = resident()?;
    let totals = swarms.totals();
    anyhow::ensure!(totals.peers() == arrivals.len() as u64, "{totals:?}");
    let bytes = (full - empty) / f64::from(u32::try_from(totals.peers())?);

    let start = cpu()?;
    for _ in 0..TIMED {
        let number = dice.random_range(0..arrivals.len());
        let torrent = arrivals.get(number).copied().unwrap_or_default();
        announce(&swarms, torrent, number, &mut dice, &mut out);
    }
    // Seconds per million, in nanoseconds each.
    let nanos = (cpu()? - start) * 1e3;
    let start = cpu()?;
    for shard in 0..SHARD_COUNT {
        swarms.sweep_shard(shard, Moment::from_secs(60), Duration::from_secs(3_600));
    }
    let sweep = (cpu()? - start) * 1e3;
    println!(
        "| {} | {} | {shape:?} | {:.0} | {bytes:.1} | {nanos:.0} | {sweep:.0} |",
        totals.peers(),
        totals.swarms,
        (full - empty) / 1024.0,
    );
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let (Some(peers), Some(torrents)) = (args.peers, args.torrents) {
        return measure(peers, torrents, args.shape);
    }
    println!(
        "| peers | torrents | sizes | grown, KiB | bytes a peer | CPU ns an announce, swarms alone | CPU ms a whole sweep |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (peers, torrents, shape) in [
        ("1000000", "100000", "tail"),
        ("1000000", "100000", "even"),
        ("5000000", "100000", "tail"),
        ("5000000", "100000", "even"),
        ("50000", "1000", "tail"),
        ("100000", "1", "even"),
    ] {
        let row = Command::new(std::env::current_exe()?)
            .args(["--peers", peers, "--torrents", torrents, "--shape", shape])
            .status()?;
        anyhow::ensure!(
            row.success(),
            "measuring {peers} peers in {torrents} torrents failed"
        );
    }
    Ok(())
}
