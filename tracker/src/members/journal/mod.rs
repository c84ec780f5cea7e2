//! The journal: what must outlive a `kill -9` although the database has not seen it yet (DESIGN decision 11). `PrivateSwarms`
//! enters, under a shard's lock, by queueing only; a thread of its own writes; the edge waits in [`Journal::settle`] until
//! what it entered is with the kernel, and never for long: a disk that stalls or fails stops no announce.
//!
//! ```text
//! lanes ── enter ──▶ queue ──▶ writer: one write a batch ──▶ journal-7, journal-8     (the flush deletes what it made superfluous)
//!   └────── settle ◀── written ─┘            └ syncer: fsync each second
//! ```

#[cfg(test)]
pub(crate) mod disk;
mod reading;
pub(crate) mod record;
mod shelf;
mod threads;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;

pub use reading::{ReadReport, read_range, read_segments};
use record::Record;
use shelf::{Folder, Shelf};

use super::ledger::{Entry, Scribe};

/// Nobody waits longer for the disk. Clients wait for seconds, but the lane that waits serves others too; much less, and a machine
/// that has no time for the writer is taken for one whose disk stands still.
const PATIENCE: Duration = Duration::from_millis(200);

/// Entries that wait for a stalled disk: seven megabytes, an hour of a busy tracker's openings and closings.
const QUEUE_MAX: u64 = 65_536;

/// How the journal does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalState {
    /// Bytes in its files now.
    pub bytes: u64,
    /// Records written since the start.
    pub records: u64,
    /// Writes that failed or took too long since the start.
    pub failures: u64,
    /// Entries that found no room in the queue of a disk that stood still.
    pub lost: u64,
    /// The last write failed.
    pub failing: bool,
    /// The last write took too long.
    pub stalled: bool,
}

/// An open journal.
pub struct Journal {
    shared: Arc<Shared>,
}

/// What the lanes and the two threads have in common.
struct Shared {
    state: Mutex<State>,
    /// For the writer: there is something to do.
    work: Condvar,
    /// For those who wait: something was written, or failed.
    done: Condvar,
    /// For the syncer, which otherwise sleeps a second.
    close: Condvar,
    shelf: Box<dyn Shelf>,
}

#[derive(Default)]
struct State {
    queue: Vec<(u64, Record)>,
    /// How many entries were ever queued.
    entered: u64,
    /// How many of them are written or superfluous.
    done: u64,
    /// Segments below it are superfluous.
    floor: u64,
    /// The floor has risen and files have not been removed yet.
    clear: bool,
    closing: bool,
    counts: JournalState,
    /// Files with bytes that a loss of power would take.
    unsynced: threads::Unsynced,
}

impl Journal {
    /// Opens a journal that begins to write segment `first_segment`, which must not exist yet. Older segments stay until
    /// [`Journal::drop_before`].
    pub fn open(folder: &Path, first_segment: u64) -> io::Result<Arc<Self>> {
        Self::open_on(Box::new(Folder(folder.to_owned())), first_segment)
    }

    fn open_on(shelf: Box<dyn Shelf>, first_segment: u64) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            close: Condvar::new(),
            shelf,
        });
        threads::start(&shared, first_segment)?;
        Ok(Arc::new(Self { shared }))
    }

    /// Waits until all that was entered so far is with the kernel, at most 200 ms. Where the disk stalls or fails nobody waits.
    pub fn settle(&self) {
        let state = self.shared.lock();
        let target = state.entered;
        let waits = |state: &mut State| state.done < target && !state.counts.failing && !state.counts.stalled;
        let waited = self.shared.done.wait_timeout_while(state, PATIENCE, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if waits(&mut state) {
            state.counts.stalled = true;
            state.counts.failures += 1;
            warn!("the disk of the journal stands still; announces are answered without waiting for it");
        }
    }

    /// How it does.
    pub fn state(&self) -> JournalState {
        self.shared.lock().counts
    }

    /// The store holds all entries of older segments, and a snapshot where their peers are: their files go.
    pub fn drop_before(&self, segment: u64) {
        let mut state = self.shared.lock();
        state.floor = state.floor.max(segment);
        state.clear = true;
        drop(state);
        self.shared.work.notify_one();
    }
}

impl Scribe for Journal {
    fn enter(&self, segment: u64, entry: &Entry) {
        let record = record::encode(entry);
        let mut state = self.shared.lock();
        if state.entered - state.done >= QUEUE_MAX {
            state.counts.lost += 1;
            return;
        }
        let idle = state.queue.is_empty();
        state.queue.push((segment, record));
        state.entered += 1;
        drop(state);
        if idle {
            self.shared.work.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Journal {
    /// Tells the threads to write what is queued and to end. They are not waited for: the disk may stand still.
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        self.shared.close.notify_one();
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
