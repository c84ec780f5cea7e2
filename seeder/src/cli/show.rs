//! `seeder show TORRENT`: all that is known of one torrent.

use std::fmt::Write as _;

use edge::command::write_out;
use edge::human::{NOTHING, duration};
use edge::output::{Facts, Table};

use super::ask::{self, Common, Seeders};
use super::human::{from_now, left, now, percent, ratio, size, speed, stage};
use super::session::without_secrets;
use super::top::panes::flags;
use super::top::pieces::copies;
use super::{Failure, print};
use crate::engine::view::priority;
use crate::engine::{Details, OptionFacts, TrackerFacts};
use crate::units::Rate;

/// Lines of files or peers before the rest is only counted.
const LINES_MAX: usize = 40;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The torrent, by name, by hash, or by the beginning of either
    #[arg(value_name = "TORRENT")]
    torrent: String,

    /// Print every file and every peer, however many there are
    #[arg(long)]
    every: bool,

    #[command(flatten)]
    common: Common,
}

pub fn run(args: Args) -> Result<(), Failure> {
    ask::block_on(async {
        let seeders = Seeders::find(&args.common).await?;
        for held in seeders.named(&args.torrent).await? {
            let details = seeders.details(&held.id()).await?;
            if args.common.json {
                print(serde_json::to_string(&details).map_err(Failure::failed)?)?;
            } else {
                let lines = if args.every { usize::MAX } else { LINES_MAX };
                write_out(words(&details, lines, now()).as_bytes())?;
            }
        }
        Ok(())
    })
}

fn words(details: &Details, lines: usize, now: i64) -> String {
    let mut text = facts(details, now).to_string();
    section(
        &mut text,
        "trackers",
        trackers(&details.trackers, now),
        details.trackers.len(),
        lines,
    );
    section(
        &mut text,
        "files",
        files(details, lines),
        details.files.len(),
        lines,
    );
    section(
        &mut text,
        "peers",
        peers(details, lines),
        details.peers.len(),
        lines,
    );
    text
}

fn section(text: &mut String, title: &str, table: Table, count: usize, lines: usize) {
    if count == 0 {
        return;
    }
    let _ = write!(text, "\n{title}\n{table}");
    if count > lines {
        let _ = writeln!(text, "… and {} more; --every shows them", count - lines);
    }
}

fn facts(details: &Details, now: i64) -> Facts {
    let torrent = &details.summary;
    let mut facts = Facts::default();
    facts
        .add("name", &torrent.name)
        .add_some("info-hash v1", torrent.info_hash_v1.as_ref())
        .add_some("info-hash v2", torrent.info_hash_v2.as_ref())
        .add("stage", stage(torrent))
        .add_some("why", torrent.why.as_ref())
        .add("done", done(details))
        .add_some("left", left(torrent))
        .add(
            "speed",
            format!(
                "down {}, up {}",
                speed(torrent.download_rate),
                speed(torrent.upload_rate)
            ),
        )
        .add(
            "given",
            format!("{} (ratio {})", size(torrent.uploaded), ratio(torrent)),
        )
        .add("taken", size(torrent.downloaded))
        .add(
            "peers",
            format!("{}, {} of them complete", torrent.peers, torrent.seeds),
        )
        .add(
            "copies",
            format!("{} other complete peers within a week", details.copies),
        )
        .add_some("availability", availability(&details.availability))
        .add("folder", torrent.root.display())
        .add("private", if torrent.private { "yes" } else { "no" })
        .add("limits", limits(&details.options))
        .add("goals", goals(&details.options, details.seeding_seconds))
        .add_some("habits", habits(&details.options))
        .add("added", from_now(now, torrent.added))
        .add_some("comment", details.comment.as_ref());
    for seed in &details.web_seeds {
        facts.add("web seed", without_secrets(seed));
    }
    facts
}

fn done(details: &Details) -> String {
    let torrent = &details.summary;
    let mut said = format!(
        "{} %, {} of {}; {} of {} pieces of {}",
        percent(torrent),
        size(torrent.have_bytes.min(torrent.wanted_bytes)),
        size(torrent.wanted_bytes),
        details.have_count,
        details.piece_count,
        size(u64::from(details.piece_length))
    );
    if torrent.wanted_bytes < torrent.total_bytes {
        let _ = write!(said, "; the whole torrent has {}", size(torrent.total_bytes));
    }
    said
}

fn availability(availability: &[u16]) -> Option<String> {
    copies(availability).map(|(whole, beyond)| format!("the peers hold {whole}.{beyond:02} copies"))
}

/// What bounds it, in words.
pub fn limits(options: &OptionFacts) -> String {
    let mut parts = Vec::new();
    for (name, rate) in [("up", options.upload), ("down", options.download)] {
        if rate.is_some() {
            parts.push(format!("{name} {}", Rate(rate)));
        }
    }
    for (name, count) in [
        ("connections", options.connections),
        ("slots", options.upload_slots),
    ] {
        if let Some(count) = count {
            parts.push(format!("{name} {count}"));
        }
    }
    if parts.is_empty() {
        "none of its own".to_owned()
    } else {
        parts.join(", ")
    }
}

