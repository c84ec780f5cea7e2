//! CPU seconds of a leecher per gigabyte, and its speed from start to end, beside aria2 and libtorrent in the same run. The
//! seeder is a thread of this program that reads and writes in batches, and is never the limit; a second thread is the
//! tracker that names it. Every run writes a new file and hashes every piece.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, ensure};
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tests::measure::{Cpu, built_beside, free_address, installed, triple, wall};

const PIECE: u64 = 1 << 20;
/// Blocks that the seeder sends at once.
const BATCH: usize = 16;

#[derive(Debug, Parser)]
struct Args {
    /// Size of the file that is downloaded, in MiB.
    #[arg(long, default_value_t = 2_048)]
    mebibytes: u64,
    /// Rounds; the leechers take turns in each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only ours, without the rivals: for profiles.
    #[arg(long)]
    alone: bool,
}

struct Leecher {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

/// A file of random bytes and its torrent, whose tracker is ours.
fn make_content(args: &Args, home: &Path, tracker: SocketAddr) -> anyhow::Result<(PathBuf, PathBuf)> {
    let path = home.join("film.mkv");
    let mut file = File::create(&path)?;
    let (mut dice, mut buffer) = (SmallRng::seed_from_u64(3), vec![0; 1 << 20]);
    for _ in 0..args.mebibytes {
        dice.fill_bytes(&mut buffer);
        file.write_all(&buffer)?;
    }
    let torrent = home.join("bench.torrent");
    let made = Command::new(built_beside("seeder")?)
        .args(["create", "--piece-length", &PIECE.to_string()])
        .args(["--tracker", &format!("http://{tracker}/announce"), "--output"])
        .args([&torrent, &path])
        .output()?;
    ensure!(
        made.status.success(),
        "create: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok((path, torrent))
}

/// Answers whatever it is asked with the one peer there is.
fn track(listener: &TcpListener, seeder: SocketAddr) -> anyhow::Result<()> {
    let mut peer = [127, 0, 0, 1, 0, 0];
    if let Some(port) = peer.last_chunk_mut() {
        *port = seeder.port().to_be_bytes();
    }
    let body = [b"d8:intervali1800e5:peers6:".as_slice(), &peer, b"e"].concat();
    loop {
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request)?;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        // Who asked may have gone.
        let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    }
}

/// Serves every connection by a thread of its own.
fn seed(listener: &TcpListener, file: &Arc<File>, pieces: u64) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let file = Arc::clone(file);
        // A leecher that ends, or speaks in riddles, ends its connection.
        thread::spawn(move || serve(stream, &file, pieces));
    }
}

fn serve(mut stream: TcpStream, file: &File, pieces: u64) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut hello = [0; 68];
    stream.read_exact(&mut hello)?;
    ensure!(hello.starts_with(b"\x13BitTorrent protocol"), "not plain");
    let (front, _) = hello.split_at(48);
    let mut answer = front.to_vec();
    answer.get_mut(20..28).context("a handshake")?.fill(0);
    answer.extend_from_slice(b"-BB0001-floor-seeder");
    let mut bits = vec![0xff; usize::try_from(pieces.div_ceil(8))?];
    if let Some(last) = bits.last_mut() {
        *last <<= (8 - pieces % 8) % 8;
    }
    answer.extend(u32::try_from(bits.len() + 1)?.to_be_bytes());
    answer.push(5);
    answer.extend(bits);
    answer.extend([0, 0, 0, 1, 1]);
    stream.write_all(&answer)?;
    let (mut heard, mut room) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let count = stream.read(&mut room)?;
        ensure!(count > 0, "gone");
        heard.extend(room.iter().take(count));
        let (wanted, used) = requests(&heard);
        heard.drain(..used);
        for batch in wanted.chunks(BATCH) {
            stream.write_all(&blocks(file, batch)?)?;
        }
    }
}

/// The requests in these bytes, and how many bytes were whole messages.
fn requests(heard: &[u8]) -> (Vec<[u8; 12]>, usize) {
    let (mut wanted, mut rest) = (Vec::new(), heard);
    while let Some((prefix, behind)) = rest.split_first_chunk::<4>()
        && let Some((message, behind)) = behind.split_at_checked(u32::from_be_bytes(*prefix) as usize)
    {
        if let Some((6, span)) = message.split_first()
            && let Ok(span) = span.try_into()
        {
            wanted.push(span);
        }
        rest = behind;
    }
    (wanted, heard.len() - rest.len())
}

