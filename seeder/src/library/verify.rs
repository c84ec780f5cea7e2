//! Comparing what lies on a disk with a torrent, on all cores: the report of `verify`, and the loop over pieces that the
//! engine's checks go through too.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use shared::bitfield::Bitfield;
use shared::geometry::PieceIndex;
use shared::metainfo::{File, FileKind, Info, PieceCheck};

use super::hash::{HashError, on_all, run_length};
use super::parts::{Map, Part};
use super::progress::Progress;
use super::reader::Reader;

/// What a comparison found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every file that should lie on the disk, in the torrent's order.
    pub files: Vec<FileReport>,
    /// The pieces whose bytes are all there and right.
    pub pieces: Bitfield,
}

impl Report {
    /// Everything is there and right.
    pub fn is_good(&self) -> bool {
        self.files.iter().all(|file| file.state == FileState::Good)
    }
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Below the folder that holds the torrent's root.
    pub path: PathBuf,
    /// As the torrent says it.
    pub length: u64,
    pub state: FileState,
}

/// The first of these that is true of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    Missing,
    /// It cannot be read, for this reason.
    Unreadable(String),
    WrongSize {
        actual: u64,
    },
    /// Pieces of it do not match. A piece of a v1 torrent may be shared with neighbouring files: they are suspected alike.
    Damaged {
        ranges: Vec<Range<u64>>,
    },
    /// Nothing wrong was seen, but these bytes share a piece with a file that is missing or cannot be read.
    Unproven {
        ranges: Vec<Range<u64>>,
    },
    Good,
}

/// Compares every file of a torrent below `root`, the folder that holds the torrent's own root. Fails only if cancelled.
pub fn check(
    info: &Info,
    root: &Path,
    threads: NonZeroUsize,
    progress: &Progress,
) -> Result<Report, HashError> {
    let check = Check::new(info, root, progress);
    let verdicts = check.pieces(threads)?;
    let files = (0..check.files.len())
        .filter_map(|file| check.report(file, &verdicts))
        .collect();
    Ok(Report {
        files,
        pieces: check.good(&verdicts),
    })
}

/// Does the same with many pieces on several threads, each with a worker of its own: neighbours together, since disks like
/// runs. Gives back what came of each, in order. Fails only if cancelled.
pub(crate) fn each_piece<W, V: Clone + Default + Send>(
    pieces: &[PieceIndex],
    run: usize,
    (threads, progress): (NonZeroUsize, &Progress),
    worker: impl Fn() -> W + Sync,
    judge: impl Fn(PieceIndex, &mut W) -> V + Sync,
) -> Result<Vec<V>, HashError> {
    let mut verdicts = vec![V::default(); pieces.len()];
    let queue = Mutex::new(pieces.chunks(run).zip(verdicts.chunks_mut(run)));
    on_all(threads, || {
        let mut worker = worker();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((pieces, verdicts)) = next else {
                return Ok(());
            };
            for (piece, verdict) in pieces.iter().zip(verdicts) {
                if progress.is_cancelled() {
                    return Err(HashError::Cancelled);
                }
                *verdict = judge(*piece, &mut worker);
            }
        }
    })?;
    Ok(verdicts)
}

/// What is known of a piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verdict {
    /// A file that it needs cannot give its bytes.
    #[default]
    Unread,
    Bad,
    Good,
}

/// A file of the torrent and what lies in its place.
#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    below: PathBuf,
    length: u64,
    offset: u64,
    /// How long it really is.
    actual: io::Result<u64>,
}

struct Check<'a> {
    info: &'a Info,
    files: Vec<OnDisk>,
    map: Map,
    progress: &'a Progress,
}

