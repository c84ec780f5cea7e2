//! Every client, in every way that a torrent can pass between it and us: `interop-matrix [CLIENT…]` runs the cells and writes
//! `tests/interop/RESULTS.md`. A cell runs in a process of its own, in network namespaces of its own. One that fails runs again
//! between the client and libtorrent, so that what nobody passes is told apart from what we alone do not.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a broken rig should stop the run and say why; its lines are its output"
)]

mod cell;
mod facts;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clap::Parser;
use tests::clients::Client;
use tests::rig::{OURS_ARE_BUILT, Program, Running, Stream};

use cell::Cell;
use facts::{CLIENTS, cannot, name, version};
use table::{Verdict, write_section};

/// Every step of a cell has a limit of its own; this ends one whose steps add up.
const CELL_LIMIT: Duration = Duration::from_secs(300);

/// A reason in the table is no longer than this.
const REASON_CHARS_MAX: usize = 140;

#[derive(Debug, Parser)]
struct Args {
    /// Clients to run, all when none is named; the sections of others stay as they are.
    clients: Vec<String>,
    /// Cells at the same time: clients mostly wait for their own timers.
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Runs this cell alone, in this process.
    #[arg(long)]
    cell: Option<String>,
    /// Runs the cell between the client and libtorrent.
    #[arg(long)]
    rivals: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(cell) = &args.cell {
        let Some(cell) = Cell::all().find(|known| known.to_string() == *cell) else {
            eprintln!("there is no cell '{cell}'");
            return ExitCode::from(2);
        };
        cell.run(args.rivals);
        return ExitCode::SUCCESS;
    }
    let known = |word: &String| {
        CLIENTS
            .into_iter()
            .find(|client| name(*client).eq_ignore_ascii_case(word))
            .ok_or_else(|| word.clone())
    };
    let clients: Vec<Client> = match args.clients.iter().map(known).collect() {
        Ok(named) if Vec::is_empty(&named) => CLIENTS.to_vec(),
        Ok(named) => named,
        Err(word) => {
            eprintln!("no client '{word}'; there are: {}", CLIENTS.map(name).join(", "));
            return ExitCode::from(2);
        }
    };
    run(&clients, args.jobs.max(1))
}

/// Runs all cells of these clients, writes their tables, and prints the sums.
fn run(clients: &[Client], jobs: usize) -> ExitCode {
    // Built once, before the cells ask for them all at the same time.
    drop(Program::seeder());
    let versions: Vec<String> = clients.iter().map(|client| version(*client)).collect();
    let cells: Vec<Cell> = Cell::all()
        .filter(|cell| clients.contains(&cell.client))
        .collect();
    let verdicts = judge_all(&cells, jobs);
    for (client, version) in clients.iter().zip(&versions) {
        let of_client: Vec<(Cell, Verdict)> = verdicts
            .iter()
            .filter(|(cell, _)| cell.client == *client)
            .cloned()
            .collect();
        write_section(&results_file(), *client, version, &of_client);
    }
    let failed = verdicts
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_)))
        .count();
    let passed = verdicts
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Ok | Verdict::SecondTry(_)))
        .count();
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

fn results_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/RESULTS.md")
}

/// The verdict of every cell, in the cells' order.
fn judge_all(cells: &[Cell], jobs: usize) -> Vec<(Cell, Verdict)> {
    let queue = Mutex::new(cells.iter().enumerate());
    let (ready, done) = channel();
    let work = |ready: Sender<(usize, Cell, Verdict)>| {
        while let Some((number, cell)) = next(&queue) {
            let verdict = judge(*cell);
            println!("{cell}: {verdict}");
            ready
                .send((number, *cell, verdict))
                .expect("the verdicts are awaited");
        }
    };
    let mut found: Vec<_> = thread::scope(|scope| {
        for _ in 0..jobs {
            let ready = ready.clone();
            scope.spawn(|| work(ready));
        }
        drop(ready);
        done.into_iter().collect()
    });
    found.sort_by_key(|(number, _, _)| *number);
    found
        .into_iter()
        .map(|(_, cell, verdict)| (cell, verdict))
        .collect()
}

fn next<T>(queue: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).next()
}

fn judge(cell: Cell) -> Verdict {
    if let Some(reason) = cannot(cell) {
        return Verdict::Cannot(reason);
    }
    match attempt(cell, false) {
        Ok(()) => Verdict::Ok,
        Err(with_us) => match attempt(cell, true) {
            Ok(()) if attempt(cell, false).is_ok() => Verdict::SecondTry(with_us),
            Ok(()) => Verdict::Failed(with_us),
            Err(between_rivals) => Verdict::NobodyPasses(between_rivals),
        },
    }
}

/// Runs a cell in a process of its own; what it said is kept when it fails.
fn attempt(cell: Cell, rivals: bool) -> Result<(), String> {
    let this = std::env::current_exe().expect("a program has a path");
    let mut process = Program::named(this)
        .args(["--cell", &cell.to_string()])
        .args(rivals.then_some("--rivals"))
        .env(OURS_ARE_BUILT, "1")
        .start();
    let ended = process.ends_within(CELL_LIMIT);
    if ended.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let said = process.transcript_whole();
    let folder = Path::new("target/interop-matrix");
    fs::create_dir_all(folder).expect("a folder for what was said");
    let file = format!(
        "{}{}.log",
        cell.to_string().replace(' ', "-"),
        if rivals { "-rivals" } else { "" }
    );
    fs::write(folder.join(file), said).expect("what was said is kept");
    if ended.is_none() {
        return Err(format!("it did not end within {} s", CELL_LIMIT.as_secs()));
    }
    Err(reason(&process))
}

/// What the process said when it gave up: the line after `panicked at`. Without one it is this program that is broken.
#[track_caller]
fn reason(process: &Running) -> String {
    let lines = process.lines(Stream::Err);
    let gave_up = lines.iter().position(|line| line.contains("panicked at"));
    let Some(words) = gave_up.and_then(|at| lines.get(at + 1)) else {
        panic!("a cell ended without a word:\n{}", process.transcript());
    };
    words.chars().take(REASON_CHARS_MAX).collect()
}
