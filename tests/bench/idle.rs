//! Ten thousand torrents that nobody asks for: how long until the tracker has seen them all, what that costs, and what they cost
//! from then on. `seeder run` starts with what it was given before; `seeder seed` and libtorrent read the .torrent files. All in
//! the same run, each with a fresh tracker of ours.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use sha1::{Digest, Sha1};
use tests::measure::{Cpu, Running, built_beside, free_address, installed, wall};

/// How long a program may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Content of one torrent: one piece.
const LENGTH: usize = 64 * 1024;

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 10_000)]
    torrents: usize,
    /// Seconds over which idling is measured.
    #[arg(long, default_value_t = 60)]
    idle: u64,
}

/// Who is measured.
struct Rival {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

/// What was measured.
struct Figures {
    /// Seconds until half, nine tenths, 99 in a hundred and all were seen.
    seen: [f64; 4],
    cpu: f64,
    idle: f64,
    resident: u64,
    files: usize,
    threads: usize,
}

fn make_content(home: &Path, count: usize, announce: &str) -> anyhow::Result<()> {
    fs::create_dir_all(home.join("content"))?;
    fs::create_dir_all(home.join("torrents"))?;
    for number in 0..count {
        let name = format!("photo-{number:05}.jpg");
        let line = format!("{number:05} a family's photograph\n");
        let content: Vec<u8> = line.bytes().cycle().take(LENGTH).collect();
        let piece: [u8; 20] = Sha1::digest(&content).into();
        let mut torrent = format!(
            "d8:announce{}:{announce}4:infod6:lengthi{LENGTH}e4:name{}:{name}12:piece lengthi{LENGTH}e6:pieces20:",
            announce.len(),
            name.len()
        )
        .into_bytes();
        torrent.extend(piece);
        torrent.extend(b"ee");
        fs::write(
            home.join("torrents").join(format!("{number:05}.torrent")),
            &torrent,
        )?;
        fs::write(home.join("content").join(name), content)?;
    }
    Ok(())
}

/// How many torrents the tracker has seen.
fn seen(admin: SocketAddr) -> Option<usize> {
    let mut stream = TcpStream::connect(admin).ok()?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let line = text.lines().find(|line| line.starts_with("tracker_torrents"))?;
    let count: f64 = line.rsplit(' ').next()?.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of torrents"
    )]
    let count = count as usize;
    Some(count)
}

fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

fn start_tracker(home: &Path, http: SocketAddr, admin: SocketAddr) -> anyhow::Result<Running> {
    let data = home.join("tracker");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    let text = |value: &dyn ToString| value.to_string();
    let arguments = [
        "serve".to_owned(),
        "--public".to_owned(),
        "--data".to_owned(),
        data.display().to_string(),
        "--http".to_owned(),
        text(&http),
        "--admin".to_owned(),
        text(&admin),
    ];
    let tracker = Running::start(None, &built_beside("tracker")?, &arguments)?;
    let begun = wall();
    while seen(admin).is_none() {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the tracker does not start");
        pause(Duration::from_millis(50));
    }
    Ok(tracker)
}

fn measure(
    home: &Path,
    rival: &Rival,
    args: &Args,
    (http, admin): (SocketAddr, SocketAddr),
) -> anyhow::Result<Figures> {
    let _tracker = start_tracker(home, http, admin)?;
    let begun = wall();
    let running = Running::start(None, &rival.program, &rival.arguments)?;
    let seen = watch(admin, args.torrents, begun)?;
    let pid = running.pid();
    let cpu = Cpu::of(pid)?.total();
    // What a start leaves behind ebbs away first.
    pause(Duration::from_secs(20));
    let before = Cpu::of(pid)?;
    pause(Duration::from_secs(args.idle));
    let idle = Cpu::of(pid)?.since(before).total();
    #[expect(clippy::cast_precision_loss, reason = "seconds of a bench")]
    let idle = idle * 60.0 / args.idle as f64;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    Ok(Figures {
        seen,
        cpu,
        idle,
        resident: field("VmRSS:") / 1024,
        files: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        threads: usize::try_from(field("Threads:"))?,
    })
}

