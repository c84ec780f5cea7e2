//! CPU seconds of a tracker per million announces, connections kept and new: anyone's, the members' (keys, registered torrents,
//! sessions whose counters grow, a journal) and opentracker in one run. One thread with epoll plays 64 clients; the tracker has
//! one core, the clients the other.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::epoll;
use rustix::thread::{CpuSet, sched_setaffinity};
use shared::id::InfoHash;
use tests::measure::{Cpu, Running, built_beside, free_address, installed, triple, wall};
use tracker::clock::Clock;
use tracker::folder::Folder;
use tracker::members::office::{Actor, AddMember, Office, OfficeSettings};
use tracker::members::store::NewTorrent;

/// Requests in flight, a connection and a source address each.
const CLIENTS: usize = 64;

#[derive(Debug, Parser)]
struct Args {
    /// Swarms in the tracker before anything is measured.
    #[arg(long, default_value_t = 1_000)]
    torrents: usize,
    /// Peers in all swarms together.
    #[arg(long, default_value_t = 50_000)]
    peers: usize,
    /// Rounds; the trackers take turns in each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds measured in each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// Who announces what: a peer of a torrent, from one of the client addresses.
#[derive(Clone, Copy, Debug)]
struct Peer {
    torrent: u32,
    number: u32,
}

/// The swarms, by a Pareto tail: torrent k has a share of k^-0.8.
struct Population {
    hashes: Vec<[u8; 20]>,
    by_client: Vec<Vec<Peer>>,
}

impl Population {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "shares of a population"
    )]
    fn new(torrents: usize, peers: usize, dice: &mut SmallRng) -> Self {
        let weights: Vec<f64> = (1..=torrents).map(|rank| (rank as f64).powf(-0.8)).collect();
        let sum: f64 = weights.iter().sum();
        let mut by_client = vec![Vec::new(); CLIENTS];
        for (torrent, weight) in weights.iter().enumerate() {
            for number in 0..((weight / sum * peers as f64).round().max(1.0) as usize) {
                if let Some(client) = by_client.get_mut((torrent + number) % CLIENTS) {
                    client.push(Peer {
                        torrent: torrent as u32,
                        number: number as u32,
                    });
                }
            }
        }
        Self {
            hashes: (0..torrents).map(|_| dice.random()).collect(),
            by_client,
        }
    }

    fn request(&self, peer: Peer, says: &Says<'_>, out: &mut String) {
        let Says {
            kind,
            keep,
            keys,
            uploaded,
        } = *says;
        out.clear();
        out.push_str("GET ");
        if let Some(key) = keys.get(peer.number as usize % keys.len().max(1)) {
            let _ = write!(out, "/{key}");
        }
        out.push_str("/announce?info_hash=");
        for byte in self.hashes.get(peer.torrent as usize).into_iter().flatten() {
            let _ = write!(out, "%{byte:02X}");
        }
        // Six in ten are seeders.
        let left = if peer.number % 10 < 6 { 0 } else { 1_000_000 };
        let port = 1_024 + peer.number / 64;
        let _ = write!(
            out,
            "&peer_id=-qB4520-{:012}&port={port}&uploaded={uploaded}&downloaded=0&left={left}&corrupt=0&key=12AB34CD{}\
             &numwant=50&compact=1&no_peer_id=1&supportcrypto=1&redundant=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             User-Agent: qBittorrent/4.5.2\r\n{}\r\n",
            peer.number,
            kind.event(),
            if keep { "" } else { "Connection: close\r\n" },
        );
    }
}

/// What a client says beside who it is.
#[derive(Clone, Copy, Debug)]
struct Says<'a> {
    kind: Kind,
    keep: bool,
    /// The members' keys; none where the tracker knows no members.
    keys: &'a [String],
    /// Grows with every announce, so that each is worth something.
    uploaded: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Load,
    Measure(u8),
}

impl Kind {
    /// One announce in forty stops a peer, one in forty starts one.
    fn event(self) -> &'static str {
        match self {
            Self::Load | Self::Measure(0..=6) => "&event=started",
            Self::Measure(7..=12) => "&event=stopped",
            Self::Measure(_) => "",
        }
    }
}

struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What one stretch of time gave.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    answers: u64,
    bytes: u64,
}

struct Generator<'a> {
    rival: &'a Rival,
    population: &'a Population,
    poll: OwnedFd,
    clients: Vec<Client>,
    keep: bool,
    text: String,
}

impl<'a> Generator<'a> {
    fn new(rival: &'a Rival, population: &'a Population, keep: bool) -> anyhow::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut generator = Self {
            rival,
            population,
            poll,
            clients: Vec::new(),
            keep,
            text: String::new(),
        };
        for number in 0..CLIENTS {
            let client = generator.connect(number)?;
            generator.clients.push(client);
        }
        Ok(generator)
    }

    fn connect(&self, number: usize) -> anyhow::Result<Client> {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let source = Ipv4Addr::new(127, 1, 0, u8::try_from(number + 1)?);
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&fd, &SocketAddrV4::new(source, 0))?;
        connect(&fd, &self.rival.address).context("connecting to the tracker")?;
        let stream = TcpStream::from(fd);
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.poll, &stream, data, epoll::EventFlags::IN)?;
        Ok(Client {
            stream,
            received: Vec::with_capacity(8_192),
        })
    }

    fn send(&mut self, number: usize, peer: Peer, kind: Kind) -> anyhow::Result<()> {
        let mut text = std::mem::take(&mut self.text);
        let says = Says {
            kind,
            keep: self.keep,
            keys: &self.rival.keys,
            uploaded: self.rival.uploaded.fetch_add(100, Ordering::Relaxed),
        };
        self.population.request(peer, &says, &mut text);
        let client = self
            .clients
            .get_mut(number)
            .context("a client that is not there")?;
        client.stream.write_all(text.as_bytes())?;
        self.text = text;
        Ok(())
    }

    /// Every client sends what `next` says, each as soon as it is answered, until `next` is empty for all.
    fn run(&mut self, mut next: impl FnMut(usize) -> Option<(Peer, Kind)>) -> anyhow::Result<Tally> {
        let (mut tally, mut busy) = (Tally::default(), 0);
        for number in 0..CLIENTS {
            if let Some((peer, kind)) = next(number) {
                self.send(number, peer, kind)?;
                busy += 1;
            }
        }
        let mut events = Vec::with_capacity(CLIENTS);
        while busy > 0 {
            events.clear();
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                let number = usize::try_from(event.data.u64())?;
                let Some(bytes) = self.receive(number)? else {
                    continue;
                };
                tally.answers += 1;
                tally.bytes += bytes as u64;
                match next(number) {
                    Some((peer, kind)) => self.send(number, peer, kind)?,
                    None => busy -= 1,
                }
            }
        }
        Ok(tally)
    }

    /// Reads what is there; the length of the answer when it is whole.
    fn receive(&mut self, number: usize) -> anyhow::Result<Option<usize>> {
        let client = self
            .clients
            .get_mut(number)
            .context("a client that is not there")?;
        let mut buffer = [0; 16_384];
        let count = match client.stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            other => other.context("the tracker ended a connection")?,
        };
        client
            .received
            .extend_from_slice(buffer.get(..count).unwrap_or_default());
        let whole = answer_length(&client.received).filter(|length| client.received.len() >= *length);
        let ended = count == 0;
        if whole.is_none() {
            anyhow::ensure!(!ended, "the tracker closed before it had answered");
            return Ok(None);
        }
        anyhow::ensure!(
            !client
                .received
                .windows(14)
                .any(|window| window == b"failure reason"),
            "refused: {}",
            String::from_utf8_lossy(&client.received)
        );
        client.received.clear();
        if !self.keep {
            let fresh = self.connect(number)?;
            if let Some(client) = self.clients.get_mut(number) {
                *client = fresh;
            }
        }
        Ok(whole)
    }
}

/// Bytes of head and body, once the head is whole.
fn answer_length(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(received.get(..head)?).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    })?;
    Some(head + length)
}

struct Rival {
    name: &'static str,
    keeps: bool,
    address: SocketAddr,
    running: Running,
    /// Of its members, where it has any.
    keys: Vec<String>,
    uploaded: AtomicU64,
}

