//! Borders and habits, kept by a test (DESIGN §1, STYLE §7). Every rule is a function from a file to its offences, so each
//! is also shown a bad file here: a guard that cannot bark guards nothing. The word lists are tripwires, not verdicts.
#![allow(
    clippy::expect_used,
    reason = "a file that cannot be read should stop the test"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// The rules of both programs: no clock, no socket, no disk, no dice of their own.
const PURE: [&str; 18] = [
    "shared/src",
    "tracker/src/swarm",
    "tracker/src/members/clients.rs",
    "tracker/src/members/ids.rs",
    "tracker/src/members/journal/record.rs",
    "tracker/src/members/keys.rs",
    "tracker/src/members/ledger.rs",
    "tracker/src/members/refusal.rs",
    "tracker/src/members/rules.rs",
    "tracker/src/members/torrent_file.rs",
    "seeder/src/torrent",
    "seeder/src/library/digest.rs",
    "seeder/src/library/filter.rs",
    "seeder/src/library/junk.rs",
    "seeder/src/library/order.rs",
    "seeder/src/library/parts.rs",
    "seeder/src/library/piece_length.rs",
    "seeder/src/units.rs",
];

/// Words that would let the outside world into pure code.
const OUTSIDE_WORLD: [&str; 23] = [
    "tokio",
    "axum",
    "edge",
    "hyper",
    "reqwest",
    "prometheus",
    "rustix",
    "socket2",
    "fs",
    "env",
    "process",
    "thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Instant",
    "SystemTime",
    "thread_rng",
    "ThreadRng",
    "HashMap",
    "HashSet",
    "RandomState",
    "println",
];

/// Edges that pure folders of the same crate must not know.
const EDGES: [&str; 19] = [
    "crate::api",
    "crate::cli",
    "crate::folder",
    "crate::members::books",
    "crate::members::journal",
    "crate::members::office",
    "crate::members::store",
    "crate::snapshot",
    "crate::http",
    "crate::server",
    "crate::config",
    "crate::clock",
    "crate::metrics",
    "crate::sweeper",
    "crate::net",
    "crate::driver",
    "crate::disk",
    "crate::engine",
    "crate::discovery",
];

/// What no file of ours may hold: unfinished work and tests that do not run.
const UNFINISHED: [&str; 5] = ["FIXME", "todo!", "unimplemented!", "#[ignore", "dbg!"];

/// One source file, with its path as seen from the root of the workspace.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn made_up(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places
            .iter()
            .any(|place| self.path == *place || self.path.starts_with(&format!("{place}/")))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package has a workspace")
        .to_owned()
}

/// Every Rust file of the workspace, sorted by path.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for package in ["shared", "edge", "tracker", "seeder", "tests"] {
        gather(&root().join(package), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        found.len() > 20,
        "found only {} source files: the walk is broken",
        found.len()
    );
    found
}

fn gather(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("an entry of the workspace").path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            gather(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let path = path
                .strip_prefix(root())
                .expect("inside the workspace")
                .to_string_lossy()
                .into_owned();
            found.push(Source { path, text });
        }
    }
}

/// Code without comments, and with empty strings, so that words in prose are not mistaken for use. Lines stay lines.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (keep, skip) = if rest.starts_with("//") {
            ("", rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            ("", rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if let Some(length) = raw_string(rest, &out) {
            ("\"\"", length)
        } else if first == '"' {
            ("\"\"", string(rest))
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            (
                "' '",
                rest.char_indices()
                    .skip(1)
                    .find(|(_, c)| *c == '\'')
                    .map_or(1, |(at, _)| at + 1),
            )
        } else {
            (rest.get(..first.len_utf8()).unwrap_or(""), first.len_utf8())
        };
        out.push_str(keep);
        let (skipped, after) = rest.split_at(skip);
        if keep != skipped {
            out.extend(skipped.chars().filter(|c| *c == '\n'));
        }
        rest = after;
    }
    out
}

/// The length of a `"…"` at the front.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => (),
        }
    }
    rest.len()
}

/// The length of a `r#"…"#` at the front, where an identifier does not merely end in `r`.
fn raw_string(rest: &str, before: &str) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?;
    let body = hashes.trim_start_matches('#');
    let marks = hashes.len() - body.len();
    if !body.starts_with('"') || before.ends_with(|c: char| c.is_alphanumeric() && c != 'b') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(marks));
    let start = 1 + marks + 1;
    rest.get(start..)?
        .find(&close)
        .map(|end| start + end + close.len())
}