fn watch(admin: SocketAddr, count: usize, begun: Instant) -> anyhow::Result<[f64; 4]> {
    let marks = [count / 2, count * 9 / 10, count * 99 / 100, count];
    let mut times = [f64::NAN; 4];
    while times.iter().any(|time| time.is_nan()) {
        anyhow::ensure!(
            begun.elapsed() < Duration::from_secs(300),
            "only {:?} torrents were seen",
            seen(admin)
        );
        let seen = seen(admin).unwrap_or_default();
        for (time, mark) in times.iter_mut().zip(marks) {
            if time.is_nan() && seen >= mark {
                *time = begun.elapsed().as_secs_f64();
            }
        }
        pause(Duration::from_millis(20));
    }
    Ok(times)
}

/// Our daemon learns its torrents once, which is not measured, and stops; from then on it starts with them.
fn teach(home: &Path, http: SocketAddr, admin: SocketAddr) -> anyhow::Result<()> {
    let _tracker = start_tracker(home, http, admin)?;
    let seeder = built_beside("seeder")?;
    let mut daemon = Running::start(None, &seeder, &daemon(home))?;
    let begun = wall();
    while !data(home).join("control.sock").exists() {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the seeder does not start");
        pause(Duration::from_millis(50));
    }
    let mut add = Command::new(&seeder);
    add.args(["add", "--content"]).arg(home.join("content"));
    add.arg("--data").arg(data(home)).args(torrents(home)?);
    let added = add.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    anyhow::ensure!(
        added.status.success(),
        "add: {}",
        String::from_utf8_lossy(&added.stderr)
    );
    daemon.stop(PATIENCE)?;
    Ok(())
}

fn data(home: &Path) -> PathBuf {
    home.join("state")
}

fn daemon(home: &Path) -> Vec<String> {
    let data = data(home).display().to_string();
    let arguments = [
        "run",
        "--data",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "off",
    ];
    arguments.map(str::to_owned).to_vec()
}

fn torrents(home: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for file in fs::read_dir(home.join("torrents"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "torrent") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn rivals(home: &Path) -> anyhow::Result<Vec<Rival>> {
    let seeder = built_beside("seeder")?;
    let text = |path: PathBuf| path.display().to_string();
    let words = ["seed", "--listen", "127.0.0.1:0", "--data"];
    let mut seed: Vec<String> = words.map(str::to_owned).to_vec();
    seed.extend([
        text(home.join("seed")),
        "--content".to_owned(),
        text(home.join("content")),
    ]);
    seed.extend(torrents(home)?.into_iter().map(text));
    let mut rivals = vec![
        Rival {
            name: "seeder run",
            program: seeder.clone(),
            arguments: daemon(home),
        },
        Rival {
            name: "seeder seed",
            program: seeder,
            arguments: seed,
        },
    ];
    if let Some(python) = installed("python3") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/libtorrent_idle.py");
        let address = free_address(Ipv4Addr::LOCALHOST)?;
        rivals.push(Rival {
            name: "libtorrent",
            program: python,
            arguments: vec![script.to_owned(), text(home.to_owned()), address.to_string()],
        });
    }
    Ok(rivals)
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let home = tempfile::tempdir()?;
    let (http, admin) = (
        free_address(Ipv4Addr::LOCALHOST)?,
        free_address(Ipv4Addr::LOCALHOST)?,
    );
    make_content(home.path(), args.torrents, &format!("http://{http}/announce"))?;
    teach(home.path(), http, admin)?;
    println!("{} torrents of 64 KiB, one tracker", args.torrents);
    println!(
        "| | seen 50 / 90 / 99 / 100 %, s | CPU s until then | idle CPU s a minute | MiB | descriptors | threads |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for rival in rivals(home.path())? {
        let figures = match measure(home.path(), &rival, &args, (http, admin)) {
            Ok(figures) => figures,
            Err(error) => {
                println!("| {} | {error:#} | | | | | |", rival.name);
                continue;
            }
        };
        let seen = figures.seen.map(|seconds| format!("{seconds:.2}")).join(" / ");
        println!(
            "| {} | {seen} | {:.2} | {:.2} | {} | {} | {} |",
            rival.name, figures.cpu, figures.idle, figures.resident, figures.files, figures.threads
        );
    }
    Ok(())
}