impl<'a> Check<'a> {
    fn new(info: &'a Info, root: &Path, progress: &'a Progress) -> Self {
        let regular = info.files().iter().filter(|file| file.kind == FileKind::Regular);
        let files: Vec<OnDisk> = regular
            .map(|file| {
                let below = path_in(info, file, root);
                let path = root.join(&below);
                let actual = length_of(&path);
                OnDisk {
                    path,
                    below,
                    length: file.length,
                    offset: file.offset,
                    actual,
                }
            })
            .collect();
        let map = Map::new(
            files
                .iter()
                .enumerate()
                .map(|(number, file)| (number, file.offset, file.length)),
        );
        progress.expect(files.iter().map(|file| file.length).fold(0, u64::saturating_add));
        Self {
            info,
            files,
            map,
            progress,
        }
    }

    fn pieces(&self, threads: NonZeroUsize) -> Result<Vec<Verdict>, HashError> {
        let pieces: Vec<PieceIndex> = self.info.geometry().pieces().collect();
        let run = run_length(self.info.geometry().piece_length(), pieces.len(), threads);
        each_piece(
            &pieces,
            run,
            (threads, self.progress),
            Reader::default,
            |piece, reader| self.judge(piece, reader),
        )
    }

    fn judge(&self, piece: PieceIndex, reader: &mut Reader) -> Verdict {
        let geometry = self.info.geometry();
        let (start, length) = (geometry.start_of(piece), u64::from(geometry.length_of(piece)));
        let Some(mut check) = self.info.check(piece) else {
            return Verdict::Bad;
        };
        for part in self.map.parts(start, length) {
            match part {
                Part::Zeros { length } => zeros(&mut check, length),
                Part::File { file, offset, length } => {
                    self.progress.add(length);
                    if !self.feed(&mut check, (file, offset, length), reader) {
                        return Verdict::Unread;
                    }
                }
            }
        }
        if self.info.agrees(check) {
            Verdict::Good
        } else {
            Verdict::Bad
        }
    }

    /// Reads a range of a file, if it has one.
    fn feed(
        &self,
        check: &mut PieceCheck,
        (file, offset, length): (usize, u64, u64),
        reader: &mut Reader,
    ) -> bool {
        let Some(on_disk) = self.files.get(file) else {
            return false;
        };
        let end = offset.saturating_add(length);
        if !on_disk.actual.as_ref().is_ok_and(|actual| *actual >= end) {
            return false;
        }
        let take = |bytes: &[u8]| check.feed(bytes);
        let read = reader.read((file, &on_disk.path), offset, length, take);
        if let Err(error) = &read {
            tracing::warn!(path = %on_disk.path.display(), %error, "cannot be read");
        }
        read.is_ok()
    }

    fn good(&self, verdicts: &[Verdict]) -> Bitfield {
        let geometry = self.info.geometry();
        let mut good = Bitfield::none(geometry);
        for (piece, _) in geometry
            .pieces()
            .zip(verdicts)
            .filter(|(_, verdict)| **verdict == Verdict::Good)
        {
            good.set(piece);
        }
        good
    }

    fn report(&self, file: usize, verdicts: &[Verdict]) -> Option<FileReport> {
        let file = self.files.get(file)?;
        let state = match &file.actual {
            Err(error) if error.kind() == io::ErrorKind::NotFound => FileState::Missing,
            Err(error) => FileState::Unreadable(error.to_string()),
            Ok(actual) if *actual != file.length => FileState::WrongSize { actual: *actual },
            Ok(_) => self.state_by_pieces(file, verdicts),
        };
        Some(FileReport {
            path: file.below.clone(),
            length: file.length,
            state,
        })
    }

    fn state_by_pieces(&self, file: &OnDisk, verdicts: &[Verdict]) -> FileState {
        let damaged = self.ranges(file, verdicts, Verdict::Bad);
        if !damaged.is_empty() {
            return FileState::Damaged { ranges: damaged };
        }
        let ranges = self.ranges(file, verdicts, Verdict::Unread);
        if ranges.is_empty() {
            FileState::Good
        } else {
            FileState::Unproven { ranges }
        }
    }

