//! Reads a journal back at the start. Whatever is damaged is passed over and counted; what stands behind it is found again,
//! also where bytes are missing.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use tracing::warn;

use super::record::{self, RECORD_BYTES};
use super::shelf;
use crate::members::ledger::Entry;

/// Read in one go.
const CHUNK_BYTES: usize = 1 << 20;

/// What a journal held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Files read.
    pub segments: u64,
    /// The highest number that a file had, be it read or not.
    pub last_segment: Option<u64>,
    pub entries: u64,
    /// Records that were passed over, and how many bytes that was.
    pub damaged: u64,
    pub damaged_bytes: u64,
}

/// Reads all segments from `from` on, in the order in which their entries were applied. What cannot be read is counted as
/// damaged and named in the log; only a folder that cannot be listed is an error.
pub fn read_segments(folder: &Path, from: u64, each: impl FnMut(Entry)) -> io::Result<ReadReport> {
    read_range(folder, from..u64::MAX, each)
}

/// Reads these segments alone, in the same way.
pub fn read_range(folder: &Path, range: Range<u64>, mut each: impl FnMut(Entry)) -> io::Result<ReadReport> {
    let mut report = ReadReport::default();
    for (segment, path) in shelf::segments(folder)? {
        report.last_segment = Some(segment);
        if !range.contains(&segment) {
            continue;
        }
        report.segments += 1;
        let before = report;
        let read = File::open(&path).and_then(|file| read(file, &mut report, &mut each));
        if let Err(error) = read {
            report.damaged += 1;
            warn!(path = %path.display(), %error, "a part of the journal cannot be read; going on without the rest of it");
        }
        let (damaged, bytes) = (
            report.damaged - before.damaged,
            report.damaged_bytes - before.damaged_bytes,
        );
        if bytes > 0 {
            warn!(path = %path.display(), damaged, bytes, "damaged records in the journal were passed over");
        }
    }
    Ok(report)
}

/// Reads one segment, a mebibyte at a time.
pub(crate) fn read(
    mut source: impl Read,
    report: &mut ReadReport,
    each: &mut impl FnMut(Entry),
) -> io::Result<()> {
    let mut held = Vec::new();
    // Bytes in a row that belong to no record.
    let mut stray = 0;
    loop {
        let more = source.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut held);
        let mut rest = held.as_slice();
        while rest.len() >= RECORD_BYTES {
            let length = if let Some(entry) = record::decode(rest) {
                settle_stray(&mut stray, report);
                report.entries += 1;
                each(entry);
                RECORD_BYTES
            } else {
                stray += 1;
                1
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        let kept = rest.len();
        if !matches!(more, Ok(1..)) {
            stray += kept;
            settle_stray(&mut stray, report);
            return more.map(drop);
        }
        held.drain(..held.len() - kept);
    }
}

/// A run of damaged bytes ends: as many records as would have fitted, at least one.
fn settle_stray(stray: &mut usize, report: &mut ReadReport) {
    let bytes = std::mem::take(stray);
    report.damaged += bytes.div_ceil(RECORD_BYTES) as u64;
    report.damaged_bytes += bytes as u64;
}
