//! How long a restart takes: from the start of the process until an announce is answered with peers, with a million peers in a
//! hundred thousand swarms. In private mode their sessions stand in a real database; the same once more after the snapshot is
//! lost, when every session must come from there and peers must announce again.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use shared::announce::{AnnounceRequest, Event};
use shared::id::{InfoHash, PeerId};
use tests::measure::{Running, built_beside, free_address, triple, wall};
use tokio_util::sync::CancellationToken;
use tracker::clock::Clock;
use tracker::folder::Folder;
use tracker::members::books::{Books, BooksParts, BooksSettings};
use tracker::members::ids::{MemberId, TorrentId, Which};
use tracker::members::ledger::{Entry, Scribe};
use tracker::members::office::{Actor, AddMember, Office, OfficeSettings};
use tracker::members::rules::Tariff;
use tracker::members::store::{Kind, NewMember, NewTorrent, Role, Store};
use tracker::snapshot::Keeper;
use tracker::swarm::private::{MemberVisit, PrivateSwarms};
use tracker::swarm::{Policy, SwarmLimits, Swarms, Visit};

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 1_000_000)]
    peers: u32,
    #[arg(long, default_value_t = 100_000)]
    torrents: u32,
    /// Starts of each kind.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Members who share the peers among them: few enough of one member in the largest torrent.
const MEMBERS: u32 = 20_000;

/// The same torrent number always gives the same hash.
fn hash(torrent: u32) -> InfoHash {
    InfoHash(SmallRng::seed_from_u64(torrent.into()).random())
}

/// From 16.0.0.0 on, away from the networks at home.
fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x1000_0000 + number.wrapping_mul(3)).into()
}

/// The `number`-th peer: six in ten are seeders, and torrent k has a share of 1 / k, as real ones do.
fn request(number: u32, torrents: u32, dice: &mut SmallRng) -> (u32, AnnounceRequest) {
    let tail = f64::from(torrents).powf(dice.random::<f64>());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and a number that fits"
    )]
    // Every torrent has one peer at least.
    let torrent = if number < torrents {
        number
    } else {
        tail as u32 - 1
    };
    let mut peer_id = *b"-BE0001-000000000000";
    for (place, byte) in peer_id.iter_mut().rev().zip(number.to_le_bytes()) {
        *place = byte;
    }
    let mut request = AnnounceRequest::new(hash(torrent), PeerId(peer_id), 6881);
    request.left = if number % 10 < 6 { 0 } else { 1_000_000 };
    (request.uploaded, request.downloaded) = (1_000_000_000 + u64::from(number), 7_000_000);
    request.event = Event::Started;
    (torrent, request)
}

/// The journal is not what is measured.
struct Nowhere;

impl Scribe for Nowhere {
    fn enter(&self, _segment: u64, _entry: &Entry) {}
}

/// A folder of a private tracker with everybody in it. Returns the key of a member.
async fn fill_private(folder: &Path, args: &Args) -> anyhow::Result<String> {
    let taken = Folder::take(folder)?;
    let state = taken.open(rand::random()).await?;
    let (store, clock) = (state.store, Clock::start());
    let dice = &mut SmallRng::seed_from_u64(1);
    register(&store, args.torrents, clock).await?;
    invite(&store, clock).await?;
    let office = Office::open(store.clone(), &state.secret, clock, OfficeSettings::default()).await?;
    let new = AddMember {
        name: "bench".to_owned(),
        ..AddMember::default()
    };
    let card = office.add_member(&Actor::Owner, new).await?;
    let swarms = Arc::new(PrivateSwarms::new(SwarmLimits::default(), [1, 2, 3, 4]));
    let parts = BooksParts {
        store: store.clone(),
        swarms: Arc::clone(&swarms),
        directory: Arc::clone(office.directory()),
        register: Arc::clone(office.register()),
        folder: folder.to_owned(),
        clock,
        settings: BooksSettings {
            flush_every: Duration::from_secs(3_600),
            snapshot_every: Duration::from_secs(3_600),
        },
    };
    let books = Books::open(parts).await?;
    let mut out = Vec::new();
    for number in 0..args.peers {
        let (torrent, request) = request(number, args.torrents, dice);
        out.clear();
        let visit = MemberVisit {
            now: clock.now(),
            date: clock.date(),
            request: &request,
            member: MemberId(number % MEMBERS + 1),
            torrent: TorrentId(torrent + 1),
            which: Which::First,
            sender: address(number),
            reached: None,
            policy: &Policy::default(),
            tariff: Tariff::default(),
            warning: None,
        };
        swarms.announce(&visit, &Nowhere, dice, &mut out);
    }
    let here = swarms.totals().peers();
    anyhow::ensure!(here == u64::from(args.peers), "only {here} peers joined");
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&books).run(stop.clone()));
    let start = wall();
    books.flush_now(Duration::from_secs(600)).await?;
    println!(
        "a flush of all {here} sessions took {:.1} s",
        start.elapsed().as_secs_f64()
    );
    stop.cancel();
    running.await?;
    store.close().await;
    card.passkey.context("a new member has a key")
}

