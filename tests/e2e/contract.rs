//! What people's scripts rely on: exit codes, JSON, metrics, and the commands that the README names.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use serde_json::Value;
use tests::rig::{Program, Running, Stream, fill};

use crate::album::{Album, LIMIT, Tracker, inspect};

/// The whole answer to a GET, as text as far as it is text.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Where to scrape a torrent.
pub(crate) fn scrape_path(torrent: &Path) -> String {
    let hash = inspect(torrent)["info_hash_v1"].as_str().unwrap().to_owned();
    let escaped = hash
        .as_bytes()
        .chunks(2)
        .flat_map(|pair| ["%".into(), String::from_utf8_lossy(pair)]);
    format!("/scrape?info_hash={}", escaped.collect::<String>())
}

/// The address of a `seed --json`, once peers are welcome there: when it has looked what is on the disk.
#[track_caller]
pub(crate) fn peer_address(seeding: &Running) -> String {
    seeding.wait_for_line(r#""event":"checked""#, LIMIT);
    seeding.wait_for(Stream::Out, LIMIT, |line| {
        let facts: Value = serde_json::from_str(line).ok()?;
        let listen = facts.get("listen")?;
        Some(listen.as_str().or_else(|| listen[0].as_str())?.to_owned())
    })
}

#[track_caller]
fn refused(program: Program, code: i32, names: &str) {
    let ended = program.run(LIMIT);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.stdout.is_empty(), "errors go to standard error: {ended:?}");
    assert!(
        ended.stderr.iter().any(|line| line.contains(names)),
        "it does not name `{names}`: {ended:?}"
    );
}

#[test]
fn inspect_prints_one_object_with_everything_that_scripts_need() {
    let album = Album::small();
    let torrent = album.create(&[
        "--hybrid",
        "--private",
        "--tracker",
        "http://tracker.test/announce",
    ]);
    let facts = inspect(&torrent);
    assert_eq!(facts["name"], "Holidays");
    assert_eq!(facts["private"], true);
    assert_eq!(facts["content_files"], 6);
    assert_eq!(facts["content_size"], 2_500_000 + 1 + 16_384 + 700_001 + 40_000);
    assert_eq!(facts["info_hash_v1"].as_str().map(str::len), Some(40));
    assert_eq!(facts["info_hash_v2"].as_str().map(str::len), Some(64));
    assert!(facts["piece_length"].as_u64().is_some_and(u64::is_power_of_two));
    assert!(
        facts["trackers"]
            .to_string()
            .contains("http://tracker.test/announce")
    );
    let files = facts["files"].as_array().unwrap();
    assert!(
        files
            .iter()
            .any(|file| file["length"] == 700_001 && file["path"].to_string().contains("IMG_0004.jpg"))
    );
}

#[test]
fn a_torrent_that_is_none_is_refused_with_a_reason() {
    let album = Album::small();
    let bad = album.place("bad.torrent");
    fs::write(&bad, b"d4:infod4:name").unwrap();
    refused(
        Program::seeder().args(["inspect", "--json"]).arg(&bad),
        1,
        "bad.torrent",
    );
    refused(
        Program::seeder()
            .args(["inspect", "--json"])
            .arg(album.place("none.torrent")),
        1,
        "none.torrent",
    );
}

#[test]
fn ten_thousand_nested_lists_in_a_torrent_are_refused() {
    let album = Album::small();
    let bad = album.place("deep.torrent");
    let nested = format!("d4:info{}{}e", "l".repeat(10_000), "e".repeat(10_000));
    fs::write(&bad, nested).unwrap();
    refused(
        Program::seeder().args(["inspect", "--json"]).arg(&bad),
        1,
        "deep.torrent",
    );
    fs::write(&bad, b"d4:info10000000000:x").unwrap();
    refused(
        Program::seeder().args(["inspect", "--json"]).arg(&bad),
        1,
        "deep.torrent",
    );
}

#[test]
fn content_of_no_bytes_makes_no_torrent() {
    let album = Album::of(&[0, 0]);
    let output = album.place("empty.torrent");
    refused(
        Program::seeder()
            .arg("create")
            .arg(album.content())
            .arg("--output")
            .arg(&output),
        1,
        "Holidays",
    );
    assert!(!output.exists());
}

#[test]
fn wrong_usage_is_exit_code_two() {
    refused(Program::seeder().arg("fly"), 2, "fly");
    refused(Program::tracker().arg("fly"), 2, "fly");
    refused(
        Program::seeder().args(["create", "--piece-length", "12x", "."]),
        2,
        "12x",
    );
    let album = Album::small();
    let torrent = album.create(&[]);
    refused(
        album.get(&torrent, "127.0.0.1:0").args(["--transport", "utp"]),
        2,
        "utp",
    );
}

