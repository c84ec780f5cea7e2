//! Brings everything back at the start: the snapshot, who came and went since it was made (the journal knows, accounts or not),
//! what the store has of later, and what only the journal has.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use super::{BooksParts, OpenError};
use crate::members::ids::TorrentId;
use crate::members::journal::{ReadReport, read_range, read_segments};
use crate::members::ledger::{Entry, SessionKey};
use crate::members::rules::charge;
use crate::members::store::StoreError;
use crate::snapshot::{Mode, Saved, put_aside};

/// Up to so many torrents are summed one by one; summing all walks a million accounts.
const CHANGED_FEW: usize = 1_000;

/// What was brought back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Back {
    pub(super) journal: ReadReport,
    /// The first segment that no earlier run has touched.
    pub(super) segment: u64,
    /// Earlier runs have left parts of the journal that only a snapshot makes superfluous.
    pub(super) left_over: bool,
}

/// Fills the swarms. Slow parts run on blocking threads.
pub(super) async fn bring_back(parts: &Arc<BooksParts>) -> Result<Back, OpenError> {
    let generation = parts.store.generation().await?;
    let snapshot = blocking(parts, move |parts| read_snapshot(parts, generation)).await?;
    let settled = blocking(parts, move |parts| {
        let range = snapshot.unwrap_or_default()..generation;
        read_range(&parts.folder, range, |entry| {
            let (now, date) = (parts.clock.now(), parts.clock.date());
            parts.swarms.replay_places(&entry, now, date);
        })
    });
    let settled = settled
        .await?
        .map_err(|source| journal_error(&parts.folder, source))?;
    let mut changed = BTreeSet::new();
    let each = |key: SessionKey, mark| {
        changed.insert(key.torrent);
        parts.swarms.open_session(key, mark);
    };
    let sessions = parts.store.sessions_newer(snapshot, each).await?;
    let few = snapshot.is_some() && changed.len() <= CHANGED_FEW;
    count_completions(parts, few.then_some(changed)).await?;
    let journal = blocking(parts, move |parts| {
        read_segments(&parts.folder, generation, |entry| repeat(parts, &entry))
    });
    let mut journal = journal
        .await?
        .map_err(|source| journal_error(&parts.folder, source))?;
    journal.damaged += settled.damaged;
    // Who was sent away or forgotten since the snapshot stands in it and in the journal all the same.
    blocking(parts, BooksParts::clear).await?;
    let totals = parts.swarms.totals();
    info!(
        from_snapshot = snapshot.is_some(),
        sessions_from_store = sessions,
        journal_entries = journal.entries,
        journal_places = settled.entries,
        swarms = totals.swarms,
        "the swarms are back"
    );
    Ok(Back {
        journal,
        segment: generation.max(journal.last_segment.unwrap_or_default()) + 1,
        left_over: journal.last_segment.is_some(),
    })
}

/// Sets how often torrents were completed: those that have changed since the snapshot, or all.
async fn count_completions(
    parts: &BooksParts,
    changed: Option<BTreeSet<TorrentId>>,
) -> Result<(), StoreError> {
    let mut sums = Vec::new();
    match changed {
        None => sums = parts.store.sums_by_torrent().await?,
        Some(changed) => {
            for torrent in changed {
                sums.push((torrent, parts.store.sums_of_torrent(torrent).await?));
            }
        }
    }
    for (torrent, sums) in sums {
        let completed = u32::try_from(sums.completions).unwrap_or(u32::MAX);
        parts.swarms.set_completed(torrent, completed);
    }
    Ok(())
}

pub(super) fn journal_error(folder: &Path, source: io::Error) -> OpenError {
    OpenError::Journal {
        folder: folder.to_owned(),
        source,
    }
}

async fn blocking<T: Send + 'static>(
    parts: &Arc<BooksParts>,
    work: impl FnOnce(&BooksParts) -> T + Send + 'static,
) -> Result<T, OpenError> {
    let shared = Arc::clone(parts);
    let done = tokio::task::spawn_blocking(move || work(&shared)).await;
    done.map_err(|error| journal_error(&parts.folder, io::Error::other(error)))
}

/// Returns the snapshot's generation, or none where the store's sessions must all be read.
fn read_snapshot(parts: &BooksParts, generation: u64) -> Option<u64> {
    let saved = Saved::find(&parts.folder, Mode::Private)?;
    let head = saved.head;
    if head.generation > generation {
        // The database is an older one, put in the place of that which the snapshot was made with.
        warn!("the snapshot is newer than the database; starting without it");
        return None;
    }
    let (now, date) = (parts.clock.now(), parts.clock.date());
    let age = date.since(head.date);
    match saved.read(|bytes| parts.swarms.restore(bytes, age, now, date).map(drop)) {
        Ok(()) => Some(head.generation),
        Err(fault) => {
            // What was read is good, but some is missing: the store has it.
            put_aside(&parts.folder, &fault);
            None
        }
    }
}

/// One entry of the journal, into the accounts.
fn repeat(parts: &BooksParts, entry: &Entry) {
    let (torrent, date) = (entry.session.torrent, entry.report.date);
    let tariff = parts.register.tariff(torrent, date);
    let credit = parts
        .swarms
        .replay(entry, parts.clock.now(), parts.clock.date(), tariff);
    let charged = charge(&credit, tariff);
    parts
        .directory
        .add_credit(entry.session.member, &credit, &charged, date);
}