/// Splits code into what ships and what stands under `#[cfg(test)]`.
fn product_and_tests(text: &str) -> (String, String) {
    let (mut product, mut tests) = (String::new(), String::new());
    let code = code(text);
    let mut rest = code.as_str();
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, after) = rest.split_at(at);
        product.push_str(before);
        let (under_test, after) = after.split_at(item(after));
        tests.push_str(under_test);
        rest = after;
    }
    product.push_str(rest);
    (product, tests)
}

/// The length of the item at the front: up to its closing brace, or its semicolon where it has no body.
fn item(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => (),
        }
    }
    text.len()
}

/// Does the word stand there by itself, not as a part of a longer name?
fn names(code: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

fn outside_world_in_pure_code(file: &Source) -> Vec<String> {
    if !file.is_in(&PURE) {
        return Vec::new();
    }
    let (product, _) = product_and_tests(&file.text);
    let word = |word: &&&str| match **word {
        // As words these are common (`process` a message); as parts of the standard library they are the world.
        "fs" | "env" | "process" | "thread" => names(&product, &format!("std::{word}")),
        "edge" => names_crate(&product, "edge::"),
        // With a key that is handed in, a hasher is no die; `ahash` has such ones.
        "RandomState" => names(&product, word) && !has_keyed_hasher(&product),
        word => names(&product, word),
    };
    OUTSIDE_WORLD
        .iter()
        .chain(&EDGES)
        .filter(word)
        .map(|word| format!("{} names `{word}`", file.path))
        .collect()
}

fn has_keyed_hasher(product: &str) -> bool {
    let makes_its_own = ["RandomState::new", "RandomState::default"].map(|word| product.contains(word));
    product.contains("ahash::RandomState") && makes_its_own == [false, false]
}

/// `shared` <- `edge` <- `tracker`, `seeder` <- `tests`: who names whom against the arrows.
fn upward_dependencies(file: &Source) -> Vec<String> {
    let above: &[&str] = match file.path.split('/').next() {
        Some("shared") => &["edge::", "tracker::", "seeder::", "tests::"],
        Some("edge") => &["tracker::", "seeder::", "tests::"],
        Some("tracker") => &["seeder::", "tests::"],
        Some("seeder") => &["tests::"],
        _ => &[],
    };
    let (product, _) = product_and_tests(&file.text);
    let offends = |krate: &&&str| names_crate(&product, krate);
    above
        .iter()
        .filter(offends)
        .map(|krate| format!("{} reaches up to `{krate}`", file.path))
        .collect()
}

/// `tracker::` as the name of a crate, not as a module behind `crate::` or `super::`.
fn names_crate(code: &str, krate: &str) -> bool {
    code.match_indices(krate).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

fn missing_header(file: &Source) -> Vec<String> {
    if file.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!(
        "{} does not open with `//!`: what lives here, who calls it, what it must never do",
        file.path
    )]
}

fn unfinished_work(file: &Source) -> Vec<String> {
    let mut offences: Vec<String> = UNFINISHED
        .iter()
        .filter(|word| code(&file.text).contains(**word) || (**word == "FIXME" && file.text.contains(**word)))
        .map(|word| format!("{} holds `{word}`", file.path))
        .collect();
    if file.text.matches("TODO").count() != file.text.matches("TODO(#").count() {
        offences.push(format!(
            "{} holds a TODO without the number of its issue: TODO(#12)",
            file.path
        ));
    }
    offences
}

/// Tests wait for events with a deadline, or move a fake clock.
fn sleeping_tests(file: &Source) -> Vec<String> {
    let tests = if file.path.starts_with("tests/") {
        code(&file.text)
    } else {
        product_and_tests(&file.text).1
    };
    // A session of a swarm sleeps too, and keeps nobody waiting.
    let tests = tests.replace(".sleep()", "").replace("Record::sleep", "");
    // A paused clock makes a sleep a jump.
    if !names(&tests, "sleep") || tests.contains("start_paused = true") {
        return Vec::new();
    }
    vec![format!("{} sleeps in a test", file.path)]
}

/// One version of each crate, kept in the root manifest.
fn versions_outside_the_workspace(path: &str, manifest: &str) -> Vec<String> {
    let mut offences = Vec::new();
    let mut in_dependencies = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            in_dependencies = section.trim_end_matches(']').ends_with("dependencies");
        } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
            offences.push(format!("{path}: `{line}` has a version of its own"));
        }
    }
    offences
}

