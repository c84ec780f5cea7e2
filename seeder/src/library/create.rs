//! From a file or folder to a torrent: first a plan, which costs a walk, then the hashing, which costs the reading.

use std::num::NonZeroUsize;
use std::path::Path;

use shared::geometry::PIECE_COUNT_MAX;
use shared::magnet::Magnet;
use shared::metainfo::write::{Details, Entry, Format, Layout, LayoutError, write};
use shared::metainfo::{Metainfo, MetainfoError};

use super::filter::Filter;
use super::hash::{HashError, hash};
use super::order::natural_paths;
use super::piece_length;
use super::progress::Progress;
use super::walk::{Skipped, Source, WalkError, Walked, walk};

/// What somebody wants of a torrent, beside its content.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub format: Format,
    /// By rule where absent.
    pub piece_length: Option<u32>,
    pub filter: Filter,
    pub details: Details,
}

/// There is nothing to make a torrent of, or no torrent can hold it.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error(
        "{0} holds no file that may go into a torrent: it is empty, or all of it is junk or left out (`seeder create` has --keep-junk, --include and --exclude)"
    )]
    NoFiles(String),
    #[error("all files of {0} are empty, and a torrent of 0 bytes holds nothing to share")]
    Empty(String),
    #[error(
        "{content_size} bytes in pieces of {piece_length} are more than {PIECE_COUNT_MAX} pieces; choose a longer --piece-length"
    )]
    TooManyPieces { content_size: u64, piece_length: u32 },
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// The content could not be hashed, or the result would not be accepted by those who read it.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error("others would refuse this torrent: {0}")]
    Refused(#[from] MetainfoError),
}

/// What will be hashed and how it will be cut.
#[derive(Clone, Debug)]
pub struct Plan {
    layout: Layout,
    /// The layout's entries on the disk.
    sources: Vec<Source>,
    details: Details,
    /// Files and folders left out as junk.
    pub junk: usize,
    pub skipped: Vec<Skipped>,
}

/// A torrent that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// The metainfo file.
    pub bytes: Vec<u8>,
    /// The same, as everyone will read it.
    pub metainfo: Metainfo,
}

impl Plan {
    /// Walks the path and cuts what is there. v1 torrents are in natural order; v2 and hybrids in the order of the file
    /// tree, which BEP 52 leaves no choice about.
    pub fn new(path: &Path, options: &Options) -> Result<Self, PlanError> {
        let Walked {
            name,
            is_single_file: _,
            mut files,
            junk,
            skipped,
        } = walk(path, &options.filter)?;
        if files.is_empty() {
            return Err(PlanError::NoFiles(path.display().to_string()));
        }
        let content_size = files
            .iter()
            .map(|file| file.source.length)
            .fold(0, u64::saturating_add);
        if content_size == 0 {
            return Err(PlanError::Empty(path.display().to_string()));
        }
        if options.format.has_v2() {
            files.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        } else {
            files.sort_unstable_by(|left, right| natural_paths(&left.path, &right.path));
        }
        let piece_length = options
            .piece_length
            .unwrap_or_else(|| piece_length::by_rule(content_size));
        let (entries, sources) = files
            .into_iter()
            .map(|file| {
                (
                    Entry {
                        path: file.path,
                        length: file.source.length,
                    },
                    file.source,
                )
            })
            .unzip();
        let layout =
            Layout::new(options.format, name, piece_length, entries).map_err(|error| match error {
                LayoutError::Geometry(_) => PlanError::TooManyPieces {
                    content_size,
                    piece_length,
                },
                error => error.into(),
            })?;
        Ok(Self {
            layout,
            sources,
            details: options.details.clone(),
            junk,
            skipped,
        })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes to be read.
    pub fn content_size(&self) -> u64 {
        self.layout.content_size()
    }

    /// Files to be read, empty ones among them.
    pub fn content_files(&self) -> usize {
        self.sources.len()
    }

    /// Reads everything once and makes the torrent. Reading it back is part of the work: what we could not read ourselves
    /// is never handed out.
    pub fn create(&self, threads: NonZeroUsize, progress: &Progress) -> Result<Created, CreateError> {
        progress.expect(self.content_size());
        let hashes = hash(&self.layout, &self.sources, threads, progress)?;
        let bytes = write(&self.layout, &hashes, &self.details);
        let metainfo = Metainfo::read(&bytes)?;
        Ok(Created { bytes, metainfo })
    }
}

impl Created {
    /// The link by which others find the torrent through its trackers; it names no peers yet.
    pub fn magnet(&self) -> Magnet {
        let info = &self.metainfo.info;
        Magnet {
            info_hash_v1: info.info_hash_v1(),
            info_hash_v2: info.info_hash_v2(),
            name: Some(info.name().to_owned()),
            trackers: self.metainfo.trackers.concat(),
            peers: Vec::new(),
            web_seeds: self.metainfo.web_seeds.clone(),
            exact_length: Some(info.content_size()),
            only: None,
        }
    }
}

/// As many threads as there are cores.
pub fn all_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::verify::check;
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

    fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join("Album").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn plan(root: &TempDir, format: Format) -> Plan {
        let options = Options {
            format,
            piece_length: Some(16_384),
            ..Options::default()
        };
        Plan::new(&root.path().join("Album"), &options).unwrap()
    }

    fn refused(root: &TempDir) -> String {
        Plan::new(&root.path().join("Album"), &Options::default())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_v1_torrent_is_in_natural_order_and_a_hybrid_in_that_of_its_tree() {
        let root = folder(&[
            ("IMG_10", vec![1]),
            ("img_2", vec![2]),
            ("b/x", vec![3]),
            ("A", vec![4]),
        ]);
        let order = |format| {
            let plan = plan(&root, format);
            plan.layout()
                .entries()
                .iter()
                .map(|entry| entry.path.join("/"))
                .collect::<Vec<_>>()
        };
        assert_eq!(order(Format::V1), ["A", "b/x", "img_2", "IMG_10"]);
        assert_eq!(order(Format::Hybrid), ["A", "IMG_10", "b/x", "img_2"]);
    }

    #[test]
    fn the_number_of_threads_does_not_show() {
        let root = folder(&[("a", vec![7; 100_000]), ("b", vec![8; 50_000]), ("c", vec![])]);
        for format in [Format::V1, Format::Hybrid, Format::V2] {
            let made = |threads| {
                plan(&root, format)
                    .create(threads, &Progress::default())
                    .unwrap()
                    .bytes
            };
            assert_eq!(made(NonZeroUsize::MIN), made(TWO.saturating_add(5)));
        }
    }

    #[test]
    fn one_file_needs_no_folder() {
        let root = folder(&[("a.mkv", vec![7; 20_000])]);
        let plan = Plan::new(&root.path().join("Album/a.mkv"), &Options::default()).unwrap();
        let info = plan.create(TWO, &Progress::default()).unwrap().metainfo.info;
        assert_eq!(
            (info.name(), info.is_single_file(), info.content_size()),
            ("a.mkv", true, 20_000)
        );
    }

    #[test]
    fn nothing_to_share_is_said_before_anything_is_read() {
        assert!(refused(&folder(&[("a", vec![]), ("b", vec![])])).contains("0 bytes"));
        assert!(refused(&folder(&[(".DS_Store", vec![1])])).contains("--keep-junk"));
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_named() {
        let rewrite = |path: &Path, length| fs::write(path, vec![7; length]).unwrap();
        let touch = |path: &Path| {
            let later = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(later)
                .unwrap();
        };
        let changes: [&dyn Fn(&Path); 3] = [&|path| rewrite(path, 10), &|path| rewrite(path, 30_000), &touch];
        for change in changes {
            let root = folder(&[("a", vec![7; 20_000]), ("b", vec![7; 20_000])]);
            let plan = plan(&root, Format::V1);
            change(&root.path().join("Album/b"));
            let error = plan.create(TWO, &Progress::default()).unwrap_err();
            assert!(
                matches!(&error, CreateError::Hash(HashError::Changed(path)) if path.ends_with("b")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_gone_is_named() {
        let root = folder(&[("a", vec![1; 20_000]), ("b", vec![2; 20_000])]);
        let plan = plan(&root, Format::V1);
        fs::remove_file(root.path().join("Album/a")).unwrap();
        let error = plan.create(TWO, &Progress::default()).unwrap_err();
        assert!(
            matches!(&error, CreateError::Hash(HashError::Unreadable { path, .. }) if path.ends_with("a")),
            "{error}"
        );
    }

    #[test]
    fn hashing_can_be_cancelled_and_counts_what_it_reads() {
        let root = folder(&[("a", vec![1; 50_000])]);
        let plan = plan(&root, Format::Hybrid);
        let progress = Progress::default();
        plan.create(TWO, &progress).unwrap();
        assert_eq!((progress.done(), progress.total()), (50_000, 50_000));
        progress.cancel();
        assert!(matches!(
            plan.create(TWO, &progress),
            Err(CreateError::Hash(HashError::Cancelled))
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_was_made_is_found_good(
            lengths in prop::collection::vec(prop_oneof![0_usize..3, 16_380_usize..16_390, 0_usize..90_000], 2..8),
            kind in 0..3,
        ) {
            prop_assume!(lengths.iter().any(|length| *length > 0));
            let names = ["a", "b2", "b10", "c/d", "c/e/f", "g", "h"];
            let files: Vec<_> = names.iter().zip(&lengths).map(|(name, length)| (*name, vec![name.as_bytes()[0]; *length])).collect();
            let root = folder(&files);
            let format = [Format::V1, Format::Hybrid, Format::V2][usize::try_from(kind).unwrap()];
            let created = plan(&root, format).create(TWO, &Progress::default()).unwrap();
            let report = check(&created.metainfo.info, root.path(), TWO, &Progress::default()).unwrap();
            prop_assert!(report.is_good() && report.pieces.is_complete());
            prop_assert_eq!(report.files.len(), files.len());
        }
    }
}
