//! `tests/run extremes [CASE…]`: the cases of `tests/extremes` at full size, with libtorrent beside them. Prints a table a case
//! and keeps it in a file; a side that takes more than its bound fails the run.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tests::extremes::{CASES, Row, Scene, Size};
use tests::measure::{built_beside, installed};

#[derive(Debug, Parser)]
struct Args {
    /// Which of piece, files, sparse, peers and empty [default: all]
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// The seeder to measure [default: the one built beside this program]
    #[arg(long, value_name = "FILE")]
    seeder: Option<PathBuf>,
    /// Keep the tables in this file, each in place of its last one
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Without libtorrent
    #[arg(long)]
    alone: bool,
    /// The small sizes, as the ordinary tests have them
    #[arg(long)]
    small: bool,
}

fn has_libtorrent(python: &Path) -> bool {
    let import = Command::new(python).args(["-c", "import libtorrent"]).output();
    import.is_ok_and(|output| output.status.success())
}

/// The text with one section in place of the one with this heading, or behind the others.
fn replaced(text: &str, heading: &str, section: &str) -> String {
    let Some(start) = text.find(&format!("{heading}\n")) else {
        return format!("{}\n\n{section}", text.trim_end());
    };
    let (before, after) = text.split_at(start);
    let rest = after
        .find("\n## ")
        .map_or("", |end| after.get(end + 1..).unwrap_or_default());
    let gap = if rest.is_empty() { "" } else { "\n" };
    format!("{before}{section}{gap}{rest}")
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    if let Some(name) = args.cases.iter().find(|name| !known.contains(&name.as_str())) {
        anyhow::bail!("no case {name:?}; there are: {}", known.join(" "));
    }
    let seeder = args
        .seeder
        .map_or_else(|| built_beside("seeder"), |path| path.canonicalize());
    let seeder = seeder.context("the seeder to measure")?;
    let python = installed("python3").filter(|python| !args.alone && has_libtorrent(python));
    let (mut good, mut bad) = (0, 0);
    let wanted = |name: &str| args.cases.is_empty() || args.cases.iter().any(|case| case == name);
    for case in CASES.iter().filter(|case| wanted(case.name)) {
        let home = tempfile::tempdir()?;
        let scene = Scene {
            home: home.path().to_owned(),
            size: if args.small { Size::SMALL } else { Size::FULL },
            seeder: Some(seeder.clone()),
            python: python.clone(),
            patience: Duration::from_secs(1800),
        };
        let report = (case.run)(&scene);
        let heading = format!("## {}: `{}`", case.title, case.name);
        let section = format!("{heading}\n\n{}\n", report.table());
        println!("{section}");
        if let Some(file) = &args.write {
            let text = fs::read_to_string(file)?;
            fs::write(file, replaced(&text, &heading, &section))?;
        }
        let excesses: Vec<String> = report.rows.iter().filter_map(Row::excess).collect();
        for excess in &excesses {
            eprintln!("{}: {excess}", case.name);
        }
        if excesses.is_empty() { good += 1 } else { bad += 1 }
    }
    println!("{good} passed, {bad} failed");
    anyhow::ensure!(bad == 0, "a bound was exceeded");
    Ok(())
}