#[track_caller]
fn none(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

fn over_all(rule: fn(&Source) -> Vec<String>) -> Vec<String> {
    // This file is full of bad examples.
    sources()
        .iter()
        .filter(|file| file.path != "tests/tidy.rs")
        .flat_map(rule)
        .collect()
}

#[test]
fn pure_code_knows_no_clock_no_socket_no_disk_and_no_dice() {
    none(over_all(outside_world_in_pure_code));
}

#[test]
fn a_pure_file_that_asks_the_clock_is_caught() {
    let bad = |text| outside_world_in_pure_code(&Source::made_up("shared/src/x.rs", text)).len();
    assert_eq!(bad("fn f() { let now = Instant::now(); }"), 1);
    assert_eq!(bad("use std::hash::RandomState;"), 1);
    assert_eq!(bad("use ahash::RandomState; fn f() { RandomState::new(); }"), 1);
    assert_eq!(
        bad("use ahash::RandomState; fn f() { RandomState::with_seeds(1, 2, 3, 4); }"),
        0
    );
    assert_eq!(bad("use std::{collections::HashMap};\nuse tokio::time;"), 2);
    assert_eq!(bad("use std::fs;\nuse crate::http::Head;"), 2);
    assert_eq!(bad("use edge::problem::Problem;\nfn f(edge: u8) {}"), 1);
    assert_eq!(
        bad("use std::collections::BTreeMap;\nfn thread() {} // tokio, HashMap\nconst A: &str = \"axum\";"),
        0
    );
    assert_eq!(
        bad("fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; fn g() { { } } }"),
        0
    );
    assert_eq!(bad("#[cfg(test)]\nmod tests { fn g() { { } } }\nuse std::fs;"), 1);
    assert_eq!(bad("#[cfg(test)]\nmod tests;\nuse std::fs;"), 1);
    assert_eq!(
        bad("const A: &[u8] = br#\"a \" tokio\"#; const B: char = '\"'; use axum::Router;"),
        1
    );
    let edge = Source::made_up("tracker/src/http/mod.rs", "use tokio::net::TcpStream;");
    assert_eq!(outside_world_in_pure_code(&edge), Vec::<String>::new());
}

#[test]
fn dependencies_point_downwards() {
    none(over_all(upward_dependencies));
}

#[test]
fn a_dependency_upwards_is_caught() {
    let offences = |path, text| upward_dependencies(&Source::made_up(path, text)).len();
    assert_eq!(offences("shared/src/x.rs", "use tracker::swarm::Swarms;"), 1);
    assert_eq!(
        offences("tracker/src/x.rs", "fn f() { seeder::engine::start() }"),
        1
    );
    assert_eq!(offences("tracker/src/x.rs", "use shared::id::InfoHash;"), 0);
    assert_eq!(offences("shared/src/x.rs", "use crate::udp_tracker::Connect;"), 0);
}

/// The command line stands on top of a program: every other room works without it.
fn rooms_that_know_the_command_line(file: &Source) -> Vec<String> {
    let in_cli = ["seeder/src/cli", "tracker/src/cli"];
    if file.is_in(&in_cli) || file.path.ends_with("/src/main.rs") {
        return Vec::new();
    }
    let (product, _) = product_and_tests(&file.text);
    if names(&product, "crate::cli") {
        return vec![format!("{} names `crate::cli`", file.path)];
    }
    Vec::new()
}

#[test]
fn no_room_stands_on_the_command_line() {
    none(over_all(rooms_that_know_the_command_line));
}

#[test]
fn a_room_that_stands_on_the_command_line_is_caught() {
    let offences = |path, text| rooms_that_know_the_command_line(&Source::made_up(path, text)).len();
    let use_it = "use crate::cli::state;";
    assert_eq!(offences("seeder/src/api/ports.rs", use_it), 1);
    assert_eq!(offences("seeder/src/cli/add.rs", use_it), 0);
    assert_eq!(
        offences("seeder/src/api/ports.rs", "use crate::client::state;"),
        0
    );
}

#[test]
fn the_seeder_uses_the_tracker_library_in_at_most_one_file() {
    let users: Vec<String> = sources()
        .into_iter()
        .filter(|file| file.path.starts_with("seeder/"))
        .filter(|file| names_crate(&product_and_tests(&file.text).0, "tracker::"))
        .map(|file| file.path)
        .collect();
    assert!(
        users.len() <= 1,
        "the embedded tracker of `share` is the one exception, but there are {users:?}"
    );
}

#[test]
fn nothing_depends_on_the_tests() {
    for package in ["shared", "tracker", "seeder"] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest");
        assert!(
            !manifest.lines().any(|line| line.starts_with("tests")),
            "{package} depends on the tests"
        );
    }
}

