//! The journal's two threads: the writer, which alone touches the files, and the syncer, so that a loss of power costs a
//! second and no announce ever waits for a platter.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::record::{RECORD_BYTES, Record};
use super::shelf::SegmentFile;
use super::{Shared, State};

/// A disk that failed is asked again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a loss of power may cost.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Files with bytes that are not on the disk yet.
#[derive(Default)]
pub(super) struct Unsynced {
    files: BTreeMap<u64, Arc<dyn SegmentFile>>,
    /// A file was made, whose name is not on the disk yet.
    names: bool,
}

/// Makes the first segment, so that a folder that cannot be written is known at the start, and starts both threads.
pub(super) fn start(shared: &Arc<Shared>, first_segment: u64) -> io::Result<()> {
    let mut writer = Writer {
        shared: Arc::clone(shared),
        open: BTreeMap::new(),
        old: shared.shelf.list()?,
    };
    writer.file(first_segment)?.file.sync()?;
    shared.shelf.sync()?;
    let syncer = Arc::clone(shared);
    let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
    spawn("journal").spawn(move || writer.run())?;
    spawn("journal-sync").spawn(move || sync(&syncer))?;
    Ok(())
}

struct Writer {
    shared: Arc<Shared>,
    open: BTreeMap<u64, Open>,
    /// Segments of earlier runs that are still there.
    old: Vec<u64>,
}

struct Open {
    file: Arc<dyn SegmentFile>,
    /// Where the next record goes. It moves only when a write has succeeded, so a failed one is repeated in its place.
    length: u64,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::new();
        while let Some(floor) = self.next(&mut batch) {
            let count = batch.len();
            batch.retain(|(segment, _)| *segment >= floor);
            let superfluous = count - batch.len();
            let written = self.write(&mut batch);
            self.clear(floor);
            let mut state = self.shared.lock();
            let finished = count - batch.len();
            state.done += finished as u64;
            state.counts.records += (finished - superfluous) as u64;
            state.counts.bytes = self.open.values().map(|open| open.length).sum();
            note(&mut state, &written);
            self.shared.done.notify_all();
        }
    }

    /// Waits for work and adds it to what is left of the last batch. None at the end.
    fn next(&self, batch: &mut Vec<(u64, Record)>) -> Option<u64> {
        let state = self.shared.lock();
        let idle = |state: &mut State| {
            !state.closing && !state.clear && (state.queue.is_empty() || !batch.is_empty())
        };
        let mut state = if batch.is_empty() {
            self.shared
                .work
                .wait_while(state, idle)
                .unwrap_or_else(PoisonError::into_inner)
        } else {
            let waited = self.shared.work.wait_timeout_while(state, RETRY_AFTER, idle);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        state.clear = false;
        if state.closing && (state.queue.is_empty() || !batch.is_empty()) {
            return None;
        }
        batch.append(&mut state.queue);
        Some(state.floor)
    }

    /// Writes a batch, one write a segment, and takes out of it what was written.
    fn write(&mut self, batch: &mut Vec<(u64, Record)>) -> io::Result<()> {
        while let Some(&(segment, _)) = batch.first() {
            let of_segment = batch.iter().filter(|(other, _)| *other == segment);
            let bytes: Vec<u8> = of_segment.flat_map(|(_, record)| *record).collect();
            let open = self.file(segment)?;
            open.file.write_at(&bytes, open.length)?;
            open.length += bytes.len() as u64;
            let file = Arc::clone(&open.file);
            batch.retain(|(other, _)| *other != segment);
            self.shared.lock().unsynced.files.insert(segment, file);
        }
        Ok(())
    }

    fn file(&mut self, segment: u64) -> io::Result<&mut Open> {
        use std::collections::btree_map::Entry;

        match self.open.entry(segment) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => {
                let (file, length) = self.shared.shelf.open(segment)?;
                self.shared.lock().unsynced.names = true;
                let length = length.next_multiple_of(RECORD_BYTES as u64);
                Ok(place.insert(Open { file, length }))
            }
        }
    }

    /// Removes what is superfluous. What cannot be removed is tried again the next time.
    fn clear(&mut self, floor: u64) {
        let keep = self.open.split_off(&floor);
        self.old.extend(mem::replace(&mut self.open, keep).into_keys());
        let remove = |segment: &mut u64| *segment < floor && self.shared.shelf.remove(*segment).is_ok();
        self.old.extract_if(.., remove).for_each(drop);
        let mut state = self.shared.lock();
        state.unsynced.files = state.unsynced.files.split_off(&floor);
    }
}

/// What a write has come to, said once for each change.
fn note(state: &mut State, written: &io::Result<()>) {
    match written {
        Ok(()) if state.counts.failing || state.counts.stalled => {
            state.counts.failing = false;
            state.counts.stalled = false;
            info!("the journal is written again");
        }
        Ok(()) => (),
        Err(error) => {
            if !state.counts.failing {
                warn!(%error, "the journal cannot be written; what is announced meanwhile is safe only once the database has it");
            }
            state.counts.failing = true;
            state.counts.failures += 1;
        }
    }
}

/// Brings to the disk each second what was written.
fn sync(shared: &Shared) {
    let mut failing = false;
    loop {
        let state = shared.lock();
        let waited = shared
            .close
            .wait_timeout_while(state, SYNC_EVERY, |state| !state.closing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (unsynced, closing) = (mem::take(&mut state.unsynced), state.closing);
        drop(state);
        let mut result = unsynced.files.values().try_for_each(|file| file.sync());
        if unsynced.names {
            result = result.and_then(|()| shared.shelf.sync());
        }
        match result {
            Err(error) if !failing => {
                failing = true;
                warn!(%error, "the journal cannot be brought to the disk; a loss of power may cost more than a second");
            }
            Ok(()) => failing = false,
            Err(_) => (),
        }
        if closing {
            return;
        }
    }
}
