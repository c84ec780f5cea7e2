//! The pages that Prometheus scrapes, of both programs: every series is explained, named by one habit, and bounded.

use std::collections::{BTreeMap, BTreeSet};

use tests::rig::{HttpRequest, ask_until};

use crate::album::{Album, LIMIT, Tracker};
use crate::operating::Owner;

/// Labels whose values are few, and chosen by us.
const LABELS: &[&str] = &[
    "state",
    "result",
    "reason",
    "version",
    "le",
    "ip_version",
    "protocol",
    "type",
    "direction",
    "role",
    "family",
];

/// Series of one page, whatever is shared.
const SERIES_MAX: usize = 400;

/// What breaks a habit, line by line.
fn offences(page: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut explained = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap_or((help, ""));
            explained.insert(name);
            if words.is_empty() || (name.starts_with(prefix) && !words.ends_with('.')) {
                found.push(format!("{name} is not explained in a sentence: {words:?}"));
            }
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap_or((kind, ""));
            kinds.insert(name, kind);
            if (kind == "counter") != name.ends_with("_total") && !name.starts_with("process_") {
                found.push(format!(
                    "{name} is a {kind}: counters end in _total, and nothing else does"
                ));
            }
        } else {
            found.extend(series(line, prefix, &kinds));
            let (key, _) = line.rsplit_once(' ').unwrap_or((line, ""));
            if !seen.insert(key) {
                found.push(format!("{key} stands there twice"));
            }
        }
    }
    found.extend(
        kinds
            .keys()
            .filter(|name| !explained.contains(*name))
            .map(|name| format!("{name} has no help")),
    );
    if seen.len() > SERIES_MAX {
        found.push(format!("{} series are too many", seen.len()));
    }
    found
}

fn series(line: &str, prefix: &str, kinds: &BTreeMap<&str, &str>) -> Option<String> {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    let parts = ["_bucket", "_sum", "_count"];
    let base = parts
        .iter()
        .find_map(|part| name.strip_suffix(part))
        .filter(|base| kinds.contains_key(base));
    if !kinds.contains_key(base.unwrap_or(name)) {
        return Some(format!("{name} has no type"));
    }
    if !name.starts_with(prefix) && !name.starts_with("process_") {
        return Some(format!("{name} does not begin with {prefix}"));
    }
    let labels = line
        .split_once('{')
        .and_then(|(_, rest)| rest.rsplit_once('}'))
        .map_or("", |(labels, _)| labels);
    let names = labels
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(name, _)| name);
    let strange: Vec<&str> = names.filter(|name| !LABELS.contains(name)).collect();
    (!strange.is_empty())
        .then(|| format!("{name} has the labels {strange:?}, whose values nobody has bounded"))
}

#[test]
fn the_seeders_page_keeps_to_the_habits_and_names_no_torrent() {
    let album = Album::small();
    let torrent = album.create(&[]);
    let owner = Owner::of(album.place("state"));
    let running = owner
        .program(&[
            "run",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ])
        .start();
    let admin = running.wait_for_json("admin", LIMIT)["admin"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let adding = owner.program(&["add"]).arg(&torrent).arg("--content");
    adding.arg(album.place("home")).run(LIMIT).succeeded();
    owner.wait_stage("Holidays", "seeding");
    let page = HttpRequest::get("/metrics").send(admin).succeeded().text();
    assert_eq!(offences(&page, "seeder_"), Vec::<String>::new());
    assert!(page.contains("seeder_torrents{state=\"seeding\"} 1"), "{page}");
    assert!(!page.contains("Holidays"), "{page}");
    owner.does(&["remove", "Holidays"]);
    let page = HttpRequest::get("/metrics").send(admin).succeeded().text();
    assert!(page.contains("seeder_torrents{state=\"seeding\"} 0"), "{page}");
}

#[test]
fn announces_that_were_answered_and_those_that_failed_are_counted_apart() {
    let tracker = Tracker::start("127.0.0.1:0");
    let album = Album::small();
    // Nobody listens on the first port, which only root may open.
    let torrent = album.create(&[
        "--tracker",
        &tracker.announce,
        "--tracker",
        "http://127.0.0.1:1/announce",
    ]);
    let owner = Owner::of(album.place("state"));
    let running = owner
        .program(&[
            "run",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ])
        .start();
    let admin = running.wait_for_json("admin", LIMIT)["admin"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let adding = owner.program(&["add"]).arg(&torrent).arg("--content");
    adding.arg(album.place("home")).run(LIMIT).succeeded();
    ask_until("both ends", LIMIT, || {
        let page = HttpRequest::get("/metrics").send(admin).succeeded().text();
        let ok = page.contains("seeder_announces_total{result=\"ok\"} 1\n");
        let failed = page.contains("seeder_announces_total{result=\"failed\"} 0\n");
        (ok && !failed).then_some(())
    });
}

#[test]
fn the_trackers_page_keeps_to_the_habits() {
    let tracker = Tracker::start("127.0.0.1:0");
    let page = HttpRequest::get("/metrics")
        .send(tracker.admin)
        .succeeded()
        .text();
    assert_eq!(offences(&page, "tracker_"), Vec::<String>::new());
}

#[test]
fn a_page_that_breaks_the_habits_is_caught() {
    let good = "# HELP seeder_a_total What it counts.\n# TYPE seeder_a_total counter\nseeder_a_total{state=\"x\"} 1\n";
    assert_eq!(offences(good, "seeder_"), Vec::<String>::new());
    for (page, words) in [
        (good.replace("seeder_a_total", "seeder_a"), "end in _total"),
        (good.replace("What it counts.", ""), "not explained"),
        (good.replace("state", "info_hash"), "info_hash"),
        (good.replace("seeder_a_total", "a_total"), "begin with"),
        (format!("{good}seeder_a_total{{state=\"x\"}} 2\n"), "twice"),
        (format!("{good}seeder_b 2\n"), "no type"),
    ] {
        let found = offences(&page, "seeder_").join("\n");
        assert!(found.contains(words), "{words:?} is not in {found:?}");
    }
}