#[test]
fn every_crate_has_one_version_in_the_root_manifest() {
    for package in ["shared", "edge", "tracker", "seeder", "tests"] {
        let path = format!("{package}/Cargo.toml");
        let manifest = fs::read_to_string(root().join(&path)).expect("a manifest");
        none(versions_outside_the_workspace(&path, &manifest));
    }
}

#[test]
fn a_version_outside_the_root_manifest_is_caught() {
    let offences = |text| versions_outside_the_workspace("x/Cargo.toml", text).len();
    assert_eq!(
        offences("[package]\nversion = \"1\"\n[dependencies]\nbytes = \"1\"\nurl.workspace = true\n"),
        1
    );
    assert_eq!(
        offences("[dev-dependencies]\nproptest = { version = \"1\" }\n"),
        1
    );
    assert_eq!(
        offences("[dependencies]\nrand = { workspace = true, features = [\"std\"] }\n"),
        0
    );
}

#[test]
fn every_file_opens_with_what_it_is() {
    none(over_all(missing_header));
}

#[test]
fn a_file_without_a_header_is_caught() {
    assert_eq!(
        missing_header(&Source::made_up("x.rs", "use std::fmt;\n")).len(),
        1
    );
    assert_eq!(
        missing_header(&Source::made_up("x.rs", "//! What lives here.\n")).len(),
        0
    );
}

#[test]
fn nothing_is_left_unfinished() {
    none(over_all(unfinished_work));
}

#[test]
fn unfinished_work_is_caught() {
    let offences = |text| unfinished_work(&Source::made_up("x.rs", text)).len();
    assert_eq!(offences("fn f() { todo!() }"), 1);
    assert_eq!(offences("#[test]\n#[ignore = \"slow\"]\nfn f() {}"), 1);
    assert_eq!(offences("// FIXME later\nfn f() { unimplemented!() }"), 2);
    assert_eq!(offences("// TODO: more"), 1);
    assert_eq!(offences("// TODO(#12): more; never `todo!()`"), 0);
}

#[test]
fn no_test_sleeps() {
    none(over_all(sleeping_tests));
}

#[test]
fn a_sleeping_test_is_caught() {
    let offences = |path, text| sleeping_tests(&Source::made_up(path, text)).len();
    assert_eq!(
        offences("tests/e2e/main.rs", "fn f() { thread::sleep(SECOND); }"),
        1
    );
    assert_eq!(
        offences(
            "seeder/src/x.rs",
            "#[cfg(test)]\nmod tests { fn f() { sleep(SECOND).await } }"
        ),
        1
    );
    assert_eq!(
        offences("seeder/src/x.rs", "async fn f() { sleep(SECOND).await }"),
        0
    );
    let paused = "#[cfg(test)]\nmod tests { #[tokio::test(start_paused = true)] async fn f() { sleep(SECOND).await } }";
    assert_eq!(offences("seeder/src/x.rs", paused), 0);
}

/// Not a verdict, only a place to look first: run with `--nocapture` to see the longest files.
#[test]
fn the_longest_files_are_reported() {
    let mut sizes: Vec<(usize, String)> = sources()
        .into_iter()
        .map(|file| {
            (
                product_and_tests(&file.text)
                    .0
                    .lines()
                    .filter(|line| !line.trim().is_empty())
                    .count(),
                file.path,
            )
        })
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    println!("lines of code outside tests, the ten longest files:");
    for (lines, path) in sizes.iter().take(10) {
        println!("{lines:6}  {path}");
    }
    assert!(
        sizes.iter().all(|(lines, _)| *lines < 2000),
        "a file past 2,000 lines is several files"
    );
}
