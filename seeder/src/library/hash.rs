//! Hashing on all cores. Workers take runs of pieces from one queue and read them themselves, so no byte passes from
//! thread to thread, memory is one buffer a worker, and small files cost little more than large ones.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use shared::geometry::PieceIndex;
use shared::metainfo::write::{Layout, PieceHash, Tree};

use super::digest::Digest;
use super::parts::{Map, Part};
use super::progress::Progress;
use super::reader::Reader;
use super::walk::Source;

/// How much neighbouring content a worker takes from the queue at once: disks like runs.
const RUN_LENGTH: u32 = 8 * 1024 * 1024;

/// The content could not be hashed as it was found.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("{}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("{} was changed while it was read; try again when nobody writes to it", .0.display())]
    Changed(PathBuf),
    #[error("cancelled")]
    Cancelled,
}

/// Hashes the content of a layout, whose entries are the sources in the same order.
pub fn hash(
    layout: &Layout,
    sources: &[Source],
    threads: NonZeroUsize,
    progress: &Progress,
) -> Result<Vec<PieceHash>, HashError> {
    let job = Job {
        layout,
        sources,
        map: Map::new(layout.places()),
        progress,
        stop: AtomicBool::new(false),
    };
    let mut hashes = vec![PieceHash::default(); layout.geometry().piece_count() as usize];
    let pieces: Vec<PieceIndex> = layout.geometry().pieces().collect();
    let run = run_length(layout.geometry().piece_length(), pieces.len(), threads);
    let queue = Mutex::new(pieces.chunks(run).zip(hashes.chunks_mut(run)));
    on_all(threads, || job.work(&queue))?;
    sources.iter().try_for_each(check_unchanged)?;
    Ok(hashes)
}

/// So many pieces that a run is long enough for the disk, but every worker gets several.
pub(crate) fn run_length(piece_length: u32, piece_count: usize, threads: NonZeroUsize) -> usize {
    let for_the_disk = (RUN_LENGTH / piece_length) as usize;
    let fair = piece_count / (8 * threads.get());
    for_the_disk.min(fair).max(1)
}

/// Does the same on several threads and waits for all. The first real error counts; `Cancelled` is what it does to others.
pub(super) fn on_all(
    threads: NonZeroUsize,
    work: impl Fn() -> Result<(), HashError> + Sync,
) -> Result<(), HashError> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(&work)).collect();
        let mut worst = Ok(());
        for worker in workers {
            let outcome = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if outcome.is_err() && matches!(worst, Ok(()) | Err(HashError::Cancelled)) {
                worst = outcome;
            }
        }
        worst
    })
}

/// Says whether a file still looks as it did when it was found.
pub fn check_unchanged(source: &Source) -> Result<(), HashError> {
    let path = &source.path;
    let metadata = path.metadata().map_err(|reason| HashError::Unreadable {
        path: path.clone(),
        reason,
    })?;
    let same =
        metadata.is_file() && metadata.len() == source.length && metadata.modified().ok() == source.modified;
    if same {
        Ok(())
    } else {
        Err(HashError::Changed(path.clone()))
    }
}

struct Job<'a> {
    layout: &'a Layout,
    sources: &'a [Source],
    map: Map,
    progress: &'a Progress,
    /// One worker has failed, so nobody needs the others' results.
    stop: AtomicBool,
}

impl Job<'_> {
    fn work<'q>(
        &self,
        queue: &Mutex<impl Iterator<Item = (&'q [PieceIndex], &'q mut [PieceHash])>>,
    ) -> Result<(), HashError> {
        let mut reader = Reader::default();
        loop {
            let run = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((pieces, hashes)) = run else {
                return Ok(());
            };
            for (piece, hash) in pieces.iter().zip(hashes) {
                if self.progress.is_cancelled() || self.stop.load(Ordering::Relaxed) {
                    return Err(HashError::Cancelled);
                }
                let outcome = self.hash_piece(*piece, &mut reader);
                *hash = outcome.inspect_err(|_| self.stop.store(true, Ordering::Relaxed))?;
            }
        }
    }

    fn hash_piece(&self, piece: PieceIndex, reader: &mut Reader) -> Result<PieceHash, HashError> {
        let geometry = self.layout.geometry();
        let mut digest = Digest::new(self.layout.format());
        let mut tree = Tree::OfFile;
        for part in self
            .map
            .parts(geometry.start_of(piece), geometry.length_of(piece).into())
        {
            match part {
                Part::Zeros { length } => digest.zeros(length),
                Part::File { file, offset, length } => {
                    let Some(source) = self.sources.get(file) else {
                        continue;
                    };
                    tree = self.layout.tree(source.length);
                    reader
                        .read((file, &source.path), offset, length, |bytes| {
                            digest.content(bytes);
                            self.progress.add(bytes.len() as u64);
                        })
                        .map_err(|reason| failure(source, reason))?;
                }
            }
        }
        Ok(digest.finish(tree))
    }
}

fn failure(source: &Source, reason: io::Error) -> HashError {
    let path = source.path.clone();
    if reason.kind() == io::ErrorKind::UnexpectedEof {
        HashError::Changed(path)
    } else {
        HashError::Unreadable { path, reason }
    }
}
