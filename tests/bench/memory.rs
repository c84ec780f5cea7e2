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
use tracker::members::ids::{Date, MemberId, TorrentId, Which};
use tracker::members::ledger::{Changes, Entry, Scribe};
use tracker::members::rules::Tariff;
use tracker::swarm::private::{MemberVisit, PrivateSwarms};
use tracker::swarm::{Policy, SHARD_COUNT, SwarmLimits, Swarms, Totals, Visit};

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
    /// Peers are members' clients with accounts.
    #[arg(long)]
    private: bool,
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

/// A tracker in one of its modes.
enum Tracker {
    Public(Swarms),
    Private(PrivateSwarms),
}

/// A journal that is never read.
struct NoJournal;

impl Scribe for NoJournal {
    fn enter(&self, _segment: u64, _entry: &Entry) {}
}

/// So many announces of a million peers, every half an hour each, come between two flushes of the accounts.
const FLUSH_EVERY: usize = 3_000;

impl Tracker {
    fn new(private: bool) -> Self {
        let (limits, key) = (SwarmLimits::default(), [1, 2, 3, 4]);
        if private {
            Self::Private(PrivateSwarms::new(limits, key))
        } else {
            Self::Public(Swarms::new(limits, key))
        }
    }

    /// The `number`-th arrival: an address of its own, six in ten a seeder, ten of them one member's.
    fn announce(&self, torrent: u32, number: usize, dice: &mut SmallRng, out: &mut Vec<u8>) {
        // Here everybody comes all the time; nobody is to be turned away for it.
        let policy = Policy {
            min_interval: Duration::ZERO,
            ..Policy::default()
        };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let id = PeerId(SmallRng::seed_from_u64(u64::from(number) + (1 << 32)).random());
        let mut request = AnnounceRequest::new(hash(torrent), id, 6881);
        request.left = if number % 10 < 6 { 0 } else { 1_000_000 };
        // From 16.0.0.0 on, away from the networks at home.
        let sender = Ipv4Addr::from_bits(0x1000_0000 + number.wrapping_mul(3)).into();
        out.clear();
        match self {
            Self::Public(swarms) => {
                let visit = Visit {
                    now: Moment::START,
                    request: &request,
                    sender,
                    reached: None,
                    policy: &policy,
                };
                swarms.announce(&visit, dice, out);
            }
            Self::Private(swarms) => {
                let visit = MemberVisit {
                    now: Moment::START,
                    date: TODAY,
                    request: &request,
                    member: MemberId(number / 10 + 1),
                    torrent: TorrentId(torrent + 1),
                    which: Which::First,
                    sender,
                    reached: None,
                    policy: &policy,
                    tariff: Tariff::default(),
                    warning: None,
                };
                swarms.announce(&visit, &NoJournal, dice, out);
            }
        }
    }

    /// What the store is given every few seconds.
    fn flush(&self, segment: u64) {
        if let Self::Private(swarms) = self {
            let mut changes = Changes::default();
            for shard in 0..SHARD_COUNT {
                swarms.collect_shard(shard, segment, Moment::START, &mut changes, None);
            }
        }
    }

    fn sweep(&self) {
        let (now, timeout) = (Moment::from_secs(60), Duration::from_secs(3_600));
        for shard in 0..SHARD_COUNT {
            match self {
                Self::Public(swarms) => swarms.sweep_shard(shard, now, timeout),
                Self::Private(swarms) => swarms.sweep_shard(shard, now, TODAY, timeout, timeout),
            };
        }
    }

    fn totals(&self) -> Totals {
        match self {
            Self::Public(swarms) => swarms.totals(),
            Self::Private(swarms) => swarms.totals(),
        }
    }
}

const TODAY: Date = Date(1_800_000_000);

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
fn measure(peers: usize, torrents: usize, shape: Shape, private: bool) -> anyhow::Result<()> {
    let mut dice = SmallRng::seed_from_u64(1);
    let arrivals = arrivals(peers, torrents, shape, &mut dice);
    let mut out = Vec::with_capacity(4_096);
    let empty = resident()?;
    let swarms = Tracker::new(private);
    for (number, torrent) in arrivals.iter().enumerate() {
        swarms.announce(*torrent, number, &mut dice, &mut out);
        if number % FLUSH_EVERY == 0 {
            swarms.flush(number as u64);
        }
    }
    swarms.flush(u64::MAX);
    let full = resident()?;
    let totals = swarms.totals();
    anyhow::ensure!(totals.peers() == arrivals.len() as u64, "{totals:?}");
    let bytes = (full - empty) / f64::from(u32::try_from(totals.peers())?);

    let start = cpu()?;
    for _ in 0..TIMED {
        let number = dice.random_range(0..arrivals.len());
        let torrent = arrivals.get(number).copied().unwrap_or_default();
        swarms.announce(torrent, number, &mut dice, &mut out);
    }
    // Seconds per million, in nanoseconds each.
    let nanos = (cpu()? - start) * 1e3;
    let start = cpu()?;
    swarms.sweep();
    let sweep = (cpu()? - start) * 1e3;
    println!(
        "| {} | {} | {} | {shape:?} | {:.0} | {bytes:.1} | {nanos:.0} | {sweep:.0} |",
        if private { "private" } else { "public" },
        totals.peers(),
        totals.swarms,
        (full - empty) / 1024.0,
    );
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let (Some(peers), Some(torrents)) = (args.peers, args.torrents) {
        return measure(peers, torrents, args.shape, args.private);
    }
    println!(
        "| mode | peers | torrents | sizes | grown, KiB | bytes a peer | CPU ns an announce, swarms alone | CPU ms a whole sweep |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let populations = [
        ("1000000", "100000", "tail"),
        ("1000000", "100000", "even"),
        ("5000000", "100000", "tail"),
        ("5000000", "100000", "even"),
        ("50000", "1000", "tail"),
        ("100000", "1", "even"),
    ];
    let modes = [&[][..], &["--private"][..]];
    for ((peers, torrents, shape), mode) in populations
        .into_iter()
        .flat_map(|population| modes.map(|mode| (population, mode)))
    {
        let row = Command::new(std::env::current_exe()?)
            .args(["--peers", peers, "--torrents", torrents, "--shape", shape])
            .args(mode)
            .status()?;
        anyhow::ensure!(
            row.success(),
            "measuring {peers} peers in {torrents} torrents failed"
        );
    }
    Ok(())
}