#[test]
fn a_getter_that_is_given_nothing_to_get_says_so() {
    let album = Album::small();
    refused(
        album.get(album.place("none.torrent"), "127.0.0.1:0"),
        1,
        "none.torrent",
    );
}

#[test]
fn the_same_folder_makes_the_same_torrent_and_junk_is_left_out() {
    let album = Album::small();
    let first = fs::read(album.create(&[])).unwrap();
    for junk in [".DS_Store", "Thumbs.db", "@eaDir/IMG_0000.jpg/thumb.jpg"] {
        fill(&album.content().join(junk), 9, 100);
    }
    assert_eq!(fs::read(album.create(&[])).unwrap(), first);
}

#[test]
fn the_tracker_shows_metrics_and_health_to_its_owner() {
    let tracker = Tracker::start("127.0.0.1:0");
    let album = Album::small();
    let torrent = album.create(&["--tracker", &tracker.announce]);
    let _seeding = album.seed(&torrent, "127.0.0.1:0");
    album.get(&torrent, "127.0.0.1:0").run(LIMIT).succeeded();
    let metrics = http_get(tracker.admin, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(
        metrics.lines().any(|line| line.starts_with("tracker_")),
        "{metrics}"
    );
    let hash = inspect(&torrent)["info_hash_v1"].as_str().unwrap().to_owned();
    assert!(
        !metrics.contains(&hash) && !metrics.contains("127.0.0.1"),
        "a metric names a torrent or a peer"
    );
    assert!(http_get(tracker.admin, "/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_embedded_tracker_of_share_serves_what_is_shared_and_nothing_else() {
    let album = Album::small();
    let sharing = Program::seeder()
        .args([
            "share",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--tracker-listen",
            "127.0.0.1:0",
        ])
        .arg(album.content())
        .arg("--data")
        .arg(album.place("share-state"))
        .start();
    let announce = sharing.wait_for_json("magnet", LIMIT)["announce"]
        .as_str()
        .unwrap()
        .to_owned();
    let (address, path) = announce.trim_start_matches("http://").split_once('/').unwrap();
    let stranger = format!(
        "/{path}?info_hash={}&peer_id=-XX0001-abcdefghijkl&port=9&left=1",
        "a".repeat(20)
    );
    let answer = http_get(address.parse().unwrap(), &stranger);
    assert!(answer.contains("14:failure reason"), "{answer}");
}

/// Every `seeder WORD` and `tracker WORD` of the README is a command that exists, with the flags that stand there.
#[test]
fn the_commands_of_the_readme_exist() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let mut found = 0;
    for line in readme.lines() {
        for (program, command, below) in commands(line) {
            let run = if program == "seeder" {
                Program::seeder()
            } else {
                Program::tracker()
            };
            // A group of commands shows its flags one step further down.
            let group = ["member", "invite", "torrent", "token", "config"].contains(&command);
            let help = run
                .arg(command)
                .args(below.filter(|_| group))
                .arg("--help")
                .run(LIMIT)
                .succeeded()
                .stdout
                .join("\n");
            for flag in line
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .filter(|word| is_flag(word))
            {
                // Cargo's own flags stand in the same line.
                let cargos = line.contains("cargo") && ["--release", "--bin"].contains(&flag);
                assert!(
                    cargos || help.contains(flag),
                    "the README says `{line}`, but there is no {flag}"
                );
            }
            found += 1;
        }
    }
    assert!(found > 1, "the README shows only {found} commands");
}

fn is_flag(word: &str) -> bool {
    word.strip_prefix("--")
        .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// Programs and the commands after them, in a line that is typed as it stands.
fn commands(line: &str) -> Vec<(&'static str, &str, Option<&str>)> {
    let line = line.trim().trim_start_matches("$ ");
    let typed = ["seeder ", "tracker ", "cargo run", "./target"]
        .iter()
        .any(|start| line.starts_with(start));
    let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "--").collect();
    let pairs = (0..words.len()).filter_map(|at| match words.get(at..at + 2)? {
        [program, command] if command.starts_with(|c: char| c.is_ascii_lowercase()) => {
            let program = ["seeder", "tracker"]
                .into_iter()
                .find(|name| program.rsplit('/').next() == Some(name))?;
            Some((program, *command, words.get(at + 2).copied()))
        }
        _ => None,
    });
    if typed { pairs.collect() } else { Vec::new() }
}
