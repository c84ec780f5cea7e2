//! Other people's makers of torrents and readers beside our `create`: the same files, in the same order and pieces, must get the
//! same info-hash from everyone.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tests::rig::{Program, fill};

use crate::clients::python;
use crate::scene::LIMIT;

/// Files whose natural order is that of their bytes, so that every maker lists them alike: longer and shorter than a piece,
/// exactly a piece, empty.
fn album() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let album = root.path().join("album");
    for (name, length) in [
        ("a.jpg", 700_001),
        ("b.jpg", 65_536),
        ("c/d.mkv", 300_000),
        ("c/e.txt", 1),
        ("f.jpg", 0),
        ("g.jpg", 65_537),
    ] {
        fill(&album.join(name), length, length);
    }
    (root, album)
}

/// Our torrent of an album, and both its info-hashes; empty where there is none.
#[track_caller]
fn ours(album: &Path, format: &str) -> (PathBuf, String, String) {
    let torrent = album.with_extension("torrent");
    let ended = Program::seeder()
        .args([
            "create",
            "--json",
            "--force",
            "--piece-length",
            "64KiB",
            "--tracker",
            "http://tracker.test/announce",
        ])
        .args([format, "--output"])
        .arg(&torrent)
        .arg(album)
        .run(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let facts: serde_json::Value = serde_json::from_str(&ended.stdout[0]).unwrap();
    let hash = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
    (torrent, hash("info_hash_v1"), hash("info_hash_v2"))
}

/// What a program prints about a torrent must hold its info-hash.
#[track_caller]
fn shown_by(program: &str, flags: &[&str]) {
    let (_root, album) = album();
    let (torrent, v1, _) = ours(&album, "--v1");
    let ended = Program::named(program).args(flags).arg(&torrent).run(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.iter().any(|line| line.contains(&v1)),
        "{v1} is not in {ended:?}"
    );
}

#[test]
fn transmission_shows_the_info_hash_that_we_gave() {
    shown_by("transmission-show", &[]);
}

#[test]
fn aria2_shows_the_info_hash_that_we_gave() {
    shown_by("aria2c", &["-S"]);
}

#[test]
fn mktorrent_gives_the_same_info_hash() {
    let (root, album) = album();
    let (_, v1, _) = ours(&album, "--v1");
    let theirs = root.path().join("theirs.torrent");
    let ended = Program::named("mktorrent")
        .args(["-l", "16", "-o"])
        .arg(&theirs)
        .arg(&album)
        .run(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let info = shared::metainfo::Metainfo::read(&fs::read(theirs).unwrap())
        .unwrap()
        .info;
    assert_eq!(info.info_hash_v1().unwrap().to_string(), v1);
}

#[test]
fn libtorrent_gives_the_same_info_hashes_in_every_format() {
    let (_root, album) = album();
    for format in ["v1", "hybrid", "v2"] {
        let (_, v1, v2) = ours(&album, &format!("--{format}"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/create_libtorrent.py");
        let ended = Program::named(python())
            .arg(script)
            .arg(&album)
            .args([format, "65536"])
            .run(LIMIT);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let none = |hash: &str, digits: usize| {
            if hash.is_empty() {
                "0".repeat(digits)
            } else {
                hash.to_owned()
            }
        };
        assert_eq!(
            ended.stdout,
            [format!("{} {}", none(&v1, 40), none(&v2, 64))],
            "{format}"
        );
    }
}

#[test]
fn what_transmission_makes_is_found_good_until_a_byte_is_not() {
    let (root, album) = album();
    let theirs = root.path().join("theirs.torrent");
    let ended = Program::named("transmission-create")
        .arg("-o")
        .arg(&theirs)
        .arg(&album)
        .run(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let verify = || {
        Program::seeder()
            .arg("verify")
            .arg(&theirs)
            .arg("--content")
            .arg(root.path())
            .run(LIMIT)
    };
    let good = verify();
    assert_eq!(good.code, Some(0), "{good:?}");
    let mut film = fs::read(album.join("c/d.mkv")).unwrap();
    film[200_000] ^= 1;
    fs::write(album.join("c/d.mkv"), film).unwrap();
    let bad = verify();
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(
        bad.stdout
            .iter()
            .any(|line| line.starts_with("damaged: album/c/d.mkv")),
        "{bad:?}"
    );
}
