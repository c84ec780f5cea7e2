//! CPU seconds of a seeder per gigabyte sent, beside libtorrent, aria2, rTorrent and Transmission in the same run. A thread a
//! connection plays a leecher that hashes nothing and writes nothing, and refills a quarter of its queue at a time.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod mse;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tests::measure::{Cpu, Running, built_beside, free_address, triple, wall};
use tests::rivals;

const BLOCK: u32 = 16 * 1024;

/// Some hash all of it before they give a byte.
const WARM_TIME: Duration = Duration::from_secs(120);

#[derive(Debug, Parser)]
struct Args {
    /// Size of the file that is seeded, in MiB.
    #[arg(long, default_value_t = 2_048)]
    mebibytes: u64,
    /// MiB fetched in each run, all connections together.
    #[arg(long, default_value_t = 1_024)]
    fetch: u64,
    /// Rounds; the seeders take turns in each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Everything behind RC4, which all sides require.
    #[arg(long)]
    encryption: bool,
    /// Only ours, without the rivals: for profiles.
    #[arg(long)]
    alone: bool,
}

struct Seeder {
    name: &'static str,
    address: SocketAddr,
    running: Running,
    /// It is asked for so small a part of what others are.
    part: u64,
}

struct Content {
    torrent: PathBuf,
    folder: PathBuf,
    info_hash: [u8; 20],
    length: u64,
    hidden: bool,
    alone: bool,
}

