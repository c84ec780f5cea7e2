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
    #[error("{0} holds no file that may go into a torrent; look at --include, --exclude and --keep-junk")]
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
        }
    }
}

/// As many threads as there are cores.
pub fn all_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
