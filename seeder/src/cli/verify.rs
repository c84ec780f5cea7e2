//! `seeder verify`: is the content of a torrent there, and is it right?

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::progress::{rate, watch};
use super::{Failure, print, tell};
use crate::library::create::all_cores;
use crate::library::progress::Progress;
use crate::library::torrent_file::read_torrent;
use crate::library::verify::{FileReport, FileState, Report, check};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The torrent
    file: PathBuf,

    /// The folder that holds the torrent's root file or folder
    #[arg(long, value_name = "DIR")]
    content: PathBuf,

    /// How many cores may hash at once [default: all]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,

    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads everything and says what is wrong, file by file. Fails unless all is good.
pub fn run(args: Args) -> Result<(), Failure> {
    let metainfo = read_torrent(&args.file)?;
    if !metainfo.info.has_layers() {
        return Err(Failure::failed(format_args!(
            "{}: the torrent has no piece layers to compare with; ask for the whole .torrent",
            args.file.display()
        )));
    }
    if !args.content.is_dir() {
        return Err(Failure::failed(format_args!(
            "--content {} is not a folder",
            args.content.display()
        )));
    }
    let info = &metainfo.info;
    let progress = Progress::default();
    let threads = args.threads.unwrap_or_else(all_cores);
    let (report, elapsed) = watch("verifying", &progress, || {
        check(info, &args.content, threads, &progress)
    });
    let report = report.map_err(Failure::failed)?;
    if args.json {
        print(as_json(info.name(), &report))?;
    } else {
        for file in report.files.iter().filter(|file| file.state != FileState::Good) {
            print(line(file))?;
        }
        let speed = rate(progress.total(), elapsed) / 1e9;
        tell(format_args!(
            "read {} in {:.1} s, {speed:.2} GB/s",
            indicatif::DecimalBytes(progress.total()),
            elapsed.as_secs_f64()
        ));
    }
    let bad = report
        .files
        .iter()
        .filter(|file| file.state != FileState::Good)
        .count();
    if bad > 0 {
        return Err(Failure::failed(format_args!(
            "{bad} of {} files are not as the torrent says; {} of {} pieces are good",
            report.files.len(),
            report.pieces.count(),
            info.geometry().piece_count()
        )));
    }
    if !args.json {
        print(format_args!("all {} files are good", report.files.len()))?;
    }
    Ok(())
}

fn word(state: &FileState) -> &'static str {
    match state {
        FileState::Missing => "missing",
        FileState::Unreadable(_) => "unreadable",
        FileState::WrongSize { .. } => "wrong size",
        FileState::Damaged { .. } => "damaged",
        FileState::Unproven { .. } => "unproven",
        FileState::Good => "good",
    }
}

fn line(file: &FileReport) -> String {
    let bytes = |ranges: &[std::ops::Range<u64>]| {
        let mut shown: Vec<String> = ranges
            .iter()
            .take(8)
            .map(|range| format!("{}-{}", range.start, range.end.saturating_sub(1)))
            .collect();
        if ranges.len() > 8 {
            shown.push("…".to_owned());
        }
        shown.join(", ")
    };
    let detail = match &file.state {
        FileState::Missing | FileState::Good => String::new(),
        FileState::Unreadable(why) => format!(" ({why})"),
        FileState::WrongSize { actual } => format!(" ({actual} bytes, where {} are right)", file.length),
        FileState::Damaged { ranges } => format!(" (somewhere in bytes {})", bytes(ranges)),
        FileState::Unproven { ranges } => format!(
            " (bytes {} share a piece with a file that is not there)",
            bytes(ranges)
        ),
    };
    format!("{}: {}{detail}", word(&file.state), file.path.display())
}

fn as_json(name: &str, report: &Report) -> Value {
    let files: Vec<Value> = report
        .files
        .iter()
        .map(|file| {
            let ranges = match &file.state {
                FileState::Damaged { ranges } | FileState::Unproven { ranges } => ranges
                    .iter()
                    .map(|range| json!([range.start, range.end]))
                    .collect(),
                _ => Vec::new(),
            };
            let actual = if let FileState::WrongSize { actual } = &file.state {
                Some(*actual)
            } else {
                None
            };
            json!({
                "path": file.path.to_string_lossy(),
                "length": file.length,
                "state": word(&file.state),
                "actual_length": actual,
                "ranges": ranges,
            })
        })
        .collect();
    json!({
        "name": name,
        "good": report.is_good(),
        "pieces_good": report.pieces.count(),
        "files": files,
    })
}
