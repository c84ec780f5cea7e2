//! One flush after the other: collect what the swarms have changed, write it in one transaction, let the journal forget it.
//! What cannot be written is kept as it is and tried again, so that it is never entered twice, whatever became of a COMMIT.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::moment::Moment;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::members::journal::Journal;
use crate::members::ledger::Changes;
use crate::members::store::{Store, StoreError};
use crate::snapshot::{Draft, Head, Mode, Tally};
use crate::swarm::SHARD_COUNT;
use crate::swarm::private::PrivateSwarms;

/// Beyond this the journal keeps no places of peers for a snapshot that does not come.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// What a flush asks of the store; a trait, because tests need databases that fail, hang, and commit without saying so.
pub(super) trait Vault: Send + Sync {
    fn generation(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;

    fn write(
        &self,
        changes: &Changes,
        generation: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Vault for Store {
    async fn generation(&self) -> Result<u64, StoreError> {
        Self::generation(self).await
    }

    async fn write(&self, changes: &Changes, generation: u64) -> Result<(), StoreError> {
        Self::write(self, changes, generation).await
    }
}

/// How flushes have gone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flushes {
    pub(super) count: u64,
    pub(super) failures: u64,
    pub(super) time: Duration,
    pub(super) last: Duration,
    /// When the store last had everything.
    pub(super) complete: Moment,
    /// The last one failed.
    pub(super) failing: bool,
}

/// What the flusher shares with those who count.
#[derive(Debug, Default)]
pub(super) struct Figures {
    flushes: Mutex<Flushes>,
    pub(super) snapshots: Tally,
}

impl Figures {
    pub(super) fn flushes(&self) -> MutexGuard<'_, Flushes> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a flush works on.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) swarms: Arc<PrivateSwarms>,
    pub(super) journal: Arc<Journal>,
    pub(super) folder: PathBuf,
    pub(super) clock: Clock,
    pub(super) figures: Arc<Figures>,
}

/// Writes what the swarms have changed.
#[derive(Debug)]
pub(super) struct Flusher<V> {
    vault: V,
    desk: Desk,
    /// The part of the journal that is being written since the last collection.
    segment: u64,
    pending: Option<Batch>,
    /// The generation of the last snapshot of this run. What the journal has entered since then is kept after the store has its
    /// bytes: where peers are, only it and the snapshot know.
    snapshot: u64,
    /// Something was written since the last snapshot.
    changed: bool,
}

/// What one collection brought, until the store has it.
#[derive(Debug)]
struct Batch {
    changes: Changes,
    generation: u64,
    draft: Option<Draft>,
    made: Moment,
    /// It was tried before; nobody knows whether that was written.
    tried: bool,
}

impl<V: Vault> Flusher<V> {
    /// The first collection starts segment `segment`.
    pub(super) fn new(vault: V, desk: Desk, segment: u64) -> Self {
        Self {
            vault,
            desk,
            segment: segment.saturating_sub(1),
            pending: None,
            snapshot: 0,
            changed: true,
        }
    }

    /// Writes all that has changed, and the snapshot if it is time and there is something new. After an error everything is
    /// kept for the next time.
    pub(super) async fn flush(&mut self, snapshot: bool) -> Result<(), StoreError> {
        let began = self.desk.clock.elapsed();
        let result = self.try_flush(snapshot).await;
        let took = self.desk.clock.elapsed().saturating_sub(began);
        let mut flushes = self.desk.figures.flushes();
        flushes.last = took;
        flushes.time += took;
        flushes.count += 1;
        match &result {
            Ok(()) => {
                flushes.complete = self.desk.clock.now();
                if flushes.failing {
                    info!("the accounts are written again");
                }
            }
            Err(error) => {
                flushes.failures += 1;
                if !flushes.failing {
                    warn!(%error, "the accounts cannot be written; they are kept in memory, and what must last in the journal");
                }
            }
        }
        flushes.failing = result.is_err();
        result
    }

    async fn try_flush(&mut self, snapshot: bool) -> Result<(), StoreError> {
        self.write_pending().await?;
        self.pending = Some(self.collect(snapshot).await);
        self.write_pending().await
    }

    /// Takes from every shard what has changed. A flush that is given up here leaves the journal to speak.
    async fn collect(&mut self, snapshot: bool) -> Batch {
        self.segment += 1;
        let head = Head {
            mode: Mode::Private,
            generation: self.segment,
            date: self.desk.clock.date(),
        };
        let draft = (snapshot && self.changed).then(|| Draft::create(&self.desk.folder, head));
        let draft = draft.and_then(|draft| self.counted(draft));
        let (swarms, clock, segment) = (Arc::clone(&self.desk.swarms), self.desk.clock, self.segment);
        let made = clock.now();
        let work = move || collect_all(&swarms, segment, clock, draft);
        let (changes, draft) = match tokio::task::spawn_blocking(work).await {
            Ok((changes, draft)) => (changes, draft.and_then(|draft| self.counted(draft))),
            // Only a runtime that ends refuses, and then nothing was taken.
            Err(_) => (Changes::default(), None),
        };
        Batch {
            changes,
            generation: segment,
            draft,
            made,
            tried: false,
        }
    }

    async fn write_pending(&mut self) -> Result<(), StoreError> {
        let Some(batch) = &mut self.pending else {
            return Ok(());
        };
        if batch.draft.is_some() || batch.changes != Changes::default() {
            // Whether a COMMIT that failed has happened, only the database knows.
            let written = batch.tried && self.vault.generation().await? >= batch.generation;
            if !written {
                batch.tried = true;
                self.vault.write(&batch.changes, batch.generation).await?;
            }
            let full = self.desk.journal.state().bytes > JOURNAL_BYTES_MAX;
            let needed = if full { batch.generation } else { self.snapshot };
            self.desk.journal.drop_before(needed);
            self.changed = true;
        }
        if let Some(Batch {
            draft: Some(draft),
            made,
            generation,
            ..
        }) = self.pending.take()
        {
            let published = tokio::task::spawn_blocking(|| draft.publish()).await;
            if self
                .counted(published.map_err(io::Error::other).flatten())
                .is_some()
            {
                self.desk.figures.snapshots.made(made);
                self.snapshot = generation;
                self.desk.journal.drop_before(generation);
                self.changed = false;
            }
        }
        Ok(())
    }

    /// What came of a step towards a snapshot; a failure costs the snapshot and nothing else.
    fn counted<T>(&self, step: io::Result<T>) -> Option<T> {
        step.inspect_err(|error| self.desk.figures.snapshots.failed(error))
            .ok()
    }
}

/// One pass over all shards: what has changed, and with a draft everything there is.
pub(super) fn collect_all(
    swarms: &PrivateSwarms,
    segment: u64,
    clock: Clock,
    draft: Option<Draft>,
) -> (Changes, Option<io::Result<Draft>>) {
    let mut changes = Changes::default();
    let mut draft = draft.map(Ok);
    let mut bytes = Vec::new();
    for shard in 0..SHARD_COUNT {
        let wanted = matches!(draft, Some(Ok(_))).then_some(&mut bytes);
        swarms.collect_shard(shard, segment, clock.now(), &mut changes, wanted);
        draft = draft.map(|draft| add(draft, &bytes));
        bytes.clear();
    }
    let finish = |mut draft: Draft| draft.finish().map(|()| draft);
    (changes, draft.map(|draft| draft.and_then(finish)))
}

fn add(draft: io::Result<Draft>, bytes: &[u8]) -> io::Result<Draft> {
    let mut draft = draft?;
    draft.chunk(bytes)?;
    Ok(draft)
}
