//! Announces to trackers: one task owns the announcers of all torrents and speaks HTTP for them. What to announce, when,
//! and to whom is decided in `torrent::announcer`.
//!
//! Both directions are bounded channels, and they cannot wait for each other in a ring: the task never waits to hand out
//! an event, it stops starting announces until the events it holds are taken.

#[cfg(test)]
pub(crate) mod fake;
mod hosts;
mod http;
mod task;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use shared::announce::{Crypto, Event};
use shared::id::{InfoHash, PeerId};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::engine::TorrentKey;
use crate::metrics::Counters;
use crate::torrent::announcer::TrackerState;

/// How long all goodbyes together may take. A program stops within 5 s, also with dead trackers.
pub const STOP_BUDGET: Duration = Duration::from_secs(3);

/// What announces say of this process, whatever the torrent.
#[derive(Clone, Debug)]
pub struct Settings {
    pub peer_id: PeerId,
    /// Where peers really reach us: each family is announced with its own port.
    pub listen: Vec<SocketAddr>,
    pub clock: Clock,
    /// Whether we take part in encrypted handshakes.
    pub crypto: Crypto,
}

/// Tiers of announce URLs.
pub type Tiers = Arc<[Vec<Arc<str>>]>;

/// Tiers that can be shared.
pub fn tiers(urls: &[Vec<String>]) -> Tiers {
    let tier = |urls: &Vec<String>| urls.iter().map(|url| Arc::from(url.as_str())).collect();
    urls.iter().map(tier).collect()
}

/// A torrent to announce.
#[derive(Clone, Debug)]
pub struct Swarm {
    pub key: TorrentKey,
    /// Every hash by which peers may know it: a hybrid has two, each announced by itself (BEP 52).
    pub info_hashes: Vec<InfoHash>,
    /// Tiers of URLs (BEP 12). Torrents of the same trackers share them.
    pub tiers: Tiers,
    /// Read at the moment an announce leaves.
    pub counters: Arc<Counters>,
}

/// What became of one announce.
#[derive(Clone, Debug)]
pub struct TrackerEvent {
    pub key: TorrentKey,
    pub info_hash: InfoHash,
    pub url: Arc<str>,
    pub result: Outcome,
}

/// A tracker's answer, or why there is none.
#[derive(Clone, Debug)]
pub enum Outcome {
    Answered {
        /// What was announced: scripts wait for the answer to `started`.
        event: Event,
        interval: Duration,
        peers: Vec<SocketAddr>,
        seeders: Option<u32>,
        leechers: Option<u32>,
        warning: Option<String>,
    },
    Failed {
        reason: String,
    },
}

/// Where one tracker of a torrent stands, and what it last said.
#[derive(Clone, Debug)]
pub struct TrackerReport {
    pub state: TrackerState,
    pub seeders: Option<u32>,
    pub leechers: Option<u32>,
    /// Its last refusal or warning, or why it was not heard.
    pub words: Option<String>,
}

/// What all announces of the process came to.
#[derive(Debug, Default)]
pub struct Totals {
    /// Announces that were answered, those that were not or with a refusal, and those that wait or travel.
    pub answered: AtomicU64,
    pub failed: AtomicU64,
    pub open: AtomicU64,
}

/// The announcing task cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("no HTTP client can be made: {0}")]
    Client(#[from] reqwest::Error),
}

#[derive(Debug)]
enum Command {
    Add(Swarm),
    Completed(TorrentKey),
    WantPeers(TorrentKey),
    Insist(TorrentKey),
    Trackers(TorrentKey, Tiers),
    Facts(TorrentKey, oneshot::Sender<Vec<TrackerReport>>),
    Remove(TorrentKey),
    Stop { done: oneshot::Sender<()> },
}

/// The handle to the announcing task. When the last one is dropped, the task ends without a goodbye.
#[derive(Clone, Debug)]
pub struct Trackers {
    commands: mpsc::Sender<Command>,
    totals: Arc<Totals>,
}

impl Trackers {
    /// Starts the task. Answers and failures arrive on the receiver, in the order in which they were heard.
    pub fn start(settings: Settings) -> Result<(Self, mpsc::Receiver<TrackerEvent>), StartError> {
        let http = http::Http::new(&settings.listen, settings.clock)?;
        let (commands, inbox) = mpsc::channel(64);
        let (events, answers) = mpsc::channel(64);
        let totals = Arc::new(Totals::default());
        tokio::spawn(task::Task::new(settings, http, events, Arc::clone(&totals)).run(inbox));
        Ok((Self { commands, totals }, answers))
    }

    /// Announces `started`, and from then on whenever it is time.
    pub async fn add(&self, swarm: Swarm) {
        self.send(Command::Add(swarm)).await;
    }

    /// The last piece was verified: says `completed`.
    pub async fn completed(&self, key: TorrentKey) {
        self.send(Command::Completed(key)).await;
    }

    /// Asks sooner, where the trackers allow it.
    pub async fn want_peers(&self, key: TorrentKey) {
        self.send(Command::WantPeers(key)).await;
    }

    /// Asks now, whatever the trackers allow.
    pub async fn insist(&self, key: TorrentKey) {
        self.send(Command::Insist(key)).await;
    }

    /// Other trackers from now on. Those that stay are not asked anew; those that go hear `stopped`.
    pub async fn change(&self, key: TorrentKey, tiers: Tiers) {
        self.send(Command::Trackers(key, tiers)).await;
    }

    /// Where the torrent's trackers stand.
    pub async fn facts(&self, key: TorrentKey) -> Vec<TrackerReport> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Facts(key, answer)).await;
        answered.await.unwrap_or_default()
    }

    /// What all announces came to.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Says `stopped` and forgets the torrent.
    pub async fn remove(&self, key: TorrentKey) {
        self.send(Command::Remove(key)).await;
    }

    /// Says `stopped` for all torrents at once and waits for the answers, at most [`STOP_BUDGET`].
    pub async fn stop(&self) {
        let (done, all_said) = oneshot::channel();
        let goodbye = async {
            self.send(Command::Stop { done }).await;
            // An error means that the task is gone, so nothing is left to wait for.
            let _ = all_said.await;
        };
        if tokio::time::timeout(STOP_BUDGET, goodbye).await.is_err() {
            tracing::warn!("some trackers did not hear that we leave; they will forget us by themselves");
        }
    }

    async fn send(&self, command: Command) {
        // The receiver is gone only when the task has ended, and then there is nothing to announce.
        let _ = self.commands.send(command).await;
    }
}

#[cfg(test)]
mod tests;
