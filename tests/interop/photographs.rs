//! What the project is for: 94 MB of real photographs from one host to all others with one command on each, and back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::rig::{Host, Lab, Program, Running, digests};

use crate::clients::{Client, Home, PORT, Source, Terms};
use crate::scene::{Scene, check_same};

/// Debian's package `plasma-workspace-wallpapers`.
const PHOTOGRAPHS: &str = "/usr/share/wallpapers";

const LIMIT: Duration = Duration::from_secs(240);

fn photographs() -> &'static Path {
    let photographs = Path::new(PHOTOGRAPHS);
    assert!(
        photographs.join("Autumn").is_dir(),
        "these tests need the package plasma-workspace-wallpapers"
    );
    photographs
}

/// `seeder share` on a host, and what it printed as its first line.
fn share(host: &Host, content: &Path, state: &Path) -> (Running, serde_json::Value) {
    let sharing = Program::seeder()
        .args([
            "share",
            "--json",
            "--listen",
            &format!("0.0.0.0:{PORT}"),
            "--tracker-listen",
            "0.0.0.0:0",
        ])
        .arg(content)
        .arg("--data")
        .arg(state)
        .on(host)
        .start();
    let facts = sharing.wait_for_json("magnet", LIMIT);
    (sharing, facts)
}

#[test]
fn cross_from_our_share_to_everyone() {
    let lab = Lab::new();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (sharing, facts) = share(&lab.host(), photographs(), &place("state"));
    let magnet = Source::Magnet(facts["magnet"].as_str().unwrap().to_owned());
    let file = Source::File(PathBuf::from(facts["torrent"].as_str().unwrap()));

    let getting = Program::seeder()
        .args([
            "get",
            facts["magnet"].as_str().unwrap(),
            "--json",
            "--listen",
            &format!("0.0.0.0:{PORT}"),
        ])
        .arg("--into")
        .arg(place("seeder"))
        .arg("--data")
        .arg(place("get-state"))
        .on(&lab.host())
        .start();
    let ways = [
        (Client::Transmission, &file),
        (Client::Aria2, &magnet),
        (Client::Libtorrent, &magnet),
    ];
    let mut peers = Vec::new();
    for (client, source) in ways {
        let name = format!("{client:?}");
        let home = Home {
            host: &lab.host(),
            scratch: &place(&format!("{name}-state")),
            terms: Terms::Plain,
        };
        peers.push((client, client.leech(&home, source, &place(&name))));
    }

    let left = digests(photographs());
    assert_eq!(getting.finish(LIMIT).succeeded().json()["event"], "done");
    assert_eq!(left, only(&left, &place("seeder").join("wallpapers")));
    for (client, mut peer) in peers {
        peer.wait_until_done(LIMIT);
        check_same(
            client,
            &left,
            &only(&left, &place(&format!("{client:?}")).join("wallpapers")),
        );
    }
    drop(sharing);
}

/// The digests of those files alone that left as files: clients differ in what they make of a symbolic link.
fn only(left: &tests::rig::Digests, folder: &Path) -> tests::rig::Digests {
    let mut arrived = digests(folder);
    arrived.retain(|path, _| left.contains_key(path));
    arrived
}

/// Another client holds the photographs, our `get` fetches them.
fn cross_from(client: Client) {
    let scene = Scene::new();
    let content = scene.place("their-copy").join("wallpapers");
    fs::create_dir_all(content.parent().unwrap()).unwrap();
    let copied = Command::new("cp")
        .args(["-a", PHOTOGRAPHS])
        .arg(&content)
        .status()
        .unwrap();
    assert!(
        copied.success() && photographs().is_dir(),
        "the photographs could not be copied"
    );
    let torrent = scene.torrent_of(&content, "--v1");
    let peer = scene.they_seed(client, &torrent);
    let into = scene.place("into");
    scene.we_get(&torrent.as_magnet(), &into);
    let left = digests(&content);
    assert_eq!(left, only(&left, &into.join("wallpapers")));
    drop(peer);
}

#[test]
fn cross_from_libtorrent_to_our_get() {
    cross_from(Client::Libtorrent);
}

#[test]
fn cross_from_transmission_to_our_get() {
    cross_from(Client::Transmission);
}

#[test]
fn cross_from_aria2_to_our_get() {
    cross_from(Client::Aria2);
}
