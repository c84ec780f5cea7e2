//! What is known of the clients before anything runs: names, versions, and what one was not made for.

use std::time::Duration;

use tests::clients::{Client, python};
use tests::rig::Program;

use crate::cell::{Cell, Given, Kind, Talk, Way};

pub(crate) const CLIENTS: [Client; 6] = [
    Client::Libtorrent,
    Client::Transmission,
    Client::Aria2,
    Client::QBittorrent,
    Client::RTorrent,
    Client::Rqbit,
];

pub(crate) fn name(client: Client) -> &'static str {
    match client {
        Client::Libtorrent => "libtorrent",
        Client::Transmission => "Transmission",
        Client::Aria2 => "aria2",
        Client::QBittorrent => "qBittorrent",
        Client::RTorrent => "rTorrent",
        Client::Rqbit => "rqbit",
    }
}

/// The version, as the program itself says it.
pub(crate) fn version(client: Client) -> String {
    let program = match client {
        Client::Libtorrent => {
            Program::named(python()).args(["-c", "import libtorrent; print(libtorrent.version)"])
        }
        Client::Transmission => Program::named("transmission-cli").arg("--version"),
        Client::Aria2 => Program::named("aria2c").arg("--version"),
        Client::QBittorrent => Program::named("qbittorrent-nox").arg("--version"),
        Client::RTorrent => Program::named("rtorrent").arg("-h"),
        Client::Rqbit => Program::named("rqbit").arg("--version"),
    };
    // Some end with 1 after it.
    let finished = program.run(Duration::from_secs(30));
    let words = finished
        .stdout
        .iter()
        .chain(&finished.stderr)
        .flat_map(|line| line.split_whitespace());
    words
        .map(|word| word.trim_start_matches('v').trim_end_matches('.'))
        .find(|word| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit()))
        .unwrap_or("of an unknown version")
        .to_owned()
}

/// Why a client has no part in this cell.
pub(crate) fn cannot(cell: Cell) -> Option<&'static str> {
    match cell.client {
        Client::Rqbit if cell.talk == Talk::Encrypted => Some("it has no encrypted connections"),
        Client::Transmission if cell.kind == Kind::Hybrid => Some("it refuses every hybrid torrent"),
        Client::Aria2 if cell.kind == Kind::Hybrid => Some("it computes a wrong hash of hybrids"),
        Client::RTorrent if cell.kind == Kind::Hybrid && cell.way == Way::TheySeed => {
            Some("it seeds a hybrid only with its padding as files on the disk")
        }
        Client::RTorrent if cell.kind == Kind::Hybrid && cell.given == Given::Magnet => {
            Some("it takes no link with two hashes")
        }
        Client::Transmission | Client::Aria2 | Client::RTorrent | Client::Rqbit if cell.kind == Kind::V2 => {
            Some("it knows no torrents of v2")
        }
        _ => None,
    }
}
