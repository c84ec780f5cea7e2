//! How fast torrents are made, beside mktorrent on the same files in the same run: one large file, and thousands the size of
//! photographs. Programs take turns; everything is read once beforehand, so that no disk is measured.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tests::measure::{Cpu, built_beside, installed, spread, triple, wall};

/// Both programs cut alike.
const PIECE_LENGTH_EXPONENT: u32 = 20;

#[derive(Debug, Parser)]
struct Args {
    /// Size of the large file, in MiB.
    #[arg(long, default_value_t = 4_096)]
    mebibytes: u64,
    /// How many photographs, of 0.5 to 3 MB each.
    #[arg(long, default_value_t = 5_000)]
    photographs: usize,
    /// Rounds; the programs take turns in each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the content is made and removed again.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
}

/// Content to make torrents of.
struct Content {
    title: String,
    path: PathBuf,
    bytes: u64,
}

/// A program that makes torrents.
struct Maker {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    /// The flag before the torrent's place.
    output: &'static str,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let home = tempfile::tempdir_in(&args.folder)?;
    let makers = makers()?;
    println!(
        "seconds of CPU and gigabytes (10^9 bytes), min / med / max of {} rounds",
        args.rounds
    );
    for content in [large_file(&args, home.path())?, photographs(&args, home.path())?] {
        println!(
            "\n{}, pieces of {} MiB",
            content.title,
            (1_u32 << PIECE_LENGTH_EXPONENT) >> 20
        );
        println!("{:<16} {:>22} {:>24} {:>8}", "", "GB/s", "CPU-s/GB", "ratio");
        warm(&content.path)?;
        compare(&args, &makers, &content, home.path())?;
    }
    Ok(())
}

fn makers() -> anyhow::Result<Vec<Maker>> {
    let seeder = built_beside("seeder")?;
    let ours = |format: &str| {
        let length = (1_u32 << PIECE_LENGTH_EXPONENT).to_string();
        ["create", format, "--piece-length", &length]
            .map(str::to_owned)
            .to_vec()
    };
    let maker = |name, format| Maker {
        name,
        program: seeder.clone(),
        arguments: ours(format),
        output: "--output",
    };
    let mut makers = vec![
        maker("seeder v1", "--v1"),
        maker("seeder hybrid", "--hybrid"),
        maker("seeder v2", "--v2"),
    ];
    if let Some(program) = installed("mktorrent") {
        let threads = std::thread::available_parallelism()?.to_string();
        let length = PIECE_LENGTH_EXPONENT.to_string();
        let arguments = ["-d", "-t", &threads, "-l", &length].map(str::to_owned).to_vec();
        makers.push(Maker {
            name: "mktorrent -t all",
            program,
            arguments,
            output: "-o",
        });
    }
    Ok(makers)
}

/// Every maker in turn, round by round; the ratio is that of the median rates to the last maker's.
fn compare(args: &Args, makers: &[Maker], content: &Content, home: &Path) -> anyhow::Result<()> {
    let mut figures = vec![(Vec::new(), Vec::new()); makers.len()];
    for _ in 0..args.rounds {
        for (maker, (rates, costs)) in makers.iter().zip(&mut figures) {
            let (rate, cost) = measure(maker, content, &home.join("bench.torrent"))?;
            rates.push(rate);
            costs.push(cost);
        }
    }
    let rival = figures.last().map_or(f64::NAN, |(rates, _)| spread(rates).1);
    for (maker, (rates, costs)) in makers.iter().zip(&figures) {
        println!(
            "{:<16} {:>22} {:>24} {:>8.2}",
            maker.name,
            triple(rates, 2),
            triple(costs, 2),
            spread(rates).1 / rival
        );
    }
    Ok(())
}

/// GB/s and CPU seconds per GB of one run.
fn measure(maker: &Maker, content: &Content, torrent: &Path) -> anyhow::Result<(f64, f64)> {
    let (before, started) = (Cpu::of_children()?, wall());
    let output = Command::new(&maker.program)
        .args(&maker.arguments)
        .arg(maker.output)
        .arg(torrent)
        .arg(&content.path)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{}", maker.program.display()))?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), Cpu::of_children()?.since(before));
    ensure!(
        output.status.success(),
        "{}: {}",
        maker.name,
        String::from_utf8_lossy(&output.stderr)
    );
    fs::remove_file(torrent)?;
    #[expect(clippy::cast_precision_loss, reason = "a bench prints three digits")]
    let gigabytes = content.bytes as f64 / 1e9;
    Ok((gigabytes / seconds, cpu.total() / gigabytes))
}

fn large_file(args: &Args, home: &Path) -> anyhow::Result<Content> {
    let path = home.join("film.mkv");
    let bytes = args.mebibytes << 20;
    fill(&path, bytes, &mut SmallRng::seed_from_u64(1))?;
    Ok(Content {
        title: format!("one file of {} MiB", args.mebibytes),
        path,
        bytes,
    })
}

fn photographs(args: &Args, home: &Path) -> anyhow::Result<Content> {
    let path = home.join("Pictures");
    let mut dice = SmallRng::seed_from_u64(2);
    let mut bytes = 0;
    for number in 0..args.photographs {
        let folder = path.join(format!("{:02}", number % 50));
        fs::create_dir_all(&folder)?;
        let length = dice.random_range(500_000..3_000_000);
        fill(&folder.join(format!("IMG_{number}.jpg")), length, &mut dice)?;
        bytes += length;
    }
    Ok(Content {
        title: format!("{} photographs, {bytes} bytes", args.photographs),
        path,
        bytes,
    })
}

fn fill(path: &Path, length: u64, dice: &mut SmallRng) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut rest = length;
    while rest > 0 {
        dice.fill_bytes(&mut buffer);
        let run = rest.min(1 << 20);
        let (bytes, _) = buffer.split_at(usize::try_from(run)?);
        file.write_all(bytes)?;
        rest -= run;
    }
    Ok(())
}

/// Reads everything once: what is measured is hashing, not the disk.
fn warm(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        return fs::read_dir(path)?.try_for_each(|entry| warm(&entry?.path()));
    }
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 20]);
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}