/// Members of the private tracker.
const MEMBERS: usize = 256;

/// Settings under which every announce is a whole one: nobody comes too early, the generator's few members may have many peers,
/// and the load does not change the answers.
const SETTINGS: [&str; 3] = [
    "TRACKER__ANNOUNCE__MIN_INTERVAL_SECS=0",
    "TRACKER__ANNOUNCE__LOAD_PER_SEC=1000000",
    "TRACKER__MEMBERS__PEERS_PER_TORRENT=1000",
];

fn start_ours(folder: &Path, population: &Population, private: bool) -> anyhow::Result<Rival> {
    let address = free_address(Ipv4Addr::LOCALHOST)?;
    let name = if private { "private" } else { "public" };
    let data = folder.join(name);
    let keys = if private {
        register(&data, population)?
    } else {
        Vec::new()
    };
    let program = built_beside("tracker")?;
    let mut arguments: Vec<_> = SETTINGS.map(String::from).to_vec();
    arguments.push(program.display().to_string());
    arguments.extend(["serve", "--admin", "127.0.0.1:0", "--http"].map(String::from));
    arguments.push(address.to_string());
    arguments.extend(["--data".to_owned(), data.display().to_string()]);
    if !private {
        arguments.push("--public".to_owned());
    }
    let env = installed("env").context("env is not installed")?;
    Ok(Rival {
        name,
        keeps: true,
        address,
        running: Running::start(Some(0), &env, &arguments)?,
        keys,
        uploaded: AtomicU64::new(0),
    })
}

/// A folder of a private tracker that knows all torrents and some members, whose keys it returns.
#[tokio::main(flavor = "current_thread")]
async fn register(data: &Path, population: &Population) -> anyhow::Result<Vec<String>> {
    let taken = Folder::take(data)?;
    let state = taken.open(rand::random()).await?;
    let (store, clock) = (state.store, Clock::start());
    for (number, hash) in population.hashes.iter().enumerate() {
        let new = NewTorrent {
            info_hash_v1: Some(InfoHash(*hash)),
            name: format!("torrent {number}"),
            added: clock.date(),
            ..NewTorrent::default()
        };
        store.insert_torrent(&new).await?;
    }
    let office = Office::open(store.clone(), &state.secret, clock, OfficeSettings::default()).await?;
    let mut keys = Vec::new();
    for number in 0..MEMBERS {
        let new = AddMember {
            name: format!("member-{number}"),
            ..AddMember::default()
        };
        let card = office.add_member(&Actor::Owner, new).await?;
        keys.push(card.passkey.context("a new member has a key")?);
    }
    store.close().await;
    Ok(keys)
}

