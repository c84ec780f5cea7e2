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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// `up/down/left@secs event`, as an announce reports it.
    fn report(text: &str) -> Report {
        let (numbers, event) = text.split_once(' ').unwrap_or((text, ""));
        let (counters, date) = numbers.split_once('@').unwrap();
        let mut counters = counters.split('/').map(|number| number.parse().unwrap());
        Report {
            uploaded: counters.next().unwrap(),
            downloaded: counters.next().unwrap(),
            left: counters.next().unwrap(),
            event: match event {
                "started" => Event::Started,
                "completed" => Event::Completed,
                "stopped" => Event::Stopped,
                "paused" => Event::Paused,
                _ => Event::None,
            },
            date: Date(date.parse().unwrap()),
        }
    }

    /// Enters one report after the other, and compares what each was worth: `up/down`, with seconds of seeding and a `!` for a
    /// completion.
    #[track_caller]
    fn check(story: &[(&str, &str)]) {
        let mut mark = None;
        for (announce, worth) in story {
            let (next, credit) = enter(mark.as_ref(), &report(announce));
            let seeded = match credit.seeded_secs {
                0 => String::new(),
                secs => format!(" {secs}s"),
            };
            let completed = if credit.completed { "!" } else { "" };
            let got = format!("{}/{}{seeded}{completed}", credit.uploaded, credit.downloaded);
            assert_eq!(got, *worth, "{announce} in {story:?}");
            mark = Some(next);
        }
    }

    #[test]
    fn what_grows_is_credited_by_the_difference() {
        check(&[
            ("0/0/9@0 started", "0/0"),
            ("5/3/6@10", "5/3"),
            ("5/3/6@20", "0/0"),
            ("7/9/0@30 completed", "2/6!"),
        ]);
    }

    #[test]
    fn at_first_sight_only_a_started_is_credited() {
        check(&[("5/3/9@0 started", "5/3"), ("6/3/9@1", "1/0")]);
        check(&[("5/3/9@0", "0/0"), ("6/3/9@1", "1/0")]);
        check(&[("5/3/0@0 completed", "0/0"), ("6/3/0@1", "1/0 1s")]);
        check(&[("5/3/9@0 stopped", "0/0"), ("6/3/9@1", "1/0")]);
        check(&[("5/3/9@0 paused", "0/0"), ("6/3/9@1 paused", "1/0")]);
    }

    #[test]
    fn a_started_repeated_because_nobody_answered_counts_once() {
        check(&[
            ("4/2/9@0 started", "4/2"),
            ("4/2/9@1 started", "0/0"),
            ("6/2/9@2 started", "2/0"),
        ]);
    }

    #[test]
    fn less_with_started_is_a_new_start_and_credited_whole() {
        check(&[
            ("0/0/9@0 started", "0/0"),
            ("100/50/9@9", "100/50"),
            ("2/1/9@10 started", "2/1"),
            ("3/1/9@11", "1/0"),
        ]);
    }

    #[test]
    fn a_pause_may_let_counters_go_on_or_begin_anew() {
        check(&[
            ("0/0/9@0 started", "0/0"),
            ("8/4/5@5 stopped", "8/4"),
            ("8/4/5@90 started", "0/0"),
            ("9/5/4@99", "1/1"),
        ]);
        check(&[
            ("0/0/9@0 started", "0/0"),
            ("8/4/5@5 stopped", "8/4"),
            ("0/0/5@90 started", "0/0"),
            ("9/5/4@99", "9/5"),
        ]);
        check(&[
            ("0/0/9@0 started", "0/0"),
            ("8/4/5@5 stopped", "8/4"),
            ("9/4/5@90", "1/0"),
        ]);
    }

    #[test]
    fn a_counter_that_falls_by_itself_is_credited_again_only_above_its_mark() {
        check(&[
            ("0/0/9@0 started", "0/0"),
            ("7/100/9@1", "7/100"),
            ("8/90/9@2", "1/0"),
            ("9/99/9@3", "1/0"),
            ("9/103/9@4", "0/3"),
        ]);
        check(&[
            ("0/0/9@0 started", "0/0"),
            ("7/100/9@1", "7/100"),
            ("7/90/9@2 stopped", "0/0"),
        ]);
    }

    #[test]
    fn completed_is_believed_by_what_is_left_and_counted_once() {
        check(&[
            ("0/0/9@0 started", "0/0"),
            ("0/9/0@1", "0/9!"),
            ("0/9/0@2 completed", "0/0 1s"),
        ]);
        check(&[("0/0/0@0 started", "0/0"), ("0/0/0@1 completed", "0/0 1s")]);
        check(&[("0/0/9@0 started", "0/0"), ("0/5/4@1 completed", "0/5")]);
    }

    #[test]
    fn seeding_is_time_between_two_announces_of_a_seeder_that_stayed() {
        check(&[
            ("0/0/0@100 started", "0/0"),
            ("0/0/0@1900", "0/0 1800s"),
            ("0/0/0@2000 stopped", "0/0 100s"),
        ]);
        check(&[
            ("0/0/0@0", "0/0"),
            ("0/0/0@10 stopped", "0/0 10s"),
            ("0/0/0@500 started", "0/0"),
            ("0/0/0@510", "0/0 10s"),
        ]);
        check(&[("0/0/0@0", "0/0"), ("0/0/0@100000", "0/0 3900s")]);
        check(&[("0/0/0@50", "0/0"), ("0/0/0@20", "0/0"), ("0/0/0@30", "0/0 10s")]);
    }

    #[test]
    fn no_number_is_too_large() {
        let huge = format!("{0}/{0}/{0}@{1} started", u64::MAX, u32::MAX);
        let (mark, credit) = enter(None, &report(&huge));
        assert_eq!(
            (mark.uploaded, mark.left, credit.downloaded),
            (COUNTER_MAX, COUNTER_MAX, COUNTER_MAX)
        );
        let (_, again) = enter(Some(&mark), &report(&huge));
        assert_eq!(again, Credit::default());
        assert!(
            COUNTER_MAX
                .checked_mul(30_000)
                .is_some_and(|sum| i64::try_from(sum).is_ok())
        );
        let most = Tariff {
            upload_percent: u16::MAX,
            download_percent: 0,
        };
        let credit = Credit {
            uploaded: u64::MAX,
            downloaded: u64::MAX,
            ..credit
        };
        assert_eq!(
            charge(&credit, most),
            Charged {
                upload_credit: u64::MAX,
                download_charge: 0
            }
        );
    }

    #[test]
    fn a_charge_loses_less_than_a_byte_an_announce() {
        let tariff = Tariff {
            upload_percent: 150,
            download_percent: 33,
        };
        let mut sum = Charged::default();
        for bytes in 1..=1_000 {
            let charged = charge(
                &Credit {
                    uploaded: bytes,
                    downloaded: bytes,
                    ..Credit::default()
                },
                tariff,
            );
            sum.upload_credit += charged.upload_credit;
            sum.download_charge += charged.download_charge;
        }
        let whole = 500_500;
        assert!((whole * 3 / 2 - 1_000..=whole * 3 / 2).contains(&sum.upload_credit));
        assert!((whole * 33 / 100 - 1_000..=whole * 33 / 100).contains(&sum.download_charge));
        let plain = charge(
            &Credit {
                uploaded: 7,
                downloaded: 9,
                ..Credit::default()
            },
            Tariff::default(),
        );
        assert_eq!(
            plain,
            Charged {
                upload_credit: 7,
                download_charge: 9
            }
        );
    }

    #[test]
    fn the_journal_must_hold_what_opens_closes_or_completes() {
        let live = enter(None, &report("1/1/9@0 started")).0;
        let ended = enter(Some(&live), &report("1/1/9@0 stopped")).0;
        for (before, announce, lasting) in [
            (None, "0/0/9@0", true),
            (None, "0/0/9@0 started", true),
            (Some(live), "2/2/9@1", false),
            (Some(live), "2/2/9@1 paused", false),
            (Some(live), "2/2/0@1", true),
            (Some(live), "2/2/9@1 started", true),
            (Some(live), "2/2/9@1 completed", true),
            (Some(live), "2/2/9@1 stopped", true),
            (Some(ended), "2/2/9@1", true),
            (Some(ended), "2/2/9@1 stopped", true),
        ] {
            assert_eq!(
                is_lasting(before.as_ref(), &report(announce)),
                lasting,
                "{announce} after {before:?}"
            );
        }
    }

    /// What a counter is worth on replay: `known` is what the store has, `before` how the session stood.
    #[track_caller]
    fn check_replay(known: Option<u64>, before: Option<u64>, announce: &str, worth: u64) {
        let mark = |uploaded| Mark {
            uploaded,
            downloaded: 0,
            left: 9,
            heard: Date(0),
            ended: false,
        };
        let (known, before) = (known.map(mark), before.map(mark));
        let (_, credit) = replay(known.as_ref(), before.as_ref(), &report(announce));
        assert_eq!(credit.uploaded, worth, "{announce} at {known:?}, {before:?}");
    }

    #[test]
    fn a_replay_credits_what_was_counted_between_two_entries_too() {
        check_replay(None, None, "7/0/9@0 started", 7);
        check_replay(None, None, "7/0/9@0", 0);
        check_replay(Some(100), Some(100), "120/0/9@0 stopped", 20);
        check_replay(Some(100), Some(150), "160/0/9@0 stopped", 60);
        check_replay(Some(100), Some(150), "120/0/9@0 started", 170);
        // The entry of a new start in between is damaged.
        check_replay(Some(100), Some(30), "40/0/9@0 stopped", 40);
        // The entry of the first sight is damaged: its baseline is not known.
        check_replay(None, Some(30), "40/0/9@0 stopped", 10);
    }

    fn scene(uploaded: u64, downloaded: u64, elapsed: Option<u64>, wanted: bool) -> Option<SuspicionKind> {
        let scene = Scene {
            member: MemberId(1),
            torrent: TorrentId(2),
            date: Date(3),
            credit: Credit {
                uploaded,
                downloaded,
                ..Credit::default()
            },
            elapsed: elapsed.map(Duration::from_secs),
            wanted,
            line: NonZero::new(MIB),
        };
        let suspicion = judge(&scene)?;
        assert_eq!(
            (suspicion.member, suspicion.torrent, suspicion.date),
            (MemberId(1), TorrentId(2), Date(3))
        );
        assert!(
            suspicion.evidence.contains(&uploaded.max(downloaded).to_string()),
            "{suspicion:?}"
        );
        Some(suspicion.kind)
    }

    #[test]
    fn who_gives_although_nobody_asks_is_marked() {
        assert_eq!(scene(100 * MIB, 0, Some(1_800), true), None);
        assert_eq!(
            scene(100 * MIB, 0, Some(1_800), false),
            Some(SuspicionKind::NobodyToGiveTo)
        );
        assert_eq!(scene(MIB, 0, Some(1_800), false), None);
        assert_eq!(scene(0, 100 * MIB, Some(1_800), false), None);
    }

    #[test]
    fn who_is_faster_than_the_line_is_marked_and_a_burst_counts_over_the_whole_pause() {
        assert_eq!(scene(9 * MIB, 0, Some(9), true), None);
        assert_eq!(scene(11 * MIB, 0, Some(9), true), Some(SuspicionKind::Faster));
        assert_eq!(scene(0, 11 * MIB, Some(9), true), Some(SuspicionKind::Faster));
        assert_eq!(scene(1_000 * MIB, 0, Some(1_800), true), None);
        // Two announces in one second may be two seconds apart, and at first sight there is nothing to measure by.
        assert_eq!(scene(MIB, 0, Some(0), true), None);
        assert_eq!(scene(1_000 * MIB, 0, None, false), None);
    }

    #[test]
    fn a_torrent_whose_sums_differ_by_more_than_slack_is_out_of_balance() {
        assert_eq!(weigh(0, 0), None);
        assert_eq!(weigh(60 * MIB, 0), None);
        assert_eq!(weigh(100 * MIB, 0), Some(Surplus::Uploads));
        assert_eq!(weigh(0, 100 * MIB), Some(Surplus::Downloads));
        assert_eq!(weigh(10_400 * MIB, 10_000 * MIB), None);
        assert_eq!(weigh(11_000 * MIB, 10_000 * MIB), Some(Surplus::Uploads));
        assert_eq!(weigh(u64::MAX, u64::MAX), None);
    }
}
