//! What an announce is worth: the rules of the accounts, one counter and one session at a time (DESIGN decision 11).

use shared::announce::Event;

use super::ids::Date;

/// What one announce says about bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub uploaded: u64,
    pub downloaded: u64,
    pub left: u64,
    pub event: Event,
    pub date: Date,
}

/// What is remembered of a session, (member, torrent, peer id), between two announces and over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The highest counters so far, in bytes.
    pub uploaded: u64,
    pub downloaded: u64,
    /// Bytes missing, as last reported.
    pub left: u64,
    /// When it was last heard.
    pub heard: Date,
    /// It said farewell; the time until its next announce is no time of seeding.
    pub ended: bool,
}

/// What an announce adds to the account of its member and torrent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// Bytes, as the client counts them.
    pub uploaded: u64,
    pub downloaded: u64,
    /// Seconds of seeding since the announce before.
    pub seeded_secs: u32,
    /// `left` went from more than 0 to 0.
    pub completed: bool,
}

/// What a byte counts for, in hundredths; 0 for downloads is a freeleech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    pub upload_percent: u16,
    pub download_percent: u16,
}

impl Default for Tariff {
    fn default() -> Self {
        Self {
            upload_percent: 100,
            download_percent: 100,
        }
    }
}

/// Enters a report into a session: the mark that stands from now on, and what the report is worth. For each counter: not less
/// than before is credited by the difference; less with `started` is a new start and credited whole; less otherwise is worth
/// nothing and leaves the mark. At first sight only a `started` is credited; anything else is the baseline.
pub fn enter(mark: Option<&Mark>, report: &Report) -> (Mark, Credit) {
    let started = report.event == Event::Started;
    let (uploaded, gave) = count(mark.map(|mark| mark.uploaded), report.uploaded, started);
    let (downloaded, took) = count(mark.map(|mark| mark.downloaded), report.downloaded, started);
    let credit = Credit {
        uploaded: gave,
        downloaded: took,
        seeded_secs: mark.map_or(0, |mark| seeded(mark, report)),
        completed: report.left == 0 && mark.is_some_and(|mark| mark.left > 0),
    };
    let mark = Mark {
        uploaded,
        downloaded,
        left: report.left,
        heard: report.date,
        ended: report.event == Event::Stopped,
    };
    (mark, credit)
}

/// A counter's high mark, and what the new value is worth.
fn count(last: Option<u64>, new: u64, started: bool) -> (u64, u64) {
    match last {
        None if started => (new, new),
        None => (new, 0),
        Some(last) if new >= last => (new, new - last),
        Some(_) if started => (new, new),
        Some(last) => (last, 0),
    }
}

/// Time between two announces of a seeder; a new start or a farewell before it begins anew.
fn seeded(mark: &Mark, report: &Report) -> u32 {
    if mark.ended || mark.left > 0 || report.left > 0 || report.event == Event::Started {
        return 0;
    }
    report.date.0.saturating_sub(mark.heard.0)
}