async fn register(store: &Store, torrents: u32, clock: Clock) -> anyhow::Result<()> {
    for torrent in 0..torrents {
        let new = NewTorrent {
            info_hash_v1: Some(hash(torrent)),
            name: format!("torrent {torrent}"),
            added: clock.date(),
            ..NewTorrent::default()
        };
        let row = store.insert_torrent(&new).await?;
        anyhow::ensure!(row.id == TorrentId(torrent + 1), "torrents are numbered from 1");
    }
    Ok(())
}

/// The members whose peers are here: nobody else's would be let back in.
async fn invite(store: &Store, clock: Clock) -> anyhow::Result<()> {
    for number in 1..=MEMBERS {
        let new = NewMember {
            name: format!("member {number}"),
            role: Role::Member,
            kind: Kind::Member,
            created: clock.date(),
            invited_by: None,
            expires: None,
            scope: None,
            notes: String::new(),
        };
        let row = store.insert_member(&new).await?;
        anyhow::ensure!(row.id == MemberId(number), "members are numbered from 1");
    }
    Ok(())
}

/// A folder of a public tracker with everybody in it.
fn fill_public(folder: &Path, args: &Args) -> anyhow::Result<()> {
    let (swarms, clock) = (
        Arc::new(Swarms::new(SwarmLimits::default(), [1, 2, 3, 4])),
        Clock::start(),
    );
    let (dice, mut out) = (&mut SmallRng::seed_from_u64(1), Vec::new());
    for number in 0..args.peers {
        let (_, request) = request(number, args.torrents, dice);
        out.clear();
        let visit = Visit {
            now: clock.now(),
            request: &request,
            sender: address(number),
            reached: None,
            policy: &Policy::default(),
        };
        swarms.announce(&visit, dice, &mut out);
    }
    let keeper = Keeper::open(folder.to_owned(), swarms, clock);
    let start = wall();
    keeper.write()?;
    println!("a public snapshot took {:.2} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Starts the tracker and announces until it answers; milliseconds. It is killed, so that the next start finds the same.
fn start(folder: &Path, mode: &[&str], path: &str, peers: bool) -> anyhow::Result<f64> {
    let at = free_address(Ipv4Addr::LOCALHOST)?;
    let mut words: Vec<String> = [
        "serve",
        "--http",
        &at.to_string(),
        "--admin",
        "127.0.0.1:0",
        "--data",
    ]
    .map(str::to_owned)
    .into();
    words.push(folder.display().to_string());
    words.extend(mode.iter().map(|word| (*word).to_owned()));
    let began = wall();
    let running = Running::start(None, &built_beside("tracker")?, &words)?;
    while began.elapsed() < Duration::from_secs(120) {
        if let Ok(answer) = ask(at, path) {
            let took = began.elapsed().as_secs_f64() * 1e3;
            anyhow::ensure!(!answer.contains("failure reason"), "it answers: {answer}");
            anyhow::ensure!(
                !peers || !answer.contains("5:peers0:"),
                "it has forgotten its peers"
            );
            drop(running);
            return Ok(took);
        }
        // Long enough not to take its core from it.
        std::thread::park_timeout(Duration::from_millis(2));
    }
    anyhow::bail!("no answer in two minutes")
}

fn ask(at: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at)?;
    let hash = hash(0)
        .as_bytes()
        .iter()
        .fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
    write!(
        stream,
        "GET {path}?info_hash={hash}&peer_id=-BE0002-abcdefghijkl&port=6999&uploaded=0&downloaded=0&left=1&compact=1&event=started HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// In memory where there is such a place: a hundred thousand registrations wait for a disk one after the other, and what a restart
/// reads is in memory anyway.
fn folder() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

fn rounds(args: &Args, name: &str, mut once: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<()> {
    let figures = (0..args.rounds)
        .map(|_| once())
        .collect::<anyhow::Result<Vec<_>>>()?;
    println!("| {name} | {} |", triple(&figures, 0));
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (private, public) = (folder()?, folder()?);
    let passkey = fill_private(private.path(), &args).await?;
    fill_public(public.path(), &args)?;
    println!(
        "| {} peers in {} torrents | ms from the process's start to its answer, min / med / max |",
        args.peers, args.torrents
    );
    println!("|---|---|");
    let path = format!("/{passkey}/announce");
    rounds(&args, "public, with peers", || {
        start(public.path(), &["--public"], "/announce", true)
    })?;
    rounds(&args, "private, with peers", || {
        start(private.path(), &[], &path, true)
    })?;
    rounds(
        &args,
        "private, snapshot lost: sessions from the database, no peers yet",
        || {
            fs::remove_file(private.path().join("snapshot")).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            start(private.path(), &[], &path, false)
        },
    )
}
