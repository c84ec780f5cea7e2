//! What a thread does for the writer: hash what came, write it in runs as long as can be, and note what was verified.

use std::io;

use bytes::Bytes;
use shared::geometry::PieceIndex;
use shared::metainfo::PieceCheck;

use super::gather::Task;
use super::resume::Journal;
use super::storage::{Storage, StorageError};

/// A task, and how far its piece was hashed: a task that failed goes on where it was.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) task: Task,
    pub(super) check: Option<PieceCheck>,
}

impl From<Task> for Work {
    fn from(task: Task) -> Self {
        Self { task, check: None }
    }
}

pub(super) type Outcome = Result<Done, StorageError>;

/// What became of a task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    Written,
    Verified(bool),
    /// What was written of it before is gone.
    Gone,
}

/// What hashing showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// There is more to come.
    Open,
    Right,
    /// Whether parts of it may be on the disk or not, none of it needs to be.
    Wrong,
}

/// Carries out tasks of different pieces.
pub(super) fn carry_out(
    storage: &Storage,
    journal: Option<&Journal>,
    mut works: Vec<Work>,
) -> Vec<(Work, Outcome)> {
    works.sort_by_key(|work| work.task.piece);
    let _waiting = works.first().map(|work| storage.waiting(work.task.piece));
    let verdicts: Vec<_> = works
        .iter_mut()
        .map(|work| hash(storage, &work.task, &mut work.check))
        .collect();
    let writes = |(work, verdict): &(&Work, &Result<Verdict, StorageError>)| {
        !work.task.runs.is_empty() && matches!(verdict, Ok(Verdict::Open | Verdict::Right))
    };
    let tasks: Vec<&Task> = works
        .iter()
        .zip(&verdicts)
        .filter(writes)
        .map(|(work, _)| &work.task)
        .collect();
    let written = write(storage, journal, &tasks);
    let mut failed = written.err();
    if let Some(journal) = journal {
        failed = failed.or(journal.made(&storage.take_fresh()).err());
    }
    let right = works.iter().zip(&verdicts);
    let right = right.filter(|(_, verdict)| matches!(verdict, Ok(Verdict::Right)));
    let right: Vec<PieceIndex> = right.map(|(work, _)| work.task.piece).collect();
    if failed.is_none() {
        for piece in &right {
            storage.trust(*piece);
        }
        failed = journal.and_then(|journal| journal.written(right.iter().copied()).err());
    }
    let done = works.into_iter().zip(verdicts);
    done.map(|(work, verdict)| {
        let outcome = match (verdict, &failed) {
            (Err(error), _) if is_gone(&error) => Ok(Done::Gone),
            (Err(error), _) => Err(error),
            (Ok(Verdict::Wrong), _) => Ok(Done::Verified(false)),
            (Ok(_), Some(error)) => Err(error.again()),
            (Ok(Verdict::Right), None) => Ok(Done::Verified(true)),
            (Ok(Verdict::Open), None) => Ok(Done::Written),
        };
        (work, outcome)
    })
    .collect()
}

/// Hashes a piece as far as it can be: from memory what came with the task, from disk what was written before its turn.
fn hash(storage: &Storage, task: &Task, check: &mut Option<PieceCheck>) -> Result<Verdict, StorageError> {
    let piece = task.piece;
    let Some(started) = check.take().or_else(|| storage.info().check(piece)) else {
        return Ok(Verdict::Wrong);
    };
    let check = check.insert(started);
    for (begin, parts) in &task.runs {
        let (begin, mut at) = (u64::from(*begin), u64::from(*begin));
        if begin > u64::from(task.hash_to) {
            break;
        }
        // What lies before this run has left memory already.
        storage.feed(check, piece, begin)?;
        for part in parts {
            // A task that is tried again was fed before.
            if check.fed() == at && at < u64::from(task.hash_to) {
                check.feed(part);
            }
            at += part.len() as u64;
        }
    }
    storage.feed(check, piece, u64::from(task.hash_to))?;
    if !task.last {
        return Ok(Verdict::Open);
    }
    let right = storage.info().agrees(check.clone());
    storage.tools.devices.counts.hashed(right);
    Ok(if right { Verdict::Right } else { Verdict::Wrong })
}

/// Writes tasks whose pieces ascend; neighbours leave together.
fn write(storage: &Storage, journal: Option<&Journal>, tasks: &[&Task]) -> Result<(), StorageError> {
    if let Some(journal) = journal {
        journal.writing(tasks.iter().map(|task| task.piece))?;
    }
    let mut run: (u64, u64, Vec<Bytes>) = (0, 0, Vec::new());
    for task in tasks {
        let start = storage.geometry().start_of(task.piece);
        for (begin, parts) in &task.runs {
            let address = start + u64::from(*begin);
            let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
            if run.0 + run.1 != address && !run.2.is_empty() {
                storage.write(run.0, &std::mem::take(&mut run.2))?;
            }
            if run.2.is_empty() {
                (run.0, run.1) = (address, 0);
            }
            run.1 += length;
            run.2.extend(parts.iter().cloned());
        }
    }
    if run.2.is_empty() {
        return Ok(());
    }
    storage.write(run.0, &run.2)
}

/// Somebody removed or shortened the file in the meantime.
fn is_gone(error: &StorageError) -> bool {
    match error {
        StorageError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        StorageError::Short { .. } => true,
        StorageError::Changed { .. } | StorageError::Moving { .. } => false,
    }
}