fn make_content(args: &Args, home: &Path) -> anyhow::Result<Content> {
    let folder = home.join("content");
    fs::create_dir(&folder)?;
    let mut file = File::create(folder.join("photographs.tar"))?;
    let (mut dice, mut buffer) = (SmallRng::seed_from_u64(2), vec![0; 1 << 20]);
    for _ in 0..args.mebibytes {
        dice.fill_bytes(&mut buffer);
        file.write_all(&buffer)?;
    }
    let torrent = home.join("bench.torrent");
    let output = Command::new(built_beside("seeder")?)
        .args([
            "create",
            "--json",
            "--piece-length",
            "1048576",
            "--tracker",
            "http://127.0.0.1:9/announce",
        ])
        .arg("--output")
        .arg(&torrent)
        .arg(folder.join("photographs.tar"))
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "create: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let hash = facts
        .get("info_hash_v1")
        .and_then(|hash| hash.as_str())
        .context("no info-hash")?;
    let info_hash = hash.parse::<shared::id::InfoHash>()?.0;
    Ok(Content {
        torrent,
        folder,
        info_hash,
        length: args.mebibytes << 20,
        hidden: args.encryption,
        alone: args.alone,
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Our seeder, and the rivals that are installed.
fn start_all(home: &Path, content: &Content) -> anyhow::Result<Vec<Seeder>> {
    let address = free_address(Ipv4Addr::LOCALHOST)?;
    let ours = ours(content, &home.join("state"), address);
    let mut seeders = vec![Seeder {
        name: "seeder",
        address,
        running: Running::start(None, &built_beside("seeder")?, &ours)?,
        part: 1,
    }];
    if content.alone {
        return Ok(seeders);
    }
    let task = rivals::Task {
        home,
        torrent: &content.torrent,
        folder: &content.folder,
        hidden: content.hidden,
    };
    for rival in rivals::seeders(&task)? {
        seeders.push(Seeder {
            name: rival.name,
            address: rival.address,
            running: Running::start(None, &rival.program, &rival.arguments)?,
            part: rival.part,
        });
    }
    Ok(seeders)
}

/// How our seeder is called.
fn ours(content: &Content, state: &Path, address: SocketAddr) -> Vec<String> {
    let arguments = [
        "seed",
        &text(&content.torrent),
        "--content",
        &text(&content.folder),
        "--listen",
        &address.to_string(),
        "--data",
        &text(state),
        "--encryption",
        if content.hidden { "require" } else { "prefer" },
    ];
    arguments.map(String::from).to_vec()
}

/// One connection: handshake, interested, then `queue` requests in flight until all its blocks have come.
struct Leecher {
    stream: TcpStream,
    /// Of what is read, and of what is written.
    ciphers: Option<(mse::Rc4, mse::Rc4)>,
    buffer: Vec<u8>,
    start: usize,
}

impl Leecher {
    fn connect(seeder: SocketAddr, number: u8, content: &Content) -> anyhow::Result<Self> {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&fd, &SocketAddrV4::new(Ipv4Addr::new(127, 2, 0, number), 0))?;
        connect(&fd, &seeder)?;
        let mut stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut hello = b"\x13BitTorrent protocol".to_vec();
        hello.extend_from_slice(&[0; 8]);
        hello.extend_from_slice(&content.info_hash);
        hello.extend_from_slice(
            format!("-BB0001-0000000000{number:02}")
                .as_bytes()
                .get(..20)
                .unwrap_or_default(),
        );
        let ciphers = if content.hidden {
            Some(mse::shake(&mut stream, content.info_hash, &hello)?)
        } else {
            stream.write_all(&hello)?;
            None
        };
        let mut leecher = Self {
            stream,
            ciphers,
            buffer: Vec::with_capacity(1 << 20),
            start: 0,
        };
        leecher.take(68).context("the seeder did not shake hands")?;
        leecher.say(vec![0, 0, 0, 1, 2])?;
        Ok(leecher)
    }

    fn say(&mut self, mut bytes: Vec<u8>) -> anyhow::Result<()> {
        if let Some((_, writes)) = &mut self.ciphers {
            writes.apply(&mut bytes);
        }
        Ok(self.stream.write_all(&bytes)?)
    }

    /// The kind and the payload length of the next message; the payload itself is thrown away.
    fn next(&mut self) -> anyhow::Result<(u8, usize)> {
        loop {
            let head = self.take(4)?;
            let length = u32::from_be_bytes(head.try_into()?) as usize;
            anyhow::ensure!(length <= 1 << 20, "a message of {length} bytes");
            if length > 0 {
                let kind = self.take(length)?.first().copied().unwrap_or_default();
                return Ok((kind, length - 1));
            }
        }
    }

    fn take(&mut self, count: usize) -> anyhow::Result<&[u8]> {
        while self.buffer.len() - self.start < count {
            self.buffer.drain(..self.start);
            self.start = 0;
            let held = self.buffer.len();
            self.buffer.resize(1 << 20, 0);
            let room = self.buffer.get_mut(held..).unwrap_or_default();
            let read = self.stream.read(room)?;
            if let Some((reads, _)) = &mut self.ciphers {
                reads.apply(room.get_mut(..read).unwrap_or_default());
            }
            anyhow::ensure!(read > 0, "the seeder closed the connection");
            self.buffer.truncate(held + read);
        }
        let from = self.start;
        self.start += count;
        Ok(self.buffer.get(from..from + count).unwrap_or_default())
    }

    /// Waits until it may ask. Some let a newcomer wait for their clock.
    fn wait(&mut self) -> anyhow::Result<()> {
        while self.next()?.0 != 1 {}
        Ok(())
    }

    /// Fetches blocks `from..to` of a file with pieces of 1 MiB.
    fn fetch(&mut self, from: u64, to: u64, queue: u64) -> anyhow::Result<u64> {
        let (mut asked, mut got) = (from, from);
        while got < to {
            if asked < to && asked - got <= queue * 3 / 4 {
                let mut batch = Vec::new();
                while asked < to && asked - got < queue {
                    request(&mut batch, asked)?;
                    asked += 1;
                }
                self.say(batch)?;
            }
            match self.next()? {
                (7, length) => got += u64::from(length == BLOCK as usize + 8),
                (0, _) => anyhow::bail!("choked in the middle"),
                _ => (),
            }
        }
        Ok((to - from) * u64::from(BLOCK))
    }
}

fn request(batch: &mut Vec<u8>, block: u64) -> anyhow::Result<()> {
    batch.extend_from_slice(&[0, 0, 0, 13, 6]);
    batch.extend_from_slice(&u32::try_from(block / 64)?.to_be_bytes());
    batch.extend_from_slice(&(u32::try_from(block % 64)? * BLOCK).to_be_bytes());
    batch.extend_from_slice(&BLOCK.to_be_bytes());
    Ok(())
}

/// CPU s per GB, of it user, MB/s, while all connections are served: none before the last may ask.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
fn run(
    seeder: &Seeder,
    content: &Content,
    connections: u8,
    queue: u64,
    fetch: u64,
) -> anyhow::Result<[f64; 3]> {
    let fetch = (fetch << 20).min(content.length) / seeder.part;
    let share = fetch / u64::from(BLOCK) / u64::from(connections);
    let mut leechers = Vec::new();
    for number in 0..connections {
        leechers.push(Leecher::connect(seeder.address, number + 1, content)?);
    }
    for leecher in &mut leechers {
        leecher.wait()?;
    }
    let (before, start) = (Cpu::of(seeder.running.pid())?, wall());
    let bytes: u64 = std::thread::scope(|scope| {
        let leechers: Vec<_> = leechers
            .iter_mut()
            .zip(0_u64..)
            .map(|(leecher, number)| {
                scope.spawn(move || leecher.fetch(number * share, (number + 1) * share, queue))
            })
            .collect();
        let mut sum = 0;
        for leecher in leechers {
            sum += leecher
                .join()
                .map_err(|_| anyhow::anyhow!("a leecher panicked"))??;
        }
        Ok::<u64, anyhow::Error>(sum)
    })?;
    let (elapsed, gigabytes) = (start.elapsed().as_secs_f64(), bytes as f64 / 1e9);
    let cpu = Cpu::of(seeder.running.pid())?.since(before);
    Ok([
        cpu.total() / gigabytes,
        cpu.user / gigabytes,
        gigabytes * 1e3 / elapsed,
    ])
}

/// Whether a fetch of everything works within two minutes: the seeder has started and checked its content.
fn warm(seeder: &Seeder, content: &Content) -> anyhow::Result<()> {
    let start = wall();
    loop {
        match run(seeder, content, 1, 64, content.length >> 20) {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() > WARM_TIME => return Err(error.context(seeder.name)),
            Err(_) => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let home = tempfile::tempdir()?;
    let content = make_content(&args, home.path())?;
    let seeders = start_all(home.path(), &content)?;
    for seeder in &seeders {
        warm(seeder, &content)?;
    }
    println!(
        "{} MiB in one file, {} MiB a run, {} rounds, min / med / max\n",
        args.mebibytes, args.fetch, args.rounds
    );
    println!("| seeder | connections x queue | CPU s per GB | of it user | MB/s |");
    println!("|---|---|---|---|---|");
    for (connections, queue) in [(1, 64), (4, 64)] {
        let mut figures = vec![Vec::new(); seeders.len()];
        for _ in 0..args.rounds {
            for (seeder, all) in seeders.iter().zip(&mut figures) {
                all.push(run(seeder, &content, connections, queue, args.fetch)?);
            }
        }
        for (seeder, all) in seeders.iter().zip(&figures) {
            let column = |at: usize| {
                all.iter()
                    .filter_map(|row| row.get(at).copied())
                    .collect::<Vec<f64>>()
            };
            println!(
                "| {} | {connections} x {queue} | {} | {} | {} |",
                seeder.name,
                triple(&column(0), 2),
                triple(&column(1), 2),
                triple(&column(2), 0)
            );
        }
    }
    Ok(())
}
