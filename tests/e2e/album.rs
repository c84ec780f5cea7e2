//! A folder of made-up photographs, our programs around it, and how the tests call them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use shared::id::InfoHash;
use tempfile::TempDir;
use tests::rig::{Program, Running, Stream, digests, fill_folder};

/// What any step may take on a machine that is busy with other tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Our tracker on this machine.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(crate) running: Running,
    pub(crate) announce: String,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    _state: TempDir,
}

impl Tracker {
    /// Listens at an address such as `127.0.0.1:0` or `[::1]:0`.
    #[track_caller]
    pub(crate) fn start(http: &str) -> Self {
        Self::with(http, &[])
    }

    /// The same with settings from the environment.
    #[track_caller]
    pub(crate) fn with(http: &str, settings: &[(&str, &str)]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut program = Program::tracker()
            .args([
                "serve",
                "--public",
                "--json",
                "--http",
                http,
                "--admin",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(state.path());
        for (name, value) in settings {
            program = program.env(name, value);
        }
        let running = program.start();
        let heard = |what: &'static str| move |line: &str| listening(line, what);
        let http = running.wait_for(Stream::Out, LIMIT, heard("http"));
        let admin = running.wait_for(Stream::Out, LIMIT, heard("admin"));
        Self {
            announce: http["announce"].as_str().unwrap().to_owned(),
            address: http["address"].as_str().unwrap().parse().unwrap(),
            admin: admin["address"].as_str().unwrap().parse().unwrap(),
            running,
            _state: state,
        }
    }
}

fn listening(line: &str, what: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line)
        .ok()
        .filter(|value| value["listening"] == what)
}

/// A folder of photographs and places for what the programs make of it.
#[derive(Debug)]
pub(crate) struct Album {
    folder: TempDir,
}

impl Album {
    /// Photographs of these lengths.
    #[track_caller]
    pub(crate) fn of(lengths: &[u64]) -> Self {
        let album = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fill_folder(&album.content(), 42, lengths);
        album
    }

    /// A handful of small ones: borders of pieces, an odd byte, an empty file.
    #[track_caller]
    pub(crate) fn small() -> Self {
        Self::of(&[2_500_000, 1, 0, 16_384, 700_001, 40_000])
    }

    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn content(&self) -> PathBuf {
        self.place("home/Holidays")
    }

    /// `seeder create`: the .torrent file.
    #[track_caller]
    pub(crate) fn create(&self, words: &[&str]) -> PathBuf {
        let file = self.place("Holidays.torrent");
        let _ = fs::remove_file(&file);
        let creating = Program::seeder()
            .arg("create")
            .arg(self.content())
            .arg("--output")
            .arg(&file);
        creating.args(words).arg("--json").run(LIMIT).succeeded();
        file
    }

    /// `seeder seed`, not yet known to anybody.
    #[track_caller]
    pub(crate) fn seed(&self, torrent: &Path, listen: &str) -> Running {
        Program::seeder()
            .args(["seed", "--json", "--listen", listen])
            .arg(torrent)
            .arg("--content")
            .arg(self.place("home"))
            .arg("--data")
            .arg(self.place("seed-state"))
            .start()
    }

    /// `seeder get` into `into`, ready to be run or started.
    #[track_caller]
    pub(crate) fn get(&self, source: impl AsRef<Path>, listen: &str) -> Program {
        Program::seeder()
            .args(["get", "--json", "--listen", listen])
            .arg(source.as_ref())
            .arg("--into")
            .arg(self.place("into"))
            .arg("--data")
            .arg(self.place("get-state"))
    }

    /// Every file has arrived with the same bytes, and nothing else has.
    #[track_caller]
    pub(crate) fn check_arrived(&self) {
        assert_eq!(digests(&self.content()), digests(&self.place("into/Holidays")));
    }

    /// Starts again with an empty target.
    pub(crate) fn forget_arrived(&self) {
        for name in ["into", "get-state"] {
            let _ = fs::remove_dir_all(self.place(name));
        }
    }
}

/// `seeder inspect --json`.
#[track_caller]
pub(crate) fn inspect(torrent: &Path) -> Value {
    Program::seeder()
        .args(["inspect", "--json"])
        .arg(torrent)
        .run(LIMIT)
        .succeeded()
        .json()
}

/// The hash by which peers know it.
#[track_caller]
pub(crate) fn info_hash(torrent: &Path) -> InfoHash {
    inspect(torrent)["info_hash_v1"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}