fn start_opentracker(folder: &Path, population: &Population) -> anyhow::Result<Option<Rival>> {
    let Some(program) = installed("opentracker") else {
        println!("opentracker is not installed: measured alone");
        return Ok(None);
    };
    let list = population.hashes.iter().fold(String::new(), |mut text, hash| {
        for byte in hash {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
        text
    });
    fs::write(folder.join("whitelist"), list)?;
    let address = free_address(Ipv4Addr::LOCALHOST)?;
    let port = address.port().to_string();
    let folder = folder.display().to_string();
    let arguments = [
        "-i",
        "127.0.0.1",
        "-p",
        &port,
        "-P",
        &port,
        "-d",
        &folder,
        "-w",
        "whitelist",
        "-u",
        "nobody",
    ]
    .map(String::from);
    let running = Running::start(Some(0), &program, &arguments)?;
    Ok(Some(Rival {
        name: "opentracker",
        keeps: false,
        address,
        running,
        keys: Vec::new(),
        uploaded: AtomicU64::new(0),
    }))
}

fn wait_until_open(address: SocketAddr) -> anyhow::Result<()> {
    let start = wall();
    while start.elapsed() < Duration::from_secs(10) {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::yield_now();
    }
    anyhow::bail!("nothing listens on {address}")
}

fn load(rival: &Rival, population: &Population) -> anyhow::Result<()> {
    let mut queues: Vec<_> = population.by_client.iter().map(|peers| peers.iter()).collect();
    let mut generator = Generator::new(rival, population, rival.keeps)?;
    let tally = generator.run(|client| Some((*queues.get_mut(client)?.next()?, Kind::Load)))?;
    println!("{}: {} peers announced", rival.name, tally.answers);
    wait_until_idle(&rival.running)
}

/// A million new sessions are written for a while after they were answered; that is none of the stretches' work.
fn wait_until_idle(running: &Running) -> anyhow::Result<()> {
    let start = wall();
    let mut before = Cpu::of(running.pid())?;
    while start.elapsed() < Duration::from_secs(120) {
        std::thread::park_timeout(Duration::from_secs(6));
        let now = Cpu::of(running.pid())?;
        if now.since(before).total() < 0.2 {
            return Ok(());
        }
        before = now;
    }
    anyhow::bail!("it is still at work two minutes after its peers have announced")
}

/// One measured stretch: CPU s per million, of it user, answers per second, bytes an answer.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
fn stretch(
    rival: &Rival,
    population: &Population,
    keep: bool,
    args: &Args,
    dice: &mut SmallRng,
) -> anyhow::Result<[f64; 4]> {
    let mut generator = Generator::new(rival, population, keep)?;
    let mut until = |seconds: f64, dice: &mut SmallRng| -> anyhow::Result<(Tally, Cpu, Instant)> {
        let (start, before) = (wall(), Cpu::of(rival.running.pid())?);
        let end = start + Duration::from_secs_f64(seconds);
        let tally = generator.run(|client| {
            let peers = population.by_client.get(client)?;
            let peer = peers.get(dice.random_range(0..peers.len()))?;
            (wall() < end).then(|| (*peer, Kind::Measure(dice.random())))
        })?;
        Ok((tally, Cpu::of(rival.running.pid())?.since(before), start))
    };
    until(0.5, dice)?;
    let (tally, cpu, start) = until(args.seconds, dice)?;
    let (seconds, answers) = (start.elapsed().as_secs_f64(), tally.answers as f64);
    let millions = answers / 1e6;
    Ok([
        cpu.total() / millions,
        cpu.user / millions,
        answers / seconds,
        tally.bytes as f64 / answers,
    ])
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut dice = SmallRng::seed_from_u64(1);
    let mut core = CpuSet::new();
    core.set(1);
    sched_setaffinity(None, &core).context("this bench wants a second core for its clients")?;
    let folder = tempfile::tempdir()?;
    let population = Population::new(args.torrents, args.peers, &mut dice);
    let mut rivals = vec![
        start_ours(folder.path(), &population, false)?,
        start_ours(folder.path(), &population, true)?,
    ];
    rivals.extend(start_opentracker(folder.path(), &population)?);
    for rival in &rivals {
        wait_until_open(rival.address)?;
        load(rival, &population)?;
    }
    let mut rows: Vec<(String, Vec<[f64; 4]>)> = Vec::new();
    for _ in 0..args.rounds {
        for rival in &rivals {
            for keep in [true, false].into_iter().filter(|keep| !keep || rival.keeps) {
                let name = format!("{} {}", rival.name, if keep { "kept" } else { "new" });
                let figures = stretch(rival, &population, keep, &args, &mut dice)?;
                match rows.iter_mut().find(|(row, _)| *row == name) {
                    Some((_, all)) => all.push(figures),
                    None => rows.push((name, vec![figures])),
                }
            }
        }
    }
    println!(
        "\n{} torrents, {} peers, {} rounds of {} s, min / med / max\n",
        args.torrents, args.peers, args.rounds, args.seconds
    );
    println!("| tracker, connection | CPU s per million | of it user | answers a second | bytes an answer |");
    println!("|---|---|---|---|---|");
    for (name, all) in &rows {
        let column = |at: usize| {
            all.iter()
                .filter_map(|row| row.get(at).copied())
                .collect::<Vec<f64>>()
        };
        println!(
            "| {name} | {} | {} | {} | {} |",
            triple(&column(0), 1),
            triple(&column(1), 1),
            triple(&column(2), 0),
            triple(&column(3), 0)
        );
    }
    Ok(())
}
