//! Who waits for a torrent's disk at this moment, and since when: a disk that does not answer is told to its owner while it
//! is silent, and not once it answers again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::geometry::PieceIndex;
use shared::moment::Moment;

use super::storage::Storage;

/// A disk that is asleep needs some seconds to turn again; one that is silent for longer is in trouble.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

/// Reads and writes that have begun and not ended: no more than threads may wait for the disk.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    last: u64,
    waiting: BTreeMap<u64, (Moment, PieceIndex)>,
}

/// A read or write that is under way.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.waiting.remove(&self.number);
    }
}

impl Storage {
    /// Says that a thread is about to wait for the disk, for this piece among others.
    pub(crate) fn waiting(&self, piece: PieceIndex) -> Waiting<'_> {
        let now = self.tools.devices.now();
        let mut waits = self.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.last += 1;
        let number = waits.last;
        waits.waiting.insert(number, (now, piece));
        let waits = &self.waits;
        Waiting { waits, number }
    }

    /// The file on which somebody has waited for too long, if there is one. Does not wait.
    pub(crate) fn silent(&self) -> Option<PathBuf> {
        let now = self.tools.devices.now();
        let waits = self.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, (since, piece)) = waits.waiting.first_key_value()?;
        let (since, piece) = (*since, *piece);
        drop(waits);
        (now.since(since) >= SILENCE).then(|| self.path_of(piece))
    }
}
