//! Cases that are made, given and got like any torrent: one long piece, many files, many empty files.

use std::fs;
use std::path::PathBuf;

use super::sides::{Subject, row};
use super::{Bound, Report, Row, Scene};
use crate::rig::{digests, fill};

/// Descriptors of a side that has one peer: files that stand open, sockets, and what a runtime needs.
const DESCRIPTORS: usize = 160;

/// MiB that each of the three may have: who creates, who gives, who gets.
struct Bounds([u64; 3]);

/// Our three sides and libtorrent's three.
#[track_caller]
fn all_sides(
    scene: &Scene,
    subject: &Subject,
    words: &[&str],
    piece_length: u32,
    bounds: &Bounds,
) -> Vec<Row> {
    let content = subject.folder.join(subject.name);
    let created = scene.create(&content, &scene.home.join("again.torrent"), words);
    let [sent, got] = scene.cross(subject);
    let [rival_sent, rival_got] = scene.libtorrent_cross(subject);
    let rival_created = scene.libtorrent_create(&content, piece_length);
    let bound = |at: usize| Bound {
        peak: bounds.0[at],
        descriptors: DESCRIPTORS,
    };
    vec![
        row("create", created, bound(0), rival_created),
        row("seed", sent, bound(1), rival_sent),
        row("get", got, bound(2), rival_got),
    ]
}

#[track_caller]
fn made(scene: &Scene, name: &'static str, words: &[&str]) -> Subject {
    let (folder, torrent) = (scene.home.join("content"), scene.home.join("made.torrent"));
    scene.create(&folder.join(name), &torrent, words);
    Subject::read(torrent, folder, name)
}

/// A torrent of one piece: nobody may need memory for all of it.
#[track_caller]
pub(super) fn piece(scene: &Scene) -> Report {
    let length = scene.size.piece;
    fill(&scene.home.join("content/film.mkv"), 7, length.into());
    let words = ["--piece-length", &length.to_string()];
    let subject = made(scene, "film.mkv", &words);
    let facts = scene.seeder().args(["inspect", "--json"]).arg(&subject.torrent);
    let facts = facts.run(scene.patience).succeeded().json();
    assert_eq!(facts["piece_length"], length);
    let rows = all_sides(scene, &subject, &words, length, &Bounds([48, 64, 96]));
    let longer = scene.seeder().args(["create", "--piece-length", "256MiB"]);
    let refused = longer.arg(subject.folder.join(subject.name)).run(scene.patience);
    let words = refused.stderr.join("\n");
    assert!(
        refused.code == Some(2) && words.contains("16KiB to 128MiB"),
        "{refused:?}"
    );
    Report {
        rows,
        notes: vec![format!(
            "A torrent of one piece of {} MiB; `create --piece-length 256MiB` is refused: \"{}\".",
            length >> 20,
            words.lines().next().unwrap_or_default()
        )],
    }
}

/// A folder of folders of a thousand files each.
#[track_caller]
fn scatter(scene: &Scene, name: &str, count: u32, content: impl Fn(u32) -> Vec<u8>) {
    let album = scene.home.join("content").join(name);
    for number in 0..count {
        let folder = album.join(format!("roll {:03}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        fs::write(folder.join(format!("IMG_{number:06}.jpg")), content(number)).unwrap();
    }
}

/// Very many small files; and, once they are there, a start that reads none of them.
#[track_caller]
pub(super) fn files(scene: &Scene) -> Report {
    let count = scene.size.files;
    scatter(scene, "album", count, |number| {
        let length = 1024 + number as usize * 7 % 3072;
        number.to_be_bytes().into_iter().cycle().take(length).collect()
    });
    let subject = made(scene, "album", &[]);
    let mut rows = all_sides(scene, &subject, &[], 0, &bounds_by_file(count, [900, 450, 650]));
    let bytes: u64 = length_of_all(&subject.folder.join("album"));
    // The same command again finds all of it, by sizes and times alone.
    let program = scene.get(&subject, &scene.home.join("got"), &scene.home.join("getter"));
    let (finished, again) = scene.finish(program);
    assert_eq!(finished.succeeded().json()["downloaded"], 0);
    assert!(again.read < bytes / 4, "it read {} of {bytes} bytes", again.read);
    rows.push(row("get again", again, rows[2].bound, None));
    let data = scene.home.join("shown");
    let seeding = scene.seed(&subject, &data);
    let shown = scene.show(&subject, &data);
    assert_eq!(shown["files"].as_array().map(Vec::len), Some(count as usize));
    let figures = seeding.end();
    assert!(
        figures.read < bytes / 4,
        "it read {} of {bytes} bytes",
        figures.read
    );
    let shown = Bound {
        peak: rows[1].bound.peak + ((u64::from(count) * 400) >> 20),
        descriptors: DESCRIPTORS,
    };
    rows.push(row("seed, asked by `show --json`", figures, shown, None));
    Report {
        rows,
        notes: vec![format!(
            "{count} files, {bytes} bytes. A second `get` reads {} KiB in all: the torrent, the resume data and what a process needs.",
            again.read >> 10
        )],
    }
}

fn length_of_all(folder: &std::path::Path) -> u64 {
    let length = |entry: fs::DirEntry| {
        let facts = entry.metadata().unwrap();
        if facts.is_dir() {
            length_of_all(&entry.path())
        } else {
            facts.len()
        }
    };
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| length(entry.unwrap()))
        .sum()
}

/// So many bytes a file, beside what a process needs anyway.
fn bounds_by_file(count: u32, bytes: [u64; 3]) -> Bounds {
    let base = [48, 56, 80];
    let each = bytes.map(|bytes| (u64::from(count) * bytes) >> 20);
    Bounds([0, 1, 2].map(|side| base[side] + each[side]))
}

/// Files of nothing: a torrent of one byte makes them all.
#[track_caller]
pub(super) fn empty(scene: &Scene) -> Report {
    let count = scene.size.empty_files;
    scatter(scene, "desk", count, |_| Vec::new());
    fs::write(scene.home.join("content/desk/one"), "x").unwrap();
    let subject = made(scene, "desk", &[]);
    let rows = all_sides(scene, &subject, &[], 0, &bounds_by_file(count, [900, 450, 450]));
    let got: PathBuf = scene.home.join("got/desk");
    assert_eq!(digests(&got).len(), count as usize + 1);
    assert_eq!(length_of_all(&got), 1);
    Report {
        rows,
        notes: vec![format!(
            "{count} files of no bytes and one of one byte: all are made."
        )],
    }
}
