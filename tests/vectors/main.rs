//! `vectors DIR`: reads every torrent that DIR's `expect.tsv` names and compares. The last line is `N passed, N failed`.
#![allow(clippy::print_stdout, reason = "the result is what this program is for")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tests::vectors;

/// Compares what `seeder inspect --json` says of torrents with what should be said.
#[derive(clap::Parser)]
struct Args {
    /// A folder of torrents and their `expect.tsv`
    folder: PathBuf,

    /// The program to ask; built from this source by default
    #[arg(long, value_name = "PATH")]
    seeder: Option<PathBuf>,

    /// Write the torrents that this project makes for itself into the folder first
    #[arg(long)]
    write: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.write {
        for torrent in vectors::made::all() {
            let path = args.folder.join(torrent.file_name());
            std::fs::write(&path, &torrent.bytes).with_context(|| path.display().to_string())?;
        }
    }
    let seeder = args.seeder.map_or_else(vectors::seeder, Ok)?;
    let tally = vectors::check(&args.folder, &seeder).with_context(|| args.folder.display().to_string())?;
    for line in &tally.failed {
        println!("{line}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed.len());
    Ok(ExitCode::from(u8::from(!tally.failed.is_empty())))
}
