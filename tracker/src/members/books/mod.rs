//! The books: what joins swarms, journal, snapshot and store. They bring everything back at the start, write every few seconds
//! what has changed, and keep it where the store fails (DESIGN decision 11). Announces never come here; they only leave
//! suspicions.

mod flush;
mod marks;
mod start;

#[cfg(test)]
mod exactness;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use flush::{Desk, Figures, Flusher};
use marks::Marks;

use super::directory::Directory;
use super::ids::Date;
use super::journal::{Journal, JournalState};
use super::register::Register;
use super::rules::Suspicion;
use super::store::{Store, StoreError};
use crate::clock::Clock;
use crate::snapshot::LAST_WORDS;
use crate::swarm::SHARD_COUNT;
use crate::swarm::private::{PrivateSwarms, Stay};

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

impl BooksParts {
    /// Takes out of one shard whoever may not stay: members that are disabled, expired or forgotten, torrents that were removed.
    fn clear_shard(&self, shard: usize) {
        let date = self.clock.date();
        let may = |torrent, member| match self.directory.is_welcome(member, date) {
            None => Stay::Forgotten,
            Some(true) if self.register.serves(torrent) => Stay::Stays,
            Some(_) => Stay::Leaves,
        };
        self.swarms.clear_shard(shard, self.clock.now(), may);
    }

    fn clear(&self) {
        (0..SHARD_COUNT).for_each(|shard| self.clear_shard(shard));
    }
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

/// Those who wait for a flush; more than the API ever lets in at once.
const ASKED_MAX: usize = 64;

/// Suspicions that wait to be written; they come one a member and torrent at most, so this is a crowd.
const NOTES_MAX: usize = 256;

/// How often all torrents' sums are compared.
const BALANCE_EVERY: Duration = Duration::from_secs(60 * 60);

/// Open books.
#[derive(Debug)]
pub struct Books {
    parts: Arc<BooksParts>,
    settings: ArcSwap<BooksSettings>,
    journal: Arc<Journal>,
    journal_damaged: u64,
    figures: Arc<Figures>,
    asked: mpsc::Sender<Reply>,
    notes: mpsc::Sender<Suspicion>,
    suspicions_lost: AtomicU64,
    /// What [`Books::run`] takes.
    inbox: Mutex<Option<Inbox>>,
}

type Reply = oneshot::Sender<Result<(), Arc<StoreError>>>;

/// What only the one that runs the books touches.
#[derive(Debug)]
struct Inbox {
    flusher: Flusher<Store>,
    asked: mpsc::Receiver<Reply>,
    notes: mpsc::Receiver<Suspicion>,
    marks: Marks,
    /// A snapshot is due with the next flush: a tracker that is killed again and again must not keep every part of its journal.
    snapshot_due: bool,
}

impl Books {
    /// Brings everything back: snapshot, newer sessions of the store, journal. What the journal held is flushed at once; a store
    /// that can be read but not written is no reason not to start.
    pub async fn open(parts: BooksParts) -> Result<Arc<Self>, OpenError> {
        let parts = Arc::new(parts);
        let back = start::bring_back(&parts).await?;
        let opened = Journal::open(&parts.folder, back.segment);
        let journal = opened.map_err(|source| start::journal_error(&parts.folder, source))?;
        let figures = Arc::<Figures>::default();
        let desk = Desk {
            swarms: Arc::clone(&parts.swarms),
            journal: Arc::clone(&journal),
            folder: parts.folder.clone(),
            clock: parts.clock,
            figures: Arc::clone(&figures),
        };
        let mut flusher = Flusher::new(parts.store.clone(), desk, back.segment);
        // It has said so in the log, and `run` tries again.
        let _ = flusher.flush(false).await;
        let (asked, asked_inbox) = mpsc::channel(ASKED_MAX);
        let (notes, notes_inbox) = mpsc::channel(NOTES_MAX);
        let inbox = Inbox {
            flusher,
            asked: asked_inbox,
            notes: notes_inbox,
            marks: Marks::default(),
            snapshot_due: back.left_over,
        };
        Ok(Arc::new(Self {
            settings: ArcSwap::from_pointee(parts.settings),
            parts,
            journal,
            journal_damaged: back.journal.damaged,
            figures,
            asked,
            notes,
            suspicions_lost: AtomicU64::new(0),
            inbox: Mutex::new(Some(inbox)),
        }))
    }

    /// Takes out of one shard whoever may not stay in the swarms. Every sweep calls it: memberships end by themselves, and an announce
    /// that was let in just before the door was shut comes in behind [`Books::clear`].
    pub fn clear_shard(&self, shard: usize) {
        self.parts.clear_shard(shard);
    }

    /// The same in all shards, now. Walks everything.
    pub fn clear(&self) {
        self.parts.clear();
    }

