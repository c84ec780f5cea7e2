//! The task that owns the database. What is to be remembered is merged in memory, at most one change a torrent, and written in
//! one transaction at a time; who needs to know that it is safe is told after that.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::{CounterRow, Store, StoreError, TorrentRow};

/// After a failure it is tried again this much later; a full disk may have room by then.
const RETRY: Duration = Duration::from_secs(5);

/// What is left to write when the program stops is not waited for longer than this.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// By torrent.
pub(crate) type Changes = BTreeMap<u64, Change>;

/// What is to be remembered of one torrent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) removed: bool,
    pub(crate) torrent: Option<TorrentRow>,
    pub(crate) counters: Option<CounterRow>,
}

impl Change {
    /// What was said later counts.
    fn merge(&mut self, later: Self) {
        self.removed |= later.removed;
        if let Some(mut torrent) = later.torrent {
            let source = self.torrent.take().and_then(|earlier| earlier.source);
            torrent.source = torrent.source.or(source);
            self.torrent = Some(torrent);
        }
        self.counters = later.counters.or(self.counters.take());
    }
}

/// The way to the task. Nothing here waits.
#[derive(Debug)]
pub(crate) struct Keeper {
    pending: Arc<Pending>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Pending {
    queue: Mutex<Queue>,
    news: Notify,
}

/// As long as the list of torrents, and of those who wait for one to be added or changed.
#[derive(Debug, Default)]
struct Queue {
    changes: Changes,
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
    closing: bool,
}

impl Pending {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    pub(crate) fn start(store: Store) -> Self {
        let pending = Arc::new(Pending::default());
        let task = tokio::spawn(run(store, Arc::clone(&pending)));
        Self { pending, task }
    }

    /// Remembers it soon.
    pub(crate) fn note(&self, id: u64, change: Change) {
        self.pending.queue().changes.entry(id).or_default().merge(change);
        self.pending.news.notify_one();
    }

    /// Resolves when all that was noted until now is safe, or says why it is not.
    pub(crate) fn safe(&self) -> oneshot::Receiver<Result<(), String>> {
        let (tell, told) = oneshot::channel();
        self.pending.queue().waiting.push(tell);
        self.pending.news.notify_one();
        told
    }

    /// Writes what is left and closes the database.
    pub(crate) async fn close(self) {
        self.pending.queue().closing = true;
        self.pending.news.notify_one();
        if tokio::time::timeout(LAST_WRITE, self.task).await.is_err() {
            tracing::warn!("the last counters are not in the database: it did not take them in time");
        }
    }
}

async fn run(mut store: Store, pending: Arc<Pending>) {
    loop {
        let (changes, waiting, closing) = {
            let mut queue = pending.queue();
            let taken = (mem::take(&mut queue.changes), mem::take(&mut queue.waiting));
            (taken.0, taken.1, queue.closing)
        };
        let written = if changes.is_empty() {
            Ok(())
        } else {
            store.write(&changes).await
        };
        let failed = written.is_err();
        if let Err(error) = &written {
            tracing::error!(%error, "the database does not take what is to be remembered; it is tried again");
            put_back(&pending, changes);
        }
        for tell in waiting {
            // Who waited may have gone.
            let _ = tell.send(written.as_ref().map_err(StoreError::to_string).copied());
        }
        if closing {
            return store.close().await;
        }
        if failed {
            tokio::time::sleep(RETRY).await;
        } else {
            pending.news.notified().await;
        }
    }
}

fn put_back(pending: &Pending, earlier: Changes) {
    let mut queue = pending.queue();
    let later = mem::replace(&mut queue.changes, earlier);
    for (id, change) in later {
        queue.changes.entry(id).or_default().merge(change);
    }
}
