//! What is counted: by the torrent, for its trackers; by the process, for Prometheus.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use edge::exposition::{self, counter, gauge, process, sample};
use prometheus::proto::MetricFamily;

use crate::engine::EngineFacts;

/// What one torrent tells its trackers (BEP 3): bytes of payload since it was added, and bytes still missing.
#[derive(Debug, Default)]
pub struct Counters {
    uploaded: AtomicU64,
    downloaded: AtomicU64,
    left: AtomicU64,
    /// All that is wanted is there, and not all is (BEP 21).
    partial: AtomicBool,
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

    /// A partial seed: all that is wanted is there, and not all is (BEP 21).
    pub fn is_partial(&self) -> bool {
        self.partial.load(Ordering::Relaxed)
    }

    pub(crate) fn set_partial(&self, partial: bool) {
        self.partial.store(partial, Ordering::Relaxed);
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

/// What the process counts by itself, beside its torrents: it must not fall when one of them goes.
#[derive(Debug, Default)]
pub struct Tally {
    /// Payload of torrents that were removed since.
    given_before: AtomicU64,
    taken_before: AtomicU64,
    web_taken: AtomicU64,
}

impl Tally {
    /// A torrent goes, and what it gave and took stays counted.
    pub(crate) fn remember(&self, counters: &Counters) {
        self.given_before
            .fetch_add(counters.uploaded(), Ordering::Relaxed);
        self.taken_before
            .fetch_add(counters.downloaded(), Ordering::Relaxed);
    }

    /// Payload came from a web seed.
    pub(crate) fn web_took(&self, bytes: u64) {
        self.web_taken.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds what is counted here to the sums of the process.
    pub(crate) fn put_into(&self, facts: &mut EngineFacts) {
        facts.uploaded += self.given_before.load(Ordering::Relaxed);
        facts.downloaded += self.taken_before.load(Ordering::Relaxed);
        facts.web_downloaded += self.web_taken.load(Ordering::Relaxed);
    }
}

/// The page that Prometheus scrapes. Every series is there from the start; hashes, peers and names are never labels.
pub fn page(facts: &EngineFacts) -> Result<Vec<u8>, prometheus::Error> {
    let mut families = torrents(facts);
    families.extend(traffic(facts));
    families.extend(disks(facts));
    families.extend(bounds(facts));
    families.push(gauge(
        "seeder_build_info",
        "The version that runs.",
        vec![sample(&[("version", env!("CARGO_PKG_VERSION"))], 1)],
    ));
    families.extend(process());
    exposition::page(&families)
}

fn torrents(facts: &EngineFacts) -> Vec<MetricFamily> {
    let states = [
        ("opening", facts.opening),
        ("checking", facts.checking),
        ("metadata", facts.metadata),
        ("downloading", facts.downloading),
        ("seeding", facts.seeding),
        ("paused", facts.paused),
        ("error", facts.errors),
    ];
    let states = states.map(|(state, count)| sample(&[("state", state)], count));
    vec![
        gauge("seeder_torrents", "Torrents by what they are at.", states.into()),
        gauge(
            "seeder_torrents_awake",
            "Torrents that have a task; the others are rows in a table.",
            vec![sample(&[], facts.awake)],
        ),
        gauge("seeder_peers", "Connected peers.", vec![sample(&[], facts.peers)]),
    ]
}

fn traffic(facts: &EngineFacts) -> Vec<MetricFamily> {
    let announces = [
        ("ok", facts.announces.saturating_sub(facts.announces_failed)),
        ("failed", facts.announces_failed),
    ];
    let announces = announces.map(|(result, count)| sample(&[("result", result)], count));
    vec![
        counter(
            "seeder_uploaded_bytes_total",
            "Payload given to peers.",
            vec![sample(&[], facts.uploaded)],
        ),
        counter(
            "seeder_web_seed_uploaded_bytes_total",
            "Payload given to web clients, which announces do not count.",
            vec![sample(&[], facts.web_uploaded)],
        ),
        counter(
            "seeder_downloaded_bytes_total",
            "Payload taken from peers and web seeds.",
            vec![sample(&[], facts.downloaded)],
        ),
        counter(
            "seeder_web_seed_downloaded_bytes_total",
            "Payload that came from web seeds, which the sum above holds too.",
            vec![sample(&[], facts.web_downloaded)],
        ),
        counter(
            "seeder_wasted_bytes_total",
            "Payload that was thrown away: wrong, or there already.",
            vec![sample(&[], facts.wasted)],
        ),
        counter(
            "seeder_announces_total",
            "Announces by how they ended.",
            announces.into(),
        ),
        gauge(
            "seeder_announces_open",
            "Announces that wait or travel.",
            vec![sample(&[], facts.announces_open)],
        ),
    ]
}

fn disks(facts: &EngineFacts) -> Vec<MetricFamily> {
    let pieces = [("right", facts.pieces_right), ("wrong", facts.pieces_wrong)];
    let pieces = pieces.map(|(result, count)| sample(&[("result", result)], count));
    vec![
        counter(
            "seeder_pieces_hashed_total",
            "Pieces that were hashed, on their way to the disk or from it, by what came out.",
            pieces.into(),
        ),
        counter(
            "seeder_disk_silences_total",
            "How often a disk kept a torrent waiting for five seconds.",
            vec![sample(&[], facts.disk_silences)],
        ),
        gauge(
            "seeder_disk_queue",
            "Jobs and reads that stand in line for a disk.",
            vec![sample(&[], facts.disk_queue)],
        ),
        gauge(
            "seeder_open_files",
            "Files of torrents that stand open.",
            vec![sample(&[], facts.open_files)],
        ),
    ]
}

fn bounds(facts: &EngineFacts) -> Vec<MetricFamily> {
    let one = |name, help, value| gauge(name, help, vec![sample(&[], value)]);
    vec![
        one("seeder_connections", "Connections that stand.", facts.connections),
        one(
            "seeder_connections_max",
            "Connections that may stand.",
            facts.connections_max,
        ),
        one(
            "seeder_disk_buffers_bytes",
            "Bytes between sockets and disks.",
            facts.disk_buffers,
        ),
        one(
            "seeder_disk_buffers_max_bytes",
            "How many there may be.",
            facts.disk_buffers_max,
        ),
        one(
            "seeder_open_files_max",
            "Files of torrents that may stand open.",
            facts.open_files_max,
        ),
        one(
            "seeder_banned_addresses",
            "Addresses that are refused.",
            facts.bans,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_before_anything_happens() {
        let page = String::from_utf8(page(&EngineFacts::default()).unwrap()).unwrap();
        for line in [
            "seeder_torrents{state=\"downloading\"} 0",
            "seeder_torrents{state=\"error\"} 0",
            "seeder_announces_total{result=\"failed\"} 0",
            "seeder_uploaded_bytes_total 0",
            "seeder_pieces_hashed_total{result=\"wrong\"} 0",
            "seeder_disk_silences_total 0",
            "# TYPE seeder_uploaded_bytes_total counter",
            "# TYPE seeder_peers gauge",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn announces_are_either_answered_or_failed() {
        let facts = EngineFacts {
            announces: 10,
            announces_failed: 3,
            ..EngineFacts::default()
        };
        let page = String::from_utf8(page(&facts).unwrap()).unwrap();
        assert!(page.contains("seeder_announces_total{result=\"ok\"} 7"), "{page}");
        assert!(
            page.contains("seeder_announces_total{result=\"failed\"} 3"),
            "{page}"
        );
    }
}
