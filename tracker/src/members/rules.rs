//! What an announce is worth: the rules of the accounts, one counter and one session at a time (DESIGN decision 11), what
//! that costs at a tariff, and what is hard to believe. Called under a shard's lock and again when the journal is read; it
//! must never know where sessions are kept.

use std::num::NonZero;
use std::time::Duration;

use shared::announce::Event;

use super::ids::{Date, MemberId, TorrentId};

/// Counters beyond this are taken for this: six bytes hold it, and the sum of thirty thousand sessions at the limit still
/// fits the database's signed 64 bits.
pub const COUNTER_MAX: u64 = (1 << 48) - 1;

/// At most so much of the time between two announces counts as seeding: a peer that is silent for longer was not given out.
const SEEDING_GAP_MAX_SECS: u32 = 65 * 60;

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

/// A credit at the tariff of its time, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    pub upload_credit: u64,
    pub download_charge: u64,
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
        completed: completes(mark, report),
    };
    let mark = Mark {
        uploaded,
        downloaded,
        left: report.left.min(COUNTER_MAX),
        heard: report.date,
        ended: report.event == Event::Stopped,
    };
    (mark, credit)
}

/// Must the journal hold this report before it is answered? What opens, closes or completes a session: a report that cannot be
/// made up for by the next, because the counters after it may begin anew, or because there is no next.
pub fn is_lasting(before: Option<&Mark>, report: &Report) -> bool {
    match report.event {
        Event::Started | Event::Completed | Event::Stopped => true,
        Event::None | Event::Paused => before.is_none_or(|mark| mark.ended) || completes(before, report),
    }
}

/// Repeats from the journal what [`enter`] did to a session. `known` is the session as the store and the entries so far have
/// it; `before` is how it stood when the report came in. They differ by the counters in between, which are in no journal, and
/// that difference is credited too: a new start behind it would hide it for ever.
pub fn replay(known: Option<&Mark>, before: Option<&Mark>, report: &Report) -> (Mark, Credit) {
    let (mark, mut credit) = enter(before, report);
    if let (Some(known), Some(before)) = (known, before) {
        credit.uploaded += missed(known.uploaded, before.uploaded);
        credit.downloaded += missed(known.downloaded, before.downloaded);
        credit.completed |= known.left > 0 && before.left == 0;
    }
    (mark, credit)
}

/// What a counter gained unseen. Where it stands lower than known, the entry of a new start was damaged; all that came after
/// that start was credited.
fn missed(known: u64, before: u64) -> u64 {
    before.checked_sub(known).unwrap_or(before)
}

/// A counter's high mark, and what the new value is worth.
fn count(last: Option<u64>, new: u64, started: bool) -> (u64, u64) {
    let new = new.min(COUNTER_MAX);
    match last {
        None if started => (new, new),
        None => (new, 0),
        Some(last) if new >= last => (new, new - last),
        Some(_) if started => (new, new),
        Some(last) => (last, 0),
    }
}

fn completes(mark: Option<&Mark>, report: &Report) -> bool {
    report.left == 0 && mark.is_some_and(|mark| mark.left > 0)
}

/// Time between two announces of a seeder; a new start or a farewell before it begins anew.
fn seeded(mark: &Mark, report: &Report) -> u32 {
    if mark.ended || mark.left > 0 || report.left > 0 || report.event == Event::Started {
        return 0;
    }
    let gap = report.date.0.saturating_sub(mark.heard.0);
    gap.min(SEEDING_GAP_MAX_SECS)
}

/// What a credit counts for. Rounded down, so that an announce loses less than a byte.
pub fn charge(credit: &Credit, tariff: Tariff) -> Charged {
    Charged {
        upload_credit: share(credit.uploaded, tariff.upload_percent),
        download_charge: share(credit.downloaded, tariff.download_percent),
    }
}

fn share(bytes: u64, percent: u16) -> u64 {
    let share = u128::from(bytes) * u128::from(percent) / 100;
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// What is hard to believe. A mark for the owner to look at, never a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SuspicionKind {
    /// Uploaded while no other peer wanted anything.
    NobodyToGiveTo,
    /// More bytes in its time than the stated line carries.
    Faster,
    /// A torrent's uploads and downloads are not the same bytes.
    Unbalanced,
}

impl SuspicionKind {
    /// Its name in the store and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NobodyToGiveTo => "nobody_to_give_to",
            Self::Faster => "faster_than_line",
            Self::Unbalanced => "unbalanced_torrent",
        }
    }
}

/// A suspicion with its evidence, in words that the owner can check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    pub member: MemberId,
    pub torrent: TorrentId,
    pub kind: SuspicionKind,
    pub evidence: String,
    pub date: Date,
}

/// One announce's credit, and what was known around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    pub member: MemberId,
    pub torrent: TorrentId,
    pub date: Date,
    pub credit: Credit,
    /// Since the session's report before; none at first sight, where nothing can be measured.
    pub elapsed: Option<Duration>,
    /// Somebody else of the torrent missed bytes at some time since that report, or nobody can tell.
    pub wanted: bool,
    /// Bytes a second that the fastest member's line carries, where the owner has stated it.
    pub line: Option<NonZero<u64>>,
}

/// Fewer bytes than this are given without being asked about: a block counted late, a neighbour found by other means.
const GIVEN_UNASKED_MAX: u64 = 4 << 20;

/// Is this announce hard to believe?
pub fn judge(scene: &Scene) -> Option<Suspicion> {
    let elapsed = scene.elapsed?;
    let found = |kind, evidence| {
        Some(Suspicion {
            member: scene.member,
            torrent: scene.torrent,
            kind,
            evidence,
            date: scene.date,
        })
    };
    // Reports are dated to the second: two of them may be almost one second further apart than their dates.
    let secs = elapsed.as_secs() + 1;
    let (up, down) = (scene.credit.uploaded, scene.credit.downloaded);
    if let Some(line) = scene.line.filter(|line| up.max(down) / secs > line.get()) {
        let (bytes, did) = if up >= down {
            (up, "uploaded")
        } else {
            (down, "downloaded")
        };
        let rate = bytes / secs;
        let evidence =
            format!("{did} {bytes} bytes in {secs} s, {rate} bytes a second; the line carries {line}");
        return found(SuspicionKind::Faster, evidence);
    }
    if up > GIVEN_UNASKED_MAX && !scene.wanted {
        let evidence =
            format!("uploaded {up} bytes in {secs} s while no other peer of the torrent missed any");
        return found(SuspicionKind::NobodyToGiveTo, evidence);
    }
    None
}

/// Uploads and downloads of a torrent differ honestly by this: pieces that failed their hash, baselines, last words lost.
const BALANCE_SLACK_BYTES: u64 = 64 << 20;

/// The same as a part of the larger sum, in hundredths.
const BALANCE_SLACK_PERCENT: u64 = 5;

/// Which of a torrent's two sums is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surplus {
    /// Somebody claims uploads that nobody received.
    Uploads,
    /// Somebody received from where no member gave, or hides what was given.
    Downloads,
}

/// Do all members' uploads of a torrent match all their downloads?
pub fn weigh(uploaded: u64, downloaded: u64) -> Option<Surplus> {
    let slack = (uploaded.max(downloaded) / 100 * BALANCE_SLACK_PERCENT).max(BALANCE_SLACK_BYTES);
    if uploaded.abs_diff(downloaded) <= slack {
        return None;
    }
    Some(if uploaded > downloaded {
        Surplus::Uploads
    } else {
        Surplus::Downloads
    })
}