    /// The bytes of a file that lie in pieces of this verdict, counted from the file's start; neighbours are joined.
    fn ranges(&self, file: &OnDisk, verdicts: &[Verdict], wanted: Verdict) -> Vec<Range<u64>> {
        let cut = u64::from(self.info.geometry().piece_length());
        let end = file.offset + file.length;
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let first = usize::try_from(file.offset / cut).unwrap_or(usize::MAX);
        for (number, verdict) in verdicts.iter().enumerate().skip(first) {
            let start = number as u64 * cut;
            if start >= end {
                break;
            }
            if *verdict != wanted {
                continue;
            }
            let (from, to) = (
                start.max(file.offset) - file.offset,
                (start + cut).min(end) - file.offset,
            );
            match ranges.last_mut() {
                Some(last) if last.end == from => last.end = to,
                _ => ranges.push(from..to),
            }
        }
        ranges
    }
}

/// Padding is hashed like everything else.
fn zeros(check: &mut PieceCheck, mut length: u64) {
    const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
    while length > 0 {
        let now = length.min(ZEROS.len() as u64);
        check.feed(ZEROS.get(..usize::try_from(now).unwrap_or(0)).unwrap_or_default());
        length -= now;
    }
}

/// Where a file lies below `root`: under its safe name or, where nothing is there, under the one that its maker gave it, if
/// this system can hold that. Whoever shares `aux.c` has it under no other name.
pub fn path_in(info: &Info, file: &File, root: &Path) -> PathBuf {
    let safe = info.disk_path(file);
    if root.join(&safe).symlink_metadata().is_ok() {
        return safe;
    }
    let original = info
        .original_path(file)
        .filter(|original| root.join(original).symlink_metadata().is_ok());
    original.unwrap_or(safe)
}

