//! A file of holes longer than any disk here, with a note behind it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use shared::metainfo::write::{Details, Entry, Format, Layout, PieceHash, write};
use shared::peer_wire::{Message, Span};

use super::meter::Figures;
use super::sides::{Subject, row};
use super::{Bound, Report, Scene};
use crate::fake_peer::FakePeer;
use crate::rig::SmallDisk;

const PIECE: u32 = 16 << 20;
const BLOCK: u32 = 16 << 10;

/// The film ends in the middle of a piece, so that the note's first bytes lie in the same piece.
const SHORT_BY: u64 = 12_345;
const NOTE_LENGTH: usize = 40_000;

/// Room for whoever wants the note alone: a piece or two, and state.
const SMALL_DISK: u64 = 64 << 20;

fn note() -> Vec<u8> {
    b"what is to be seen in it. "
        .iter()
        .copied()
        .cycle()
        .take(NOTE_LENGTH)
        .collect()
}

/// The content, and its torrent by our own hands: hashing the holes would take half an hour, and all their pieces are alike.
#[track_caller]
fn make(scene: &Scene) -> Subject {
    let (film, folder) = (scene.size.sparse - SHORT_BY, scene.home.join("content"));
    fs::create_dir_all(folder.join("archive")).unwrap();
    File::create(folder.join("archive/film.bin"))
        .unwrap()
        .set_len(film)
        .unwrap();
    fs::write(folder.join("archive/note.txt"), note()).unwrap();
    let entry = |name: &str, length| Entry {
        path: vec![name.to_owned()],
        length,
    };
    let entries = vec![entry("film.bin", film), entry("note.txt", NOTE_LENGTH as u64)];
    let layout = Layout::new(Format::V1, "archive".to_owned(), PIECE, entries).unwrap();
    let holes = usize::try_from(film / u64::from(PIECE)).unwrap();
    let hash = |content: &[u8]| PieceHash {
        v1: Sha1::digest(content).into(),
        v2: [0; 32],
    };
    let mut hashes = vec![hash(&vec![0; PIECE as usize]); holes];
    let rest = usize::try_from(film % u64::from(PIECE)).unwrap();
    let end = [vec![0; rest], note()].concat();
    hashes.extend(end.chunks(PIECE as usize).map(hash));
    let torrent = scene.home.join("archive.torrent");
    fs::write(&torrent, write(&layout, &hashes, &Details::default())).unwrap();
    Subject::read(torrent, folder, "archive")
}

/// Asks a seed for blocks at the beginning, in the middle and at the end.
#[track_caller]
fn taste(scene: &Scene, subject: &Subject, seed: std::net::SocketAddr) {
    let mut peer = FakePeer::dial(seed, subject.info_hash);
    peer.say(&Message::Interested).unwrap();
    while peer.hear().unwrap() != Message::Unchoke {}
    let pieces = u32::try_from(scene.size.sparse / u64::from(PIECE)).unwrap();
    let note_begins = PIECE - u32::try_from(SHORT_BY).unwrap();
    let places = [
        (0, 0),
        (pieces / 2, PIECE / 2),
        (pieces - 1, note_begins / BLOCK * BLOCK),
        (pieces, 0),
    ];
    for (piece, begin) in places {
        let span = Span {
            piece,
            begin,
            length: BLOCK,
        };
        peer.say(&Message::Request(span)).unwrap();
        let data = loop {
            if let Message::Piece { data, piece: of, .. } = peer.hear().unwrap() {
                assert_eq!(of, piece);
                break data;
            }
        };
        let start = u64::from(piece) * u64::from(PIECE) + u64::from(begin);
        assert!(data == expected(scene, start), "piece {piece} from {begin}");
    }
}

fn expected(scene: &Scene, start: u64) -> Bytes {
    let film = scene.size.sparse - SHORT_BY;
    let note = note();
    let byte = |address: u64| {
        let behind = address.checked_sub(film);
        behind.map_or(0, |at| note[usize::try_from(at).unwrap()])
    };
    (start..start + u64::from(BLOCK)).map(byte).collect()
}

/// Fetches the note alone, onto a small disk that also holds the state.
#[track_caller]
fn fetch_note(scene: &Scene, subject: &Subject, disk: &Path, peer: Option<std::net::SocketAddr>) -> Figures {
    let program = scene.get(subject, &disk.join("got"), &disk.join("state"));
    let program = program.args(["--only", "note.txt"]);
    let program = program.args(
        peer.iter()
            .flat_map(|peer| ["--peer".to_owned(), peer.to_string()]),
    );
    let (finished, figures) = scene.finish(program);
    finished.succeeded();
    assert!(fs::read(disk.join("got/archive/note.txt")).unwrap() == note());
    assert!(
        !disk.join("got/archive/film.bin").exists(),
        "nobody wants the film"
    );
    figures
}

/// Bytes on the disk of all files below.
fn on_disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let facts = entry.metadata().unwrap();
            let below = if facts.is_dir() { on_disk(&entry.path()) } else { 0 };
            below + facts.blocks() * 512
        })
        .sum()
}

/// The longest of the files below whose folder is called `resume`.
fn resume_length(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let length = |path: &Path| match path.metadata() {
        Ok(facts) if facts.is_dir() => resume_length(path),
        Ok(facts) if folder.ends_with("resume") => facts.len(),
        _ => 0,
    };
    entries
        .map(|entry| length(&entry.path()))
        .max()
        .unwrap_or_default()
}

#[track_caller]
pub(super) fn sparse(scene: &Scene) -> Report {
    let subject = make(scene);
    let data = scene.home.join("seeder");
    let seeding = scene.seed(&subject, &data);
    taste(scene, &subject, seeding.address);
    let shown = scene.ask(&data, &["show", subject.name, "--json"]);
    let shown_length: usize = shown.stdout.iter().map(String::len).sum();
    assert!(shown_length < 1 << 20, "`show` prints {shown_length} bytes");
    let disk = scene.home.join("disk");
    let mounted = SmallDisk::mount(&disk, SMALL_DISK);
    let got = fetch_note(scene, &subject, &disk, Some(seeding.address));
    // Nobody is asked: what was verified is known.
    let again = fetch_note(scene, &subject, &disk, None);
    assert!(again.read < u64::from(PIECE), "it read {} bytes", again.read);
    let sent = seeding.end();
    let (used, resume) = (on_disk(&disk), resume_length(&disk));
    drop(mounted);
    let (rival_sent, rival_got) = match scene.libtorrent_seed(&subject) {
        None => (None, None),
        Some(seeding) => {
            taste(scene, &subject, seeding.address);
            let got = scene.libtorrent_get(&subject, "note.txt", &[seeding.address]);
            (Some(seeding.end().peak), got)
        }
    };
    let bound = |peak| Bound {
        peak,
        descriptors: 48,
    };
    Report {
        rows: vec![
            row("seed, 4 blocks asked for", sent, bound(64), rival_sent),
            row("get --only note.txt", got, bound(96), rival_got),
            row("the same again", again, bound(64), None),
        ],
        notes: vec![format!(
            "{} pieces of 16 MiB; the torrent has {} KiB, resume data {} KiB, `show --json` {} KiB; the note on a disk of 64 MiB takes {} KiB there with the state, of which the piece it shares with the film is 16 MiB.",
            scene.size.sparse / u64::from(PIECE) + 1,
            fs::metadata(&subject.torrent).unwrap().len() >> 10,
            resume >> 10,
            shown_length >> 10,
            used >> 10
        )],
    }
}
