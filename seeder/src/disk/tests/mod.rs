//! Files on a real disk: what is found, what is remembered, what is refused.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use shared::geometry::PieceIndex;
use shared::metainfo::write::Format;
use shared::metainfo::{Info, Metainfo};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::storage::Tools;
use super::*;
use crate::clock::Clock;
use crate::engine::Check;
use crate::library::create::{Options, Plan, all_cores};
use crate::library::progress::Progress;

mod elsewhere;
mod others;

const PIECE: u32 = 32 * 1024;

/// A torrent with its source, a target and a state folder.
pub(crate) struct Rig {
    folder: TempDir,
    pub(crate) info: Arc<Info>,
    pub(crate) metainfo: Arc<Metainfo>,
}

impl Rig {
    /// An album of files with these lengths.
    pub(crate) fn new(files: &[(&str, usize)], format: Format) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (number, (path, length)) in files.iter().enumerate() {
            let path = folder.path().join("source/album").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, noise(number, *length)).unwrap();
        }
        let options = Options {
            format,
            piece_length: Some(PIECE),
            ..Options::default()
        };
        let plan = Plan::new(&folder.path().join("source/album"), &options).unwrap();
        let created = plan.create(all_cores(), &Progress::default()).unwrap();
        Self {
            folder,
            info: Arc::new(created.metainfo.info.clone()),
            metainfo: Arc::new(created.metainfo),
        }
    }

    pub(crate) fn album() -> Self {
        Self::new(
            &[
                ("a.jpg", 100_000),
                ("b/c.jpg", 1),
                ("b/d.jpg", 70_000),
                ("empty", 0),
            ],
            Format::V1,
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, root: &str, writes: bool) -> Opened {
        self.opening(root, writes).look().settle()
    }

    fn opening(&self, root: &str, writes: bool) -> Opening {
        Opening {
            info: Arc::clone(&self.info),
            root: self.path(root),
            writes,
            data: Some(self.path("state")),
            pool: Arc::new(FilePool::new(2)),
            devices: devices(),
            check: Check::Lazy,
            wishes: Arc::default(),
            allocation: Allocation::Sparse,
            progress: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    fn piece(&self, number: u32) -> PieceIndex {
        self.info.geometry().piece(number).unwrap()
    }

    /// The right content of a piece, from the source.
    fn content(&self, piece: PieceIndex) -> Vec<u8> {
        let source = Storage::new(
            Arc::clone(&self.info),
            self.path("source"),
            Tools {
                pool: Arc::new(FilePool::new(9)),
                devices: devices(),
                writes: false,
                allocation: Allocation::Sparse,
                parts: None,
            },
        );
        let mut content = vec![0; self.info.geometry().length_of(piece) as usize];
        source.seal();
        assert!(source.check(piece).unwrap());
        source
            .read(self.info.geometry().start_of(piece), &mut content)
            .unwrap();
        content
    }

    pub(crate) fn same(&self, name: &str) {
        let [there, here] =
            ["source", "target"].map(|root| fs::read(self.path(root).join("album").join(name)).unwrap());
        assert!(there == here, "{name} differs");
    }
}

fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn writer(opened: &Opened) -> Writer {
    Writer::new(opened, Clock::start(), 1 << 20)
}

pub(crate) fn devices() -> Arc<Devices> {
    Arc::new(Devices::new(Clock::start(), 1 << 10))
}

/// Hands a piece to the writer as the machine would, and waits for its verdict.
async fn fetch(writer: &mut Writer, rig: &Rig, piece: PieceIndex, content: &[u8]) -> Vec<DiskNews> {
    for block in rig.info.geometry().blocks(piece) {
        let begin = block.begin() as usize;
        writer.store(
            block,
            Bytes::copy_from_slice(&content[begin..begin + block.length() as usize]),
        );
    }
    writer.verify(piece);
    let mut heard = Vec::new();
    while !heard
        .iter()
        .any(|news| matches!(news, DiskNews::Verified { .. } | DiskNews::Trouble { .. }))
    {
        heard.extend(writer.news().await);
    }
    heard
}

async fn fetch_all(rig: &Rig, opened: &Opened, pieces: impl IntoIterator<Item = u32>) {
    let mut writer = writer(opened);
    for number in pieces {
        let piece = rig.piece(number);
        let heard = fetch(&mut writer, rig, piece, &rig.content(piece)).await;
        let good = |news: &DiskNews| matches!(news, DiskNews::Verified { good: true, .. });
        assert!(heard.iter().any(good), "piece {number}: {heard:?}");
    }
}

fn touch(path: &Path, later: Duration) {
    #[expect(clippy::disallowed_methods, reason = "files are stamped with real time")]
    stamp(path, SystemTime::now() + later);
}

fn stamp(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// Turns over one byte.
pub(crate) fn spoil(path: &Path, at: usize) {
    let mut content = fs::read(path).unwrap();
    content[at] ^= 1;
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn an_album_arrives_byte_for_byte() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    assert!(opened.have.is_empty());
    fetch_all(&rig, &opened, [5, 0, 3, 1, 4, 2]).await;
    opened.storage.finish().unwrap();
    for name in ["a.jpg", "b/c.jpg", "b/d.jpg", "empty"] {
        rig.same(name);
    }
    assert!(rig.open("target", true).have.is_complete());
}

#[tokio::test]
async fn padding_is_verified_and_never_written() {
    let rig = Rig::new(&[("a", 40_000), ("b", 10), ("c", 32_768)], Format::Hybrid);
    let opened = rig.open("target", true);
    fetch_all(&rig, &opened, 0..rig.info.geometry().piece_count()).await;
    opened.storage.finish().unwrap();
    for name in ["a", "b", "c"] {
        rig.same(name);
    }
    assert_eq!(fs::read_dir(rig.path("target/album")).unwrap().count(), 3);
    let mut zeros = vec![1; 32_768];
    opened.storage.read(32_768, &mut zeros).unwrap();
    assert!(zeros[40_000 - 32_768..].iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_wrong_piece_is_not_written() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    let mut writer = writer(&opened);
    let heard = fetch(&mut writer, &rig, rig.piece(0), &vec![7; PIECE as usize]).await;
    assert!(matches!(
        heard[..],
        [DiskNews::Verified { good: false, .. }, DiskNews::Credit(32_768)]
    ));
    assert!(!rig.path("target/album/a.jpg").exists());
}

#[tokio::test]
async fn after_a_kill_what_was_verified_is_known_without_hashing_it() {
    let rig = Rig::album();
    fetch_all(&rig, &rig.open("target", true), [0, 2]).await;
    // The spoiled byte would be noticed by hashing; the time says that nobody wrote since.
    let file = rig.path("target/album/a.jpg");
    spoil(&file, 10);
    touch(&file, Duration::ZERO);
    let have = rig.open("target", true).have;
    assert_eq!((have.count(), have.has(rig.piece(0))), (2, true));
}

#[tokio::test]
async fn a_file_that_others_wrote_to_is_hashed_again() {
    let rig = Rig::album();
    fetch_all(&rig, &rig.open("target", true), [0, 1, 5]).await;
    let file = rig.path("target/album/a.jpg");
    spoil(&file, 10);
    touch(&file, Duration::from_mins(1));
    let have = rig.open("target", true).have;
    assert_eq!(
        [0, 1, 5].map(|number| have.has(rig.piece(number))),
        [false, true, true]
    );
}

#[tokio::test]
async fn a_file_that_was_swapped_for_an_older_one_is_hashed_again() {
    let rig = Rig::album();
    fetch_all(&rig, &rig.open("target", true), [0, 1, 5]).await;
    let file = rig.path("target/album/a.jpg");
    let written = file.metadata().unwrap().modified().unwrap();
    let record = resume::path(&rig.path("state"), rig.info.wire_hash());
    let before = |secs| written - Duration::from_secs(secs);
    stamp(&record, before(60));
    spoil(&file, 10);
    stamp(&file, before(120));
    let have = rig.open("target", true).have;
    assert_eq!(
        [0, 1, 5].map(|number| have.has(rig.piece(number))),
        [false, true, true]
    );
}

#[tokio::test]
async fn a_piece_that_was_being_written_is_hashed() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    let piece = rig.piece(1);
    for (number, content) in [(1, rig.content(piece)), (2, vec![0; PIECE as usize])] {
        opened
            .journal
            .as_ref()
            .unwrap()
            .writing([rig.piece(number)])
            .unwrap();
        let start = rig.info.geometry().start_of(rig.piece(number));
        opened.storage.write(start, &[Bytes::from(content)]).unwrap();
    }
    let have = rig.open("target", true).have;
    assert_eq!((have.count(), have.has(piece)), (1, true));
}

#[tokio::test]
async fn a_file_cut_short_loses_the_pieces_that_are_gone() {
    let rig = Rig::album();
    fetch_all(&rig, &rig.open("target", true), 0..6).await;
    File::options()
        .write(true)
        .open(rig.path("target/album/b/d.jpg"))
        .unwrap()
        .set_len(65_000)
        .unwrap();
    let have = rig.open("target", true).have;
    assert_eq!((have.count(), have.has(rig.piece(5))), (5, false));
}

#[tokio::test]
async fn without_its_record_a_torrent_is_hashed_in_full() {
    let rig = Rig::album();
    fetch_all(&rig, &rig.open("target", true), [0, 1, 5]).await;
    fs::remove_dir_all(rig.path("state")).unwrap();
    spoil(&rig.path("target/album/a.jpg"), 40_000);
    let have = rig.open("target", true).have;
    assert_eq!(
        [0, 1, 5].map(|number| have.has(rig.piece(number))),
        [true, false, true]
    );
    assert_eq!(have.count(), 2);
}

#[tokio::test]
async fn a_longer_file_of_an_earlier_time_is_cut() {
    let rig = Rig::album();
    fs::create_dir_all(rig.path("target/album/b")).unwrap();
    fs::write(rig.path("target/album/b/d.jpg"), vec![3; 90_000]).unwrap();
    let opened = rig.open("target", true);
    fetch_all(&rig, &opened, 0..6).await;
    rig.same("b/d.jpg");
}

#[tokio::test]
async fn nothing_is_written_through_a_symbolic_link() {
    let rig = Rig::album();
    fs::create_dir_all(rig.path("target/album")).unwrap();
    fs::create_dir_all(rig.path("elsewhere")).unwrap();
    symlink(rig.path("elsewhere"), rig.path("target/album/b")).unwrap();
    symlink(rig.path("elsewhere/file"), rig.path("target/album/a.jpg")).unwrap();
    let opened = rig.open("target", true);
    let mut writer = writer(&opened);
    let heard = fetch(&mut writer, &rig, rig.piece(0), &rig.content(rig.piece(0))).await;
    assert!(matches!(&heard[..], [DiskNews::Trouble { path, .. }] if path.ends_with("a.jpg")));
    assert_eq!(fs::read_dir(rig.path("elsewhere")).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_disk_in_trouble_is_tried_again_and_nothing_is_lost() {
    let rig = Rig::album();
    let opened = rig.open("target", true);
    fs::remove_dir_all(rig.path("target")).unwrap();
    fs::write(rig.path("target"), "in the way").unwrap();
    assert_eq!(rig.open("target", true).troubles.len(), 1);
    let mut writer = writer(&opened);
    let heard = fetch(&mut writer, &rig, rig.piece(0), &rig.content(rig.piece(0))).await;
    assert!(matches!(&heard[..], [DiskNews::Trouble { .. }]), "{heard:?}");
    fs::remove_file(rig.path("target")).unwrap();
    let mut heard = Vec::new();
    while heard.is_empty() {
        heard = writer.news().await;
    }
    assert!(
        matches!(
            heard[..],
            [
                DiskNews::Verified { good: true, .. },
                DiskNews::Recovered,
                DiskNews::Credit(32_768)
            ]
        ),
        "{heard:?}"
    );
}

#[test]
fn a_source_is_seeded_at_once_and_hashed_before_it_is_trusted() {
    let rig = Rig::album();
    spoil(&rig.path("source/album/a.jpg"), 0);
    let opened = rig.open("source", false);
    assert!(opened.have.is_complete() && opened.storage.trusted().is_empty());
    assert!(!opened.storage.check(rig.piece(0)).unwrap());
    assert!(opened.storage.check(rig.piece(1)).unwrap());
    opened.remember().unwrap();
    let again = rig.open("source", false);
    assert_eq!((again.have.count(), again.storage.trusted().count()), (6, 1));
}

#[test]
fn a_source_of_the_wrong_size_is_named_and_its_pieces_are_not_offered() {
    let rig = Rig::album();
    fs::remove_file(rig.path("source/album/b/d.jpg")).unwrap();
    let opened = rig.open("source", false);
    assert_eq!(opened.have.count(), 3);
    assert!(
        opened.troubles[0].to_string().ends_with("album/b/d.jpg: missing"),
        "{}",
        opened.troubles[0]
    );
}

#[test]
fn a_source_that_changes_while_it_stands_open_is_noticed() {
    let rig = Rig::album();
    let opened = rig.open("source", false);
    let (storage, piece) = (&opened.storage, rig.piece(0));
    let mut bytes = vec![0; 100];
    assert!(storage.check(piece).unwrap());
    storage.read(0, &mut bytes).unwrap();
    assert!(storage.read_without_waiting(0, &mut bytes) || cfg!(not(target_os = "linux")));
    let file = rig.path("source/album/a.jpg");
    spoil(&file, 50);
    touch(&file, Duration::from_secs(5));
    assert!(!storage.read_without_waiting(0, &mut bytes));
    assert!(matches!(
        storage.read(0, &mut bytes),
        Err(StorageError::Changed { .. })
    ));
    assert!(!storage.is_trusted(piece) && !storage.check(piece).unwrap());
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(20)
        .unwrap();
    assert!(matches!(
        storage.check(piece),
        Err(StorageError::Short { missing: 20, .. })
    ));
}

#[test]
fn seeding_leaves_no_trace_in_the_source() {
    let rig = Rig::album();
    let file = rig.path("source/album/a.jpg");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    let before = fs::metadata(&file).unwrap();
    let opened = rig.open("source", false);
    rig.info
        .geometry()
        .pieces()
        .for_each(|piece| assert!(opened.storage.check(piece).unwrap()));
    opened.remember().unwrap();
    let after = fs::metadata(&file).unwrap();
    let facts = |facts: &fs::Metadata| (facts.len(), facts.modified().unwrap(), facts.accessed().unwrap());
    assert_eq!(facts(&before), facts(&after));
}