pub fn goals(options: &OptionFacts, seeding_seconds: u64) -> String {
    let parts = [
        options.ratio.map(|ratio| format!("ratio {ratio}")),
        options.seed_seconds.map(|seconds| {
            format!(
                "{} as a seed ({} so far)",
                duration(seconds),
                duration(seeding_seconds)
            )
        }),
        options.copies.map(|copies| format!("{copies} other copies")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        "none; it is given until somebody stops it".to_owned()
    } else {
        parts.join(", or ")
    }
}

fn habits(options: &OptionFacts) -> Option<String> {
    let habits = [
        (options.sequential, "from the first piece to the last"),
        (options.super_seed, "super-seeding"),
        (options.only_given, "its files are never written to"),
    ];
    let said: Vec<&str> = habits
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, what)| what)
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn trackers(trackers: &[TrackerFacts], now: i64) -> Table {
    let mut table = Table::new(&["TRACKER", "NEXT", "LAST", ">SEEDS", ">PEERS", "STATE"]);
    let count = |count: Option<u32>| count.map_or_else(|| NOTHING.to_owned(), |count| count.to_string());
    for tracker in trackers {
        let next = tracker.next.map(|next| from_now(now, next.max(now)));
        let last = tracker.last.map(|last| from_now(now, last.min(now)));
        table.row([
            without_secrets(&tracker.url),
            next.unwrap_or_else(|| NOTHING.to_owned()),
            last.unwrap_or_else(|| NOTHING.to_owned()),
            count(tracker.seeders),
            count(tracker.leechers),
            tracker.state.clone(),
        ]);
    }
    table
}

fn files(details: &Details, lines: usize) -> Table {
    let mut table = Table::new(&["FILE", ">SIZE", ">DONE", "WANTED"]);
    for file in details.files.iter().take(lines) {
        let done = file
            .have_bytes
            .saturating_mul(100)
            .checked_div(file.length)
            .unwrap_or(100);
        table.row([
            file.path.display().to_string(),
            size(file.length),
            format!("{done} %"),
            priority::word(file.priority).to_owned(),
        ]);
    }
    table
}

fn peers(details: &Details, lines: usize) -> Table {
    let mut table = Table::new(&["PEER", "CLIENT", "FLAGS", ">HAS", ">DOWN", ">UP", "AT"]);
    for peer in details.peers.iter().take(lines) {
        table.row([
            peer.address.clone(),
            peer.client.clone().unwrap_or_else(|| NOTHING.to_owned()),
            flags(peer),
            format!("{:.0} %", (peer.have * 100.0).floor()),
            speed(peer.download_rate),
            speed(peer.upload_rate),
            peer.why.clone(),
        ]);
    }
    table
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cli::human::tests::torrent;
    use crate::engine::view::{Calling, Transport};
    use crate::engine::{FileFacts, PeerFacts};
    use crate::torrent::Priority;

    /// Half a torrent of two files, one peer, one tracker.
    pub fn details() -> Details {
        Details {
            summary: torrent("Holidays", "aabb"),
            options: OptionFacts::default(),
            files: ["a.jpg", "raw/b.nef"]
                .iter()
                .enumerate()
                .map(|(index, path)| FileFacts {
                    index,
                    path: path.into(),
                    length: 50_000_000,
                    have_bytes: if index == 0 { 50_000_000 } else { 0 },
                    priority: Priority::Normal,
                })
                .collect(),
            peers: vec![PeerFacts {
                address: "192.0.2.7:16881".to_owned(),
                client: Some("qBittorrent 5.0.2".to_owned()),
                direction: Calling::Incoming,
                transport: Transport::Tcp,
                encrypted: true,
                have: 0.999,
                downloaded: 1,
                uploaded: 2,
                download_rate: 5_000_000,
                upload_rate: 0,
                we_are_interested: true,
                is_interested: true,
                chokes_us: false,
                we_choke: true,
                snubbed: false,
                requests_in: 0,
                requests_out: 12,
                why: "gives to us".to_owned(),
            }],
            trackers: vec![TrackerFacts {
                url: "http://tracker.example:6969/abcdefabcdefabcdefabcdefabcdefab/announce".to_owned(),
                tier: 0,
                state: "works".to_owned(),
                last: Some(940),
                next: Some(1_600),
                seeders: Some(2),
                leechers: None,
                failures: 0,
            }],
            web_seeds: Vec::new(),
            piece_length: 1 << 20,
            piece_count: 8,
            have_count: 4,
            pieces: "f0".to_owned(),
            availability: vec![1, 1, 1, 1, 1, 1, 1, 0],
            copies: 1,
            seeding_seconds: 0,
            wasted: 0,
            comment: None,
            created_by: None,
            creation_date: None,
            magnet: String::new(),
        }
    }

    #[test]
    fn a_torrent_is_shown_with_files_peers_and_trackers_and_without_the_passkey() {
        let mut shown = details();
        shown.summary.why = Some("nobody has the last piece".to_owned());
        let said = words(&shown, 40, 1_000);
        for part in [
            "why           nobody has the last piece\n",
            "done          50 %, 50.00 MB of 100.00 MB; 4 of 8 pieces of 1.05 MB\n",
            "left          10 s\n",
            "tracker.example:6969  in 10 min  1 min ago      2      –  works\n",
            "raw/b.nef  50.00 MB    0 %  normal\n",
            "192.0.2.7:16881  qBittorrent 5.0.2  DuIE   99 %  5.00 MB/s   –  gives to us\n",
        ] {
            assert!(said.contains(part), "{part:?} is missing in\n{said}");
        }
        assert!(!said.contains("abcdefabcdef"), "{said}");
        assert!(words(&shown, 1, 1_000).contains("… and 1 more"));
    }

    #[test]
    fn limits_and_goals_are_words() {
        let mut options = OptionFacts::default();
        assert_eq!(limits(&options), "none of its own");
        options.upload = Some(200_000);
        options.upload_slots = Some(4);
        assert_eq!(limits(&options), "up 200k, slots 4");
        options.ratio = Some(1.5);
        options.seed_seconds = Some(86_400);
        assert_eq!(goals(&options, 3_600), "ratio 1.5, or 1 d as a seed (1 h so far)");
    }
}