fn length_of(path: &Path) -> io::Result<u64> {
    let metadata = path.metadata()?;
    if metadata.is_file() {
        Ok(metadata.len())
    } else {
        Err(io::Error::other("it is not a file"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use shared::metainfo::write::Format;
    use tempfile::TempDir;

    use super::super::create::{Options, Plan};
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

    /// Four files of one letter each: `a` of 40,000 bytes, `b` of 10, `c` of 40,000, and `d`, which is empty.
    fn album(format: Format) -> (TempDir, Info) {
        let root = tempfile::tempdir().unwrap();
        let album = root.path().join("Album");
        fs::create_dir(&album).unwrap();
        for (name, length) in [("a", 40_000), ("b", 10), ("c", 40_000), ("d", 0)] {
            fs::write(album.join(name), name.repeat(length)).unwrap();
        }
        let options = Options {
            format,
            piece_length: Some(16_384),
            ..Options::default()
        };
        let plan = Plan::new(&album, &options).unwrap();
        let info = plan.create(TWO, &Progress::default()).unwrap().metainfo.info;
        (root, info)
    }

    /// Does something to the album, and says what is found then, file by file.
    #[track_caller]
    fn check_after(format: Format, change: impl FnOnce(&Path), found: &str) {
        let (root, info) = album(format);
        change(&root.path().join("Album"));
        let report = check(&info, root.path(), TWO, &Progress::default()).unwrap();
        let words: Vec<String> = report
            .files
            .iter()
            .map(|file| match &file.state {
                FileState::Good => "good".to_owned(),
                FileState::Missing => "missing".to_owned(),
                FileState::Unreadable(_) => "unreadable".to_owned(),
                FileState::WrongSize { actual } => format!("size {actual}"),
                FileState::Damaged { ranges } => format!("damaged {ranges:?}"),
                FileState::Unproven { ranges } => format!("unproven {ranges:?}"),
            })
            .collect();
        assert_eq!(words.join(", "), found);
        assert_eq!(report.is_good(), found == "good, good, good, good");
    }

    fn flip(path: &Path, at: usize) {
        let mut content = fs::read(path).unwrap();
        content[at] ^= 1;
        fs::write(path, content).unwrap();
    }

    #[test]
    fn an_untouched_album_is_good() {
        for format in [Format::V1, Format::Hybrid, Format::V2] {
            check_after(format, |_| (), "good, good, good, good");
        }
    }

    #[test]
    fn damage_is_found_where_it_is() {
        for format in [Format::V1, Format::Hybrid, Format::V2] {
            check_after(
                format,
                |album| flip(&album.join("a"), 20_000),
                "damaged [16384..32768], good, good, good",
            );
        }
    }

    #[test]
    fn only_v1_suspects_the_neighbours_of_a_damaged_file() {
        let damage = |album: &Path| flip(&album.join("b"), 3);
        check_after(
            Format::V1,
            damage,
            "damaged [32768..40000], damaged [0..10], damaged [0..9142], good",
        );
        check_after(Format::Hybrid, damage, "good, damaged [0..10], good, good");
        check_after(Format::V2, damage, "good, damaged [0..10], good, good");
    }

    #[test]
    fn neighbours_of_a_missing_file_are_unproven_in_v1_only() {
        let remove = |album: &Path| fs::remove_file(album.join("b")).unwrap();
        check_after(
            Format::V1,
            remove,
            "unproven [32768..40000], missing, unproven [0..9142], good",
        );
        check_after(Format::Hybrid, remove, "good, missing, good, good");
        check_after(Format::V2, remove, "good, missing, good, good");
    }

    #[test]
    fn files_of_the_wrong_size_are_told_with_their_size() {
        let longer = |album: &Path| fs::write(album.join("c"), "c".repeat(40_001)).unwrap();
        check_after(Format::V1, longer, "good, good, size 40001, good");
        let shorter = |album: &Path| fs::write(album.join("c"), "c".repeat(39_999)).unwrap();
        check_after(Format::Hybrid, shorter, "good, good, size 39999, good");
        let filled = |album: &Path| fs::write(album.join("d"), "d").unwrap();
        check_after(Format::V2, filled, "good, good, good, size 1");
    }

    #[test]
    fn an_empty_file_can_be_missing_too() {
        check_after(
            Format::V1,
            |album| fs::remove_file(album.join("d")).unwrap(),
            "good, good, good, missing",
        );
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_unreadable() {
        let swap = |album: &Path| {
            fs::remove_file(album.join("b")).unwrap();
            fs::create_dir(album.join("b")).unwrap();
        };
        check_after(Format::Hybrid, swap, "good, unreadable, good, good");
    }

    #[test]
    fn a_half_finished_download_has_the_pieces_that_are_whole() {
        let (root, info) = album(Format::V1);
        fs::write(root.path().join("Album/a"), "a".repeat(33_000)).unwrap();
        let have = check(&info, root.path(), TWO, &Progress::default())
            .unwrap()
            .pieces;
        let numbers: Vec<u32> = info
            .geometry()
            .pieces()
            .filter(|piece| have.has(*piece))
            .map(PieceIndex::number)
            .collect();
        assert_eq!(numbers, [0, 1, 3, 4]);
    }

    #[test]
    fn a_name_that_is_changed_for_others_is_found_as_its_maker_has_it() {
        let root = tempfile::tempdir().unwrap();
        let album = root.path().join("Album");
        fs::create_dir(&album).unwrap();
        for name in ["aux.c", "what?.txt", "plain"] {
            fs::write(album.join(name), name).unwrap();
        }
        let info = Plan::new(&album, &Options::default())
            .unwrap()
            .create(TWO, &Progress::default())
            .unwrap()
            .metainfo
            .info;
        let report = check(&info, root.path(), TWO, &Progress::default()).unwrap();
        assert!(report.is_good(), "{report:?}");
    }

    #[test]
    fn a_comparison_can_be_cancelled() {
        let (root, info) = album(Format::V1);
        let progress = Progress::default();
        progress.cancel();
        assert!(matches!(
            check(&info, root.path(), TWO, &progress),
            Err(HashError::Cancelled)
        ));
    }
}