    /// Where announces enter openings and closings.
    pub fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    /// Flushes and snapshots at their intervals; the last ones when told to stop, within 3 s. To be told only when no announce
    /// is answered any more: counters that come later are not in the last flush. Runs once.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let taken = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut inbox) = taken else {
            return;
        };
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = self.keep(&mut inbox, &stop) => (),
            () = too_late => {
                warn!("the last accounts and the snapshot were not written in time; they are left to the journal");
                self.testify();
            }
        }
    }

    /// Leaves to the journal what the store has not taken, counters in between too.
    fn testify(&self) {
        let age = self.state().flush_age + Duration::from_secs(2);
        let since = Date(
            self.parts
                .clock
                .date()
                .0
                .saturating_sub(u32::try_from(age.as_secs()).unwrap_or(u32::MAX)),
        );
        for shard in 0..SHARD_COUNT {
            self.parts.swarms.testify(shard, since, &*self.journal);
        }
        self.journal.settle();
    }

    /// Does what is due until told to stop, and then everything once more.
    async fn keep(&self, inbox: &mut Inbox, stop: &CancellationToken) {
        let clock = self.parts.clock;
        let (mut flushed, mut saved, mut weighed) = (clock.now(), clock.now(), clock.now());
        loop {
            let settings = **self.settings.load();
            let flush_at = clock.instant(flushed + settings.flush_every);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(reply) = inbox.asked.recv() => inbox.answer(reply).await,
                () = sleep_until(flush_at) => {
                    let due = std::mem::take(&mut inbox.snapshot_due);
                    let snapshot = due || clock.now().since(saved) >= settings.snapshot_every;
                    // An error has been counted and logged, and all is kept.
                    let _ = inbox.flusher.flush(snapshot).await;
                    flushed = clock.now();
                    if snapshot {
                        saved = flushed;
                    }
                }
                Some(suspicion) = inbox.notes.recv() => inbox.marks.write(&self.parts.store, suspicion).await,
                () = sleep_until(clock.instant(weighed + BALANCE_EVERY)) => {
                    weighed = clock.now();
                    inbox.weigh(&self.parts.store, clock.date()).await;
                }
            }
        }
        if inbox.flusher.flush(true).await.is_err() {
            warn!("the last accounts were not taken by the database; they are left to the journal");
            self.testify();
        }
        while let Ok(suspicion) = inbox.notes.try_recv() {
            inbox.marks.write(&self.parts.store, suspicion).await;
        }
    }

    /// Makes the store hold all that was answered until now. Needs [`Books::run`].
    pub async fn flush_now(&self, timeout: Duration) -> Result<(), FlushError> {
        let (reply, answer) = oneshot::channel();
        self.asked.try_send(reply).map_err(|error| match error {
            TrySendError::Full(_) => FlushError::Late,
            TrySendError::Closed(_) => FlushError::Stopping,
        })?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(flushed)) => Ok(flushed?),
            Ok(Err(_)) => Err(FlushError::Stopping),
            Err(_) => Err(FlushError::Late),
        }
    }

    /// Takes a suspicion down for the owner, soon. Never waits.
    pub fn note(&self, suspicion: Suspicion) {
        if self.notes.try_send(suspicion).is_err() {
            self.suspicions_lost.fetch_add(1, Relaxed);
        }
    }

    /// How they do.
    pub fn state(&self) -> BooksState {
        let (flushes, now) = (*self.figures.flushes(), self.parts.clock.now());
        BooksState {
            journal: self.journal.state(),
            journal_damaged: self.journal_damaged,
            flushes: flushes.count,
            flush_failures: flushes.failures,
            flush_time: flushes.time,
            flush_last: flushes.last,
            flush_age: now.since(flushes.complete),
            snapshot_age: self.figures.snapshots.age(now),
            snapshot_failures: self.figures.snapshots.failures(),
            suspicions_lost: self.suspicions_lost.load(Relaxed),
        }
    }

    /// Lives by other settings from now on.
    pub fn set_settings(&self, settings: BooksSettings) {
        self.settings.store(Arc::new(settings));
    }
}

impl Inbox {
    /// One flush for all who have asked by now.
    async fn answer(&mut self, first: Reply) {
        let mut replies = vec![first];
        while let Ok(reply) = self.asked.try_recv() {
            replies.push(reply);
        }
        let flushed = self.flusher.flush(false).await.map_err(Arc::new);
        for reply in replies {
            // Who has not waited needs no answer.
            let _ = reply.send(flushed.clone());
        }
    }

    async fn weigh(&mut self, store: &Store, date: Date) {
        if let Err(error) = self.marks.balance(store, date).await {
            warn!(%error, "the sums of the torrents could not be compared");
        }
    }
}
