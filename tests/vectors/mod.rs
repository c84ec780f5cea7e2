//! A folder of torrents and what should be said of each: `seeder inspect --json` reads every one, and what it says is
//! compared with the folder's `expect.tsv`.

pub mod made;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, io};

use serde_json::Value;

/// The columns that are compared: ours under the names of `inspect --json`.
const COLUMNS: [&str; 5] = [
    "info_hash_v1",
    "info_hash_v2",
    "piece_length",
    "content_size",
    "content_files",
];

/// What came of a folder.
#[derive(Debug, Default)]
pub struct Tally {
    pub passed: usize,
    /// One line for each torrent of which something else was said.
    pub failed: Vec<String>,
}

/// One line of `expect.tsv`, by the names of its columns.
type Expected<'a> = BTreeMap<&'a str, &'a str>;

/// Reads every torrent of the folder with the real program.
pub fn check(folder: &Path, seeder: &Path) -> io::Result<Tally> {
    let table = fs::read_to_string(folder.join("expect.tsv"))?;
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let mut tally = Tally::default();
    for line in lines.filter(|line| !line.is_empty()) {
        let expected: Expected<'_> = header.iter().copied().zip(line.split('\t')).collect();
        let file = expected.get("file").copied().unwrap_or_default();
        let output = Command::new(seeder)
            .args(["inspect", "--json"])
            .arg(folder.join(file))
            .output()?;
        match difference(&expected, &output) {
            None => tally.passed += 1,
            Some(why) => tally.failed.push(format!("{file}: {why}")),
        }
    }
    Ok(tally)
}

/// What the program said that it should not have said.
fn difference(expected: &Expected<'_>, output: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    match (expected.get("verdict").copied(), output.status.code()) {
        (Some("refuse"), Some(1)) if said.trim().is_empty() => Some("refused without a reason".to_owned()),
        (Some("refuse"), Some(1)) => None,
        (Some("accept"), Some(0)) => serde_json::from_slice(&output.stdout).map_or_else(
            |error| Some(format!("no JSON: {error}")),
            |json| facts(expected, &json),
        ),
        (verdict, _) => Some(format!(
            "{} instead of {verdict:?}: {}",
            output.status,
            said.trim()
        )),
    }
}

fn facts(expected: &Expected<'_>, json: &Value) -> Option<String> {
    let wrong = |column: &&str| {
        let ours = plain(json.get(column).unwrap_or(&Value::Null));
        let theirs = expected.get(column).copied().unwrap_or_default();
        (ours != theirs).then(|| format!("{column} is {ours}, should be {theirs}"))
    };
    COLUMNS.iter().find_map(wrong).or_else(|| unsafe_path(json))
}

/// As the table writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// No path may lead out of the folder, none may stand for two files, and no file may be a folder too.
fn unsafe_path(json: &Value) -> Option<String> {
    let files = json.get("files").and_then(Value::as_array).into_iter().flatten();
    let paths: Vec<&str> = files.filter_map(|file| file.get("path")?.as_str()).collect();
    let count = json
        .get("content_files")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    if paths.len() as u64 != count {
        return Some(format!("{} paths for {count} files", paths.len()));
    }
    let mut taken = BTreeSet::new();
    for path in &paths {
        let ordinary =
            |name: &str| !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(is_unfit);
        if path.starts_with('/') || !path.split('/').all(ordinary) {
            return Some(format!("the path {path:?} is not safe"));
        }
        if !taken.insert(path.to_lowercase()) {
            return Some(format!("the path {path:?} stands for two files"));
        }
    }
    let folders = paths
        .iter()
        .flat_map(|path| path.match_indices('/').filter_map(|(end, _)| path.get(..end)));
    let folder = folders
        .map(str::to_lowercase)
        .find(|folder| taken.contains(folder));
    folder.map(|folder| format!("{folder:?} is a file and a folder"))
}

fn is_unfit(letter: char) -> bool {
    letter.is_control()
        || letter == '\\'
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
}

/// The `seeder` that lies beside this program, built first so that it is as new as its source.
pub fn seeder() -> io::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.parent().map(Path::to_owned).unwrap_or_default();
    let folder = if folder.ends_with("deps") {
        folder.join("..")
    } else {
        folder
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "-p", "seeder", "--bin", "seeder"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.canonicalize()?.ends_with("release") {
        cargo.arg("--release");
    }
    if cargo.status()?.success() {
        Ok(folder.join("seeder"))
    } else {
        Err(io::Error::other("the seeder does not build"))
    }
}
