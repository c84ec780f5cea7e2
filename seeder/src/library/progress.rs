//! How far a long piece of work has come, told by the workers without asking anyone, and the flag that stops them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes done of bytes in all. Workers add, whoever is interested looks, anyone may cancel.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    done: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Says how much there is to do; the work that is done stays counted.
    pub fn expect(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// Says that so many more bytes are done.
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes there are in all; 0 while nobody knows.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes done so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The same in pieces of this length, as (done, of); nothing where nobody knows of anything to do.
    pub fn in_pieces(&self, piece_length: u32) -> Option<(u32, u32)> {
        let pieces = |bytes: u64| u32::try_from(bytes / u64::from(piece_length.max(1))).unwrap_or(u32::MAX);
        let total = self.total();
        (total > 0).then(|| (pieces(self.done()), pieces(total).max(1)))
    }

    /// Asks the workers to stop at the next piece.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Somebody asked the workers to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