fn blocks(file: &File, spans: &[[u8; 12]]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(spans.len() * (16 * 1024 + 13));
    for span in spans {
        let mut numbers = span
            .chunks_exact(4)
            .map(|word| u32::from_be_bytes(word.try_into().unwrap_or_default()));
        let mut next = || numbers.next().unwrap_or_default();
        let (piece, begin, length) = (next(), next(), next());
        bytes.extend((length + 9).to_be_bytes());
        bytes.push(7);
        bytes.extend(span.iter().take(8));
        let from = bytes.len();
        bytes.resize(from + length as usize, 0);
        let into = bytes.get_mut(from..).unwrap_or_default();
        file.read_exact_at(into, u64::from(piece) * PIECE + u64::from(begin))?;
    }
    Ok(bytes)
}

/// Ours, and the rivals that are installed. Each ends by itself when it has everything.
fn leechers(args: &Args, torrent: &Path, into: &Path, home: &Path) -> anyhow::Result<Vec<Leecher>> {
    let text = |path: &Path| path.display().to_string();
    let strings = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (torrent, into) = (text(torrent), text(into));
    let data = text(&home.join("state"));
    let ours = [
        "get",
        &torrent,
        "--into",
        &into,
        "--listen",
        "127.0.0.1:0",
        "--data",
        &data,
    ];
    let mut all = vec![Leecher {
        name: "seeder get",
        program: built_beside("seeder")?,
        arguments: strings(&ours),
    }];
    if args.alone {
        return Ok(all);
    }
    if let Some(program) = installed("aria2c") {
        let port = format!("--listen-port={}", free_address(Ipv4Addr::LOCALHOST)?.port());
        let dir = format!("--dir={into}");
        let quiet = [
            "--no-conf=true",
            "--seed-time=0",
            "--interface=127.0.0.1",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--summary-interval=0",
            "--file-allocation=none",
        ];
        let arguments = strings(&[&quiet[..], &[&port, &dir, &torrent]].concat());
        all.push(Leecher {
            name: "aria2",
            program,
            arguments,
        });
    }
    let has_libtorrent = |python: &PathBuf| {
        let asked = Command::new(python).args(["-c", "import libtorrent"]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    if let Some(program) = installed("python3").filter(has_libtorrent) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/libtorrent_get.py");
        let arguments = strings(&[script, &torrent, &into]);
        all.push(Leecher {
            name: "libtorrent",
            program,
            arguments,
        });
    }
    Ok(all)
}

/// CPU s per GB, of it user, MB/s from start to end.
fn run(leecher: &Leecher, into: &Path, length: u64) -> anyhow::Result<[f64; 3]> {
    fs::create_dir_all(into)?;
    let (before, started) = (Cpu::of_children()?, wall());
    let ended = Command::new(&leecher.program)
        .args(&leecher.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), Cpu::of_children()?.since(before));
    let arrived = fs::metadata(into.join("film.mkv")).map_or(0, |file| file.len());
    ensure!(
        ended.status.success() && arrived == length,
        "{}: {arrived} of {length} bytes, {}\n{}",
        leecher.name,
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
    fs::remove_dir_all(into)?;
    #[expect(clippy::cast_precision_loss, reason = "a bench prints three digits")]
    let gigabytes = length as f64 / 1e9;
    Ok([
        cpu.total() / gigabytes,
        cpu.user / gigabytes,
        gigabytes * 1e3 / seconds,
    ])
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let home = tempfile::tempdir()?;
    let tracker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let seeder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (path, torrent) = make_content(&args, home.path(), tracker.local_addr()?)?;
    let (file, length) = (Arc::new(File::open(&path)?), args.mebibytes << 20);
    let at = seeder.local_addr()?;
    thread::spawn(move || track(&tracker, at));
    thread::spawn(move || seed(&seeder, &file, length / PIECE));
    let into = home.path().join("into");
    let leechers = leechers(&args, &torrent, &into, home.path())?;
    let mut figures = vec![Vec::new(); leechers.len()];
    for _ in 0..args.rounds {
        for (leecher, all) in leechers.iter().zip(&mut figures) {
            all.push(run(leecher, &into, length)?);
            // What was remembered of the last round is no help in the next.
            let _ = fs::remove_dir_all(home.path().join("state"));
        }
    }
    println!(
        "one file of {} MiB, {} rounds, min / med / max\n",
        args.mebibytes, args.rounds
    );
    println!("| leecher | CPU s per GB | of it user | MB/s |");
    println!("|---|---|---|---|");
    for (leecher, all) in leechers.iter().zip(&figures) {
        let column = |at: usize| {
            all.iter()
                .filter_map(|row| row.get(at).copied())
                .collect::<Vec<f64>>()
        };
        let (cpu, user, speed) = (
            triple(&column(0), 2),
            triple(&column(1), 2),
            triple(&column(2), 0),
        );
        println!("| {} | {cpu} | {user} | {speed} |", leecher.name);
    }
    Ok(())
}
