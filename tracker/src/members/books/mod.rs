//! The books: what joins swarms, journal, snapshot and store. They bring everything back at the start, write every few seconds
//! what has changed, and keep it where the store fails (DESIGN decision 11). Announces never come here; they only leave
//! suspicions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::directory::Directory;
use super::journal::{Journal, JournalState};
use super::register::Register;
use super::rules::Suspicion;
use super::store::{Store, StoreError};
use crate::clock::Clock;
use crate::swarm::private::PrivateSwarms;

/// What the books are made of.
#[derive(Debug)]
pub struct BooksParts {
    pub store: Store,
    pub swarms: Arc<PrivateSwarms>,
    pub directory: Arc<Directory>,
    pub register: Arc<Register>,
    /// The data folder: `journal-N` and `snapshot` lie in it.
    pub folder: PathBuf,
    pub clock: Clock,
    pub settings: BooksSettings,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BooksSettings {
    pub flush_every: Duration,
    pub snapshot_every: Duration,
}

/// Why the books cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot use the journal in {}: {source}", folder.display())]
    Journal { folder: PathBuf, source: std::io::Error },
}

/// Why the store does not have everything.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    #[error("the database has not taken the accounts in time; what it shows may be some seconds old")]
    Late,
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    #[error("the tracker is stopping")]
    Stopping,
}

/// How the books do, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BooksState {
    pub journal: JournalState,
    /// Records that were damaged when the journal was read.
    pub journal_damaged: u64,
    pub flushes: u64,
    pub flush_failures: u64,
    /// What all flushes took together, and the last one.
    pub flush_time: Duration,
    pub flush_last: Duration,
    /// Since the store last had everything.
    pub flush_age: Duration,
    /// Since the snapshot in the folder was made; none where there is none.
    pub snapshot_age: Option<Duration>,
    pub snapshot_failures: u64,
    /// Suspicions that found no room in the queue.
    pub suspicions_lost: u64,
}

/// Open books.
#[derive(Debug)]
pub struct Books {
    journal: Arc<Journal>,
}

#[expect(
    clippy::todo,
    clippy::unused_async,
    reason = "signatures first; bodies follow within the hour"
)]
impl Books {
    /// Brings everything back: snapshot, newer sessions of the store, journal. What the journal held is flushed at once.
    pub async fn open(_parts: BooksParts) -> Result<Arc<Self>, OpenError> {
        todo!()
    }

    /// Where announces enter openings and closings.
    pub fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    /// Flushes and snapshots at their intervals; the last ones when told to stop, within 3 s.
    pub async fn run(self: Arc<Self>, _stop: CancellationToken) {
        todo!()
    }

    /// Makes the store hold all that was answered until now. Needs [`Books::run`].
    pub async fn flush_now(&self, _timeout: Duration) -> Result<(), FlushError> {
        todo!()
    }

    /// Takes a suspicion down for the owner, soon. Never waits.
    pub fn note(&self, _suspicion: Suspicion) {
        todo!()
    }

    /// How they do.
    pub fn state(&self) -> BooksState {
        todo!()
    }

    /// Lives by other settings from now on.
    pub fn set_settings(&self, _settings: BooksSettings) {
        todo!()
    }
}
