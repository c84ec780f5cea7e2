//! A folder crosses from one program of ours to another, through our tracker.

use serde_json::Value;
use tests::rig::{Program, Stream, digests};

use crate::album::{Album, LIMIT, Tracker, inspect};

/// `create`, `seed`, `get` through a tracker that listens at `http`.
#[track_caller]
fn crosses(http: &str, listen: &str, kind: &str) {
    let tracker = Tracker::start(http);
    let album = Album::small();
    let torrent = album.create(&[kind, "--tracker", &tracker.announce]);
    let _seeding = album.seed(&torrent, listen);
    let got = album.get(&torrent, listen).run(LIMIT).succeeded();
    assert_eq!(got.json()["event"], "done");
    album.check_arrived();
}

#[test]
fn a_folder_crosses_over_ipv4() {
    crosses("127.0.0.1:0", "127.0.0.1:0", "--v1");
}

#[test]
fn a_folder_crosses_over_ipv6() {
    crosses("[::1]:0", "[::1]:0", "--v1");
}

#[test]
fn a_hybrid_crosses() {
    crosses("127.0.0.1:0", "127.0.0.1:0", "--hybrid");
}

#[test]
fn a_v2_torrent_crosses() {
    crosses("127.0.0.1:0", "127.0.0.1:0", "--v2");
}

#[test]
fn a_folder_crosses_by_magnet_link_alone() {
    let tracker = Tracker::start("127.0.0.1:0");
    let album = Album::small();
    let torrent = album.create(&["--tracker", &tracker.announce]);
    let _seeding = album.seed(&torrent, "127.0.0.1:0");
    let hash = inspect(&torrent)["info_hash_v1"].as_str().unwrap().to_owned();
    let magnet = format!("magnet:?xt=urn:btih:{hash}&tr={}", tracker.announce);
    album.get(magnet, "127.0.0.1:0").run(LIMIT).succeeded();
    album.check_arrived();
}

#[test]
fn two_getters_and_a_late_one_all_have_everything() {
    let tracker = Tracker::start("127.0.0.1:0");
    let album = Album::of(&[9_000_000, 300, 4_000_000]);
    let torrent = album.create(&["--tracker", &tracker.announce]);
    let getter = |name: &str| {
        Program::seeder()
            .args(["get", "--json", "--seed", "--listen", "127.0.0.1:0"])
            .arg(&torrent)
            .arg("--into")
            .arg(album.place(name))
            .arg("--data")
            .arg(album.place(&format!("{name}-state")))
            .start()
    };
    let done = |line: &str| {
        serde_json::from_str::<Value>(line)
            .ok()
            .filter(|event| event["event"] == "done")
    };
    let early = [getter("anna"), getter("berta")];
    let seeding = album.seed(&torrent, "127.0.0.1:0");
    for running in &early {
        running.wait_for(Stream::Out, LIMIT, done);
    }
    drop(seeding);
    let late = getter("clara");
    late.wait_for(Stream::Out, LIMIT, done);
    for name in ["anna", "berta", "clara"] {
        assert_eq!(
            digests(&album.content()),
            digests(&album.place(name).join("Holidays")),
            "{name}"
        );
    }
}

#[test]
fn share_alone_is_enough_on_one_side_and_get_on_the_other() {
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
    let facts = sharing.wait_for_json("magnet", LIMIT);
    for key in [
        "torrent",
        "magnet",
        "announce",
        "info_hash_v1",
        "info_hash_v2",
        "listen",
    ] {
        assert!(facts.get(key).is_some(), "the first line lacks `{key}`: {facts}");
    }
    assert_eq!(
        inspect(facts["torrent"].as_str().unwrap().as_ref())["info_hash_v1"],
        facts["info_hash_v1"]
    );
    album
        .get(facts["magnet"].as_str().unwrap(), "127.0.0.1:0")
        .run(LIMIT)
        .succeeded();
    album.check_arrived();
    album.forget_arrived();
    album
        .get(facts["torrent"].as_str().unwrap(), "127.0.0.1:0")
        .run(LIMIT)
        .succeeded();
    album.check_arrived();
}

#[test]
fn share_makes_one_torrent_of_each_path() {
    let album = Album::small();
    let single = album.content().join("IMG_0000.jpg");
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
        .arg(&single)
        .arg("--data")
        .arg(album.place("share-state"))
        .start();
    let line = |name: &'static str| {
        move |line: &str| {
            let facts: Value = serde_json::from_str(line).ok()?;
            facts["magnet"].as_str()?.contains(name).then_some(facts)
        }
    };
    let folder = sharing.wait_for(Stream::Out, LIMIT, line("Holidays"));
    let file = sharing.wait_for(Stream::Out, LIMIT, line("IMG_0000"));
    assert_ne!(folder["info_hash_v1"], file["info_hash_v1"]);
    assert_eq!(folder["announce"], file["announce"]);
    album
        .get(file["magnet"].as_str().unwrap(), "127.0.0.1:0")
        .run(LIMIT)
        .succeeded();
    assert_eq!(digests(&single), digests(&album.place("into/IMG_0000.jpg")));
}

#[test]
fn verify_finds_nothing_wrong_with_what_has_arrived_and_names_what_was_damaged() {
    let album = Album::small();
    let torrent = album.create(&[]);
    let verify = || {
        Program::seeder()
            .arg("verify")
            .arg(&torrent)
            .arg("--content")
            .arg(album.place("home"))
    };
    verify().run(LIMIT).succeeded();
    tests::rig::fill(&album.content().join("Größe/IMG_0002.jpg"), 1, 5);
    tests::rig::fill(&album.content().join("Summer 2019/IMG_0005.jpg"), 1, 40_000);
    let found = verify().run(LIMIT);
    assert_eq!(found.code, Some(1), "{found:?}");
    let said = found.stdout.join("\n") + &found.stderr.join("\n");
    assert!(
        said.contains("IMG_0002.jpg") && said.contains("IMG_0005.jpg"),
        "{said}"
    );
}
