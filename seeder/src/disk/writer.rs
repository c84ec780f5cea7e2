//! Brings a torrent's blocks to the disk: gathers them, has them hashed and written by threads that may wait, and tells
//! the driver how it went. A disk that is full or read-only loses nothing: the work waits and is tried again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::geometry::{Block, PieceIndex};
use shared::metainfo::PieceCheck;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::gather::{Gather, STRIPE};
use super::job::{self, Done, Outcome, Work};
use super::opened::Opened;
use super::resume::Journal;
use super::storage::{Storage, StorageError};
use crate::clock::Clock;

/// How long to wait before the disk is tried again: soon enough to go on once room was made, seldom enough to cost nothing.
const RETRY: Duration = Duration::from_secs(3);

/// Jobs of one torrent at the same time; the process has a bound of its own.
const JOBS_MAX: usize = 8;

/// What the disk has to say.
#[derive(Debug)]
pub(crate) enum DiskNews {
    /// So many bytes of blocks have left memory.
    Credit(u64),
    Verified {
        piece: PieceIndex,
        good: bool,
    },
    /// What was written of this piece is gone from the disk.
    Gone {
        piece: PieceIndex,
    },
    /// Nothing goes on until this is mended.
    Trouble {
        path: PathBuf,
        reason: String,
    },
    Recovered,
    /// These pieces, which were there, are so no more: this file is gone, cut short or another.
    Lost {
        pieces: Vec<PieceIndex>,
        path: PathBuf,
        reason: String,
    },
    /// These pieces, which were lost, are there again and were hashed.
    Found {
        pieces: Vec<PieceIndex>,
    },
}

/// The way to the disk of one torrent.
#[derive(Debug)]
pub(crate) struct Writer {
    storage: Arc<Storage>,
    journal: Option<Arc<Journal>>,
    clock: Clock,
    gather: Gather,
    queue: VecDeque<Work>,
    running: JoinSet<Vec<(Work, Outcome)>>,
    /// How far long pieces were hashed, while no task of theirs runs.
    checks: BTreeMap<PieceIndex, PieceCheck>,
    /// Pieces with a task that runs: the tasks of one piece run one after another.
    busy: BTreeSet<PieceIndex>,
    /// Set while the disk is in trouble.
    retry_at: Option<Instant>,
    in_trouble: bool,
    /// Pieces whose work failed and is to be done again; the trouble is over when all of it is done.
    stuck: BTreeSet<PieceIndex>,
}

impl Writer {
    /// `credit` bounds what the machine lets come here.
    pub(crate) fn new(opened: &Opened, clock: Clock, credit: u64) -> Self {
        let storage = Arc::clone(&opened.storage);
        let gather = Gather::new(storage.geometry().clone(), credit / 2);
        Self {
            storage,
            journal: opened.journal.clone(),
            clock,
            gather,
            queue: VecDeque::new(),
            running: JoinSet::new(),
            checks: BTreeMap::new(),
            busy: BTreeSet::new(),
            retry_at: None,
            in_trouble: !opened.troubles.is_empty(),
            stuck: BTreeSet::new(),
        }
    }

    /// Takes a block.
    pub(crate) fn store(&mut self, block: Block, data: Bytes) {
        let task = self.gather.store(block, data);
        self.queue.extend(task.map(Work::from));
        self.start();
    }

    /// Has a piece verified, all of whose blocks were stored.
    pub(crate) fn verify(&mut self, piece: PieceIndex) {
        let task = self.gather.complete(piece);
        self.queue.push_back(task.into());
        self.start();
    }

    /// Nothing is on its way that could still be finished.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Waits for news. Safe to be dropped and called again.
    pub(crate) async fn news(&mut self) -> Vec<DiskNews> {
        let retry_at = self.retry_at;
        let retry = async move {
            match retry_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(done) = self.running.join_next() => self.finished(done.unwrap_or_default()),
            () = retry => {
                self.retry_at = None;
                self.start();
                Vec::new()
            }
        }
    }

    /// Starts as many jobs as may run.
    fn start(&mut self) {
        while self.retry_at.is_none() && self.running.len() < JOBS_MAX {
            let tasks = self.next_tasks();
            if tasks.is_empty() {
                break;
            }
            let (storage, journal) = (Arc::clone(&self.storage), self.journal.clone());
            let device = self.storage.device();
            self.running.spawn(async move {
                let turn = device.job().await;
                let job = tokio::task::spawn_blocking(move || {
                    // A disk that hangs keeps its turn, also when nobody waits for the job any more.
                    let _turn = turn;
                    job::carry_out(&storage, journal.as_deref(), tasks)
                });
                job.await.unwrap_or_default()
            });
        }
    }

    /// The next tasks whose pieces are not busy: about a stripe of bytes, so that small pieces do not cost a job each.
    fn next_tasks(&mut self) -> Vec<Work> {
        let (mut tasks, mut bytes, mut passed) = (Vec::new(), 0, VecDeque::new());
        while bytes < u64::from(STRIPE)
            && let Some(mut work) = self.queue.pop_front()
        {
            let piece = work.task.piece;
            if self.busy.insert(piece) {
                bytes += work.task.credit;
                if work.check.is_none() {
                    work.check = self.checks.remove(&piece);
                }
                tasks.push(work);
            } else {
                passed.push_back(work);
            }
        }
        passed.append(&mut self.queue);
        self.queue = passed;
        tasks
    }

    fn finished(&mut self, done: Vec<(Work, Outcome)>) -> Vec<DiskNews> {
        let (mut news, mut credit) = (Vec::new(), 0);
        for (work, outcome) in done {
            let piece = work.task.piece;
            self.busy.remove(&piece);
            match outcome {
                Err(error) => {
                    news.extend(self.trouble(error));
                    self.stuck.insert(piece);
                    self.queue.push_front(work);
                    continue;
                }
                Ok(Done::Written) => {
                    self.checks.extend(work.check.map(|check| (piece, check)));
                }
                Ok(Done::Verified(good)) => news.push(DiskNews::Verified { piece, good }),
                Ok(Done::Gone) => news.push(DiskNews::Gone { piece }),
            }
            credit += work.task.credit;
            self.stuck.remove(&piece);
            if self.stuck.is_empty() && std::mem::take(&mut self.in_trouble) {
                news.push(DiskNews::Recovered);
            }
        }
        if credit > 0 {
            news.push(DiskNews::Credit(credit));
        }
        self.start();
        news
    }

    fn trouble(&mut self, error: StorageError) -> Option<DiskNews> {
        self.retry_at = Some(self.clock.after(RETRY));
        if matches!(error, StorageError::Moving { .. }) {
            return None;
        }
        let known = std::mem::replace(&mut self.in_trouble, true);
        (!known).then(|| DiskNews::Trouble {
            path: error.path().to_owned(),
            reason: error.reason(),
        })
    }
}
