//! The other clients of the seeding bench: how each is told to seed what lies in a folder, without a screen, on one port.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{free_address, installed};
use serde_json::json;

/// A client, and how it is started.
#[derive(Debug)]
pub struct Rival {
    pub name: &'static str,
    pub program: PathBuf,
    /// Where it can be called.
    pub address: SocketAddr,
    pub arguments: Vec<String>,
    /// It gets so small a part of the work: the whole would take it a quarter of an hour.
    pub part: u64,
}

/// What is seeded.
#[derive(Debug)]
pub struct Task<'a> {
    /// A folder for settings and the like.
    pub home: &'a Path,
    pub torrent: &'a Path,
    /// Where the content lies.
    pub folder: &'a Path,
    /// Everything behind RC4.
    pub hidden: bool,
}

/// Those of the seeders that are installed.
pub fn seeders(task: &Task<'_>) -> anyhow::Result<Vec<Rival>> {
    let makers = [libtorrent, aria2, rtorrent, transmission];
    let mut rivals = Vec::new();
    for make in makers {
        rivals.extend(make(task, free_address(Ipv4Addr::LOCALHOST)?)?);
    }
    Ok(rivals)
}

#[expect(clippy::unnecessary_wraps, reason = "one shape for all makers")]
fn libtorrent(task: &Task<'_>, address: SocketAddr) -> anyhow::Result<Option<Rival>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/libtorrent_seed.py");
    Ok(installed("python3")
        .filter(|python| has_libtorrent(python))
        .map(|program| Rival {
            name: "libtorrent",
            program,
            address,
            arguments: [
                script,
                &text(task.torrent),
                &text(task.folder),
                &address.to_string(),
                &task.hidden.to_string(),
            ]
            .map(str::to_owned)
            .to_vec(),
            part: 1,
        }))
}

/// Does this Python have libtorrent?
fn has_libtorrent(python: &Path) -> bool {
    let asked = Command::new(python).args(["-c", "import libtorrent"]).output();
    asked.is_ok_and(|output| output.status.success())
}

#[expect(clippy::unnecessary_wraps, reason = "one shape for all makers")]
fn aria2(task: &Task<'_>, address: SocketAddr) -> anyhow::Result<Option<Rival>> {
    let (crypto, level) = if task.hidden {
        ("--bt-require-crypto=true", "--bt-min-crypto-level=arc4")
    } else {
        ("--bt-require-crypto=false", "--bt-min-crypto-level=plain")
    };
    Ok(installed("aria2c").map(|program| Rival {
        name: "aria2",
        program,
        address,
        arguments: [
            "--no-conf=true",
            "--seed-ratio=0.0",
            "-V",
            "--interface=127.0.0.1",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--summary-interval=0",
            crypto,
            level,
            &format!("--listen-port={}", address.port()),
            &format!("--dir={}", text(task.folder)),
            &text(task.torrent),
        ]
        .map(str::to_owned)
        .to_vec(),
        part: 1,
    }))
}

fn rtorrent(task: &Task<'_>, address: SocketAddr) -> anyhow::Result<Option<Rival>> {
    let Some(program) = installed("rtorrent") else {
        return Ok(None);
    };
    let (session, settings) = (task.home.join("rtorrent"), task.home.join("rtorrent.rc"));
    fs::create_dir_all(&session)?;
    let encryption = if task.hidden {
        "allow_incoming,try_outgoing,require,require_RC4"
    } else {
        "none"
    };
    let port = address.port();
    let rc = format!(
        "system.daemon.set = true\n\
         directory.default.set = {}\n\
         session.path.set = {}\n\
         network.bind_address.set = 127.0.0.1\n\
         network.port_range.set = {port}-{port}\n\
         network.port_random.set = no\n\
         dht.mode.set = disable\n\
         protocol.pex.set = no\n\
         protocol.encryption.set = {encryption}\n\
         schedule2 = load, 0, 0, ((load.start, \"{}\"))\n",
        text(task.folder),
        text(&session),
        text(task.torrent)
    );
    fs::write(&settings, rc)?;
    Ok(Some(Rival {
        name: "rtorrent",
        program,
        address,
        arguments: vec![
            "-n".to_owned(),
            "-o".to_owned(),
            format!("import={}", text(&settings)),
        ],
        part: 1,
    }))
}

fn transmission(task: &Task<'_>, address: SocketAddr) -> anyhow::Result<Option<Rival>> {
    let Some(program) = installed("transmission-daemon") else {
        return Ok(None);
    };
    let folder = task.home.join("transmission");
    fs::create_dir_all(folder.join("torrents"))?;
    fs::copy(task.torrent, folder.join("torrents/bench.torrent"))?;
    let settings = json!({
        "bind-address-ipv4": "127.0.0.1",
        "bind-address-ipv6": "::1",
        "rpc-enabled": false,
        "peer-port": address.port(),
        "download-dir": text(task.folder),
        "dht-enabled": false,
        "lpd-enabled": false,
        "pex-enabled": false,
        "port-forwarding-enabled": false,
        "utp-enabled": false,
        "encryption": if task.hidden { 2 } else { 0 },
    });
    fs::write(folder.join("settings.json"), settings.to_string())?;
    Ok(Some(Rival {
        name: "Transmission",
        program,
        address,
        arguments: vec!["-f".to_owned(), "-g".to_owned(), text(&folder)],
        part: 16,
    }))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
