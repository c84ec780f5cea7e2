//! The two sides of a case, ours and libtorrent's: started, watched, and asked to end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::Value;
use shared::id::InfoHash;
use shared::metainfo::Metainfo;

use super::meter::{Figures, Meter};
use super::{Bound, Row, Scene};
use crate::measure::free_address;
use crate::rig::{Finished, Program, Running, ask_until, digests};

/// A seeder that runs.
#[derive(Debug)]
pub(super) struct Seeding {
    pub(super) running: Running,
    pub(super) meter: Meter,
    pub(super) address: SocketAddr,
}

impl Seeding {
    /// Ends it.
    pub(super) fn end(self) -> Figures {
        let figures = self.meter.read();
        drop(self.running);
        figures
    }
}

/// A torrent of this case: its file and its folder.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) torrent: PathBuf,
    /// The folder that holds the content.
    pub(super) folder: PathBuf,
    pub(super) name: &'static str,
    pub(super) info_hash: InfoHash,
}

impl Subject {
    #[track_caller]
    pub(super) fn read(torrent: PathBuf, folder: PathBuf, name: &'static str) -> Self {
        let metainfo = Metainfo::read(&std::fs::read(&torrent).unwrap()).unwrap();
        Self {
            info_hash: metainfo.info.wire_hash(),
            torrent,
            folder,
            name,
        }
    }
}

impl Scene {
    pub(super) fn seeder(&self) -> Program {
        let program = self.seeder.as_ref().map(Program::named);
        program.unwrap_or_else(Program::seeder).called("seeder")
    }

    /// Runs a program to its end.
    #[track_caller]
    pub(super) fn finish(&self, program: Program) -> (Finished, Figures) {
        let running = program.start();
        let meter = Meter::watch(running.pid());
        let finished = running.finish(self.patience);
        (finished, meter.read())
    }

    /// `seeder create`, with these words beside.
    #[track_caller]
    pub(super) fn create(&self, content: &Path, torrent: &Path, words: &[&str]) -> Figures {
        let program = self.seeder().args(["create", "--json"]).args(words);
        let (finished, figures) = self.finish(program.arg(content).arg("--output").arg(torrent));
        finished.succeeded();
        figures
    }

    /// `seeder seed`.
    #[track_caller]
    pub(super) fn seed(&self, subject: &Subject, data: &Path) -> Seeding {
        let program = self.seeder().args(["seed", "--json"]).arg(&subject.torrent);
        let program = program.arg("--content").arg(&subject.folder);
        let running = ports(program, data).start();
        let meter = Meter::watch(running.pid());
        let listening = running.wait_for_json("listen", self.patience);
        let address = listening["listen"][0].as_str().unwrap().parse().unwrap();
        // Whoever comes while it still looks at the files is asked to come again.
        running.wait_for_line("\"checked\"", self.patience);
        Seeding {
            running,
            meter,
            address,
        }
    }

    /// `seeder get`, begun.
    pub(super) fn get(&self, subject: &Subject, into: &Path, data: &Path) -> Program {
        let program = self.seeder().args(["get", "--json"]).arg(&subject.torrent);
        ports(program.arg("--into").arg(into), data)
    }

    /// Gets a torrent from our own seed into a folder, and compares.
    #[track_caller]
    pub(super) fn cross(&self, subject: &Subject) -> [Figures; 2] {
        let seeding = self.seed(subject, &self.home.join("seeder"));
        let (into, data) = (self.home.join("got"), self.home.join("getter"));
        let program = self.get(subject, &into, &data);
        let (finished, got) = self.finish(program.arg("--peer").arg(seeding.address.to_string()));
        finished.succeeded();
        let sent = seeding.end();
        Self::compare(subject, &into);
        [sent, got]
    }

    #[track_caller]
    fn compare(subject: &Subject, into: &Path) {
        let (sent, got) = (
            digests(&subject.folder.join(subject.name)),
            digests(&into.join(subject.name)),
        );
        assert_eq!(sent.len(), got.len(), "files");
        assert!(sent == got, "what came is not what was sent");
    }

    /// A command to the seeder that runs on this folder.
    #[track_caller]
    pub(super) fn ask(&self, data: &Path, words: &[&str]) -> Finished {
        ask_until("a seeder that answers", self.patience, || {
            let program = self.seeder().args(words).arg("--data").arg(data);
            Some(program.run(self.patience)).filter(|finished| finished.code == Some(0))
        })
    }

    #[track_caller]
    pub(super) fn show(&self, subject: &Subject, data: &Path) -> Value {
        self.ask(data, &["show", subject.name, "--json"]).json()
    }

    /// libtorrent in one of its parts, if it is to be measured.
    fn libtorrent(&self, words: &[&str]) -> Option<Program> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/extremes/libtorrent_side.py");
        let python = self.python.as_ref()?;
        Some(
            Program::named(python)
                .arg(script)
                .args(words)
                .called("libtorrent"),
        )
    }

    /// The same torrent made by libtorrent.
    #[track_caller]
    pub(super) fn libtorrent_create(&self, content: &Path, piece_length: u32) -> Option<u64> {
        let torrent = self.home.join("libtorrent.torrent");
        let words = [&*content.to_string_lossy(), &piece_length.to_string()];
        let program = self.libtorrent(&["create", words[0], words[1]])?;
        let (finished, figures) = self.finish(program.arg(torrent));
        finished.succeeded();
        Some(figures.peak)
    }

    /// libtorrent as a seed.
    #[track_caller]
    pub(super) fn libtorrent_seed(&self, subject: &Subject) -> Option<Seeding> {
        let address = free_address(Ipv4Addr::LOCALHOST).unwrap();
        let program = self.libtorrent(&["seed", &address.to_string()])?;
        let running = program.arg(&subject.torrent).arg(&subject.folder).start();
        let meter = Meter::watch(running.pid());
        running.wait_for_line("listening", self.patience);
        Some(Seeding {
            running,
            meter,
            address,
        })
    }

    /// libtorrent gets a torrent from these peers; with a name, only that file.
    #[track_caller]
    pub(super) fn libtorrent_get(&self, subject: &Subject, only: &str, peers: &[SocketAddr]) -> Option<u64> {
        let into = self.home.join("libtorrent");
        std::fs::create_dir_all(&into).unwrap();
        let program = self.libtorrent(&["get", only])?;
        let program = program.arg(&subject.torrent).arg(&into);
        let (finished, figures) = self.finish(program.args(peers.iter().map(ToString::to_string)));
        finished.succeeded();
        std::fs::remove_dir_all(into).unwrap();
        Some(figures.peak)
    }

    /// libtorrent on both sides: what its seed took, and what its getter took.
    #[track_caller]
    pub(super) fn libtorrent_cross(&self, subject: &Subject) -> [Option<u64>; 2] {
        let Some(seeding) = self.libtorrent_seed(subject) else {
            return [None, None];
        };
        let got = self.libtorrent_get(subject, "", &[seeding.address]);
        [Some(seeding.end().peak), got]
    }
}

fn ports(program: Program, data: &Path) -> Program {
    program.args(["--listen", "127.0.0.1:0"]).arg("--data").arg(data)
}

/// A row of a report.
pub(super) fn row(what: &'static str, figures: Figures, bound: Bound, rival: Option<u64>) -> Row {
    Row {
        what,
        figures,
        bound,
        rival,
    }
}
