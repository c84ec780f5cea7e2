//! What is counted: by the torrent, for its trackers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one torrent tells its trackers (BEP 3): bytes of payload since it was added, and bytes still missing.
#[derive(Debug, Default)]
pub struct Counters {
    uploaded: AtomicU64,
    downloaded: AtomicU64,
    left: AtomicU64,
}

impl Counters {
    /// A torrent that still misses so many bytes.
    pub fn new(left: u64) -> Self {
        Self {
            left: AtomicU64::new(left),
            ..Self::default()
        }
    }

    /// Payload sent to peers.
    pub fn uploaded(&self) -> u64 {
        self.uploaded.load(Ordering::Relaxed)
    }

    /// Payload taken from peers.
    pub fn downloaded(&self) -> u64 {
        self.downloaded.load(Ordering::Relaxed)
    }

    /// Bytes that are not yet verified on disk.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    pub(crate) fn add_uploaded(&self, bytes: u64) {
        self.uploaded.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_downloaded(&self, bytes: u64) {
        self.downloaded.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_left(&self, bytes: u64) {
        self.left.store(bytes, Ordering::Relaxed);
    }
}
