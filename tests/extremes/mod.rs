//! Torrents at the edges of what anybody makes, with real programs over loopback: each case checks what arrives and that memory
//! and descriptors of both sides stay within the bounds written here. Figures of libtorrent stand beside ours where it is there.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken rig should stop the test and say why"
)]

mod crowd;
mod meter;
mod plain;
mod sides;
mod sparse;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

pub use meter::{Figures, Meter};

/// How large the torrents are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Bytes of the one piece.
    pub piece: u32,
    pub files: u32,
    /// Bytes of the sparse file.
    pub sparse: u64,
    pub peers: usize,
    pub empty_files: u32,
}

impl Size {
    /// As the aims have them.
    pub const FULL: Self = Self {
        piece: 128 << 20,
        files: 200_000,
        sparse: 2 << 40,
        peers: 500,
        empty_files: 100_000,
    };

    /// The same in small, for every run of the tests.
    pub const SMALL: Self = Self {
        piece: 16 << 20,
        files: 2_000,
        sparse: 20 << 30,
        peers: 60,
        empty_files: 1_000,
    };
}

/// Where and with what the cases run.
#[derive(Debug)]
pub struct Scene {
    /// A folder for everything.
    pub home: PathBuf,
    pub size: Size,
    /// Our program, if it is not the one that the tests build.
    pub seeder: Option<PathBuf>,
    /// A python that has libtorrent, if libtorrent is to be measured too.
    pub python: Option<PathBuf>,
    /// What one program may take.
    pub patience: Duration,
}

/// What one side may take.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// MiB of the resident set.
    pub peak: u64,
    pub descriptors: usize,
}

/// What one side of a case took.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub what: &'static str,
    pub figures: Figures,
    pub bound: Bound,
    /// KiB that libtorrent had at its peak in the same place.
    pub rival: Option<u64>,
}

impl Row {
    /// What it took too much of.
    pub fn excess(&self) -> Option<String> {
        let peak = self.figures.peak.div_ceil(1024);
        if peak > self.bound.peak {
            return Some(format!(
                "{}: {peak} MiB, more than {}",
                self.what, self.bound.peak
            ));
        }
        let open = self.figures.descriptors;
        (open > self.bound.descriptors).then(|| {
            format!(
                "{}: {open} descriptors, more than {}",
                self.what, self.bound.descriptors
            )
        })
    }
}

/// What a case has shown.
#[derive(Debug, Default)]
pub struct Report {
    pub rows: Vec<Row>,
    /// Facts beside the figures.
    pub notes: Vec<String>,
}

impl Report {
    /// The rows as a table, with the notes below.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| | wall s | CPU s | peak MiB | bound MiB | descriptors | bound | libtorrent, peak MiB |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for row in &self.rows {
            let Row { figures, bound, .. } = row;
            let mib = |kib: u64| kib.div_ceil(1024).to_string();
            let rival = row.rival.map_or_else(|| "-".to_owned(), mib);
            // Writing into a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {:.1} | {:.1} | {} | {} | {} | {} | {rival} |",
                row.what,
                figures.seconds,
                figures.cpu,
                mib(figures.peak),
                bound.peak,
                figures.descriptors,
                bound.descriptors
            );
        }
        for note in &self.notes {
            let _ = write!(text, "\n- {note}");
        }
        text
    }

    /// Panics if a side took more than it may.
    #[track_caller]
    pub fn is_within_bounds(&self) {
        let excesses: Vec<String> = self.rows.iter().filter_map(Row::excess).collect();
        assert!(excesses.is_empty(), "{}", excesses.join("; "));
    }
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    pub title: &'static str,
    pub run: fn(&Scene) -> Report,
}

/// All of them.
pub const CASES: [Case; 5] = [
    Case {
        name: "piece",
        title: "One piece as long as there can be",
        run: plain::piece,
    },
    Case {
        name: "files",
        title: "Very many small files",
        run: plain::files,
    },
    Case {
        name: "sparse",
        title: "A sparse file, longer than any disk here",
        run: sparse::sparse,
    },
    Case {
        name: "peers",
        title: "Very many peers of one torrent",
        run: crowd::peers,
    },
    Case {
        name: "empty",
        title: "Very many empty files, and a single byte",
        run: plain::empty,
    },
];
