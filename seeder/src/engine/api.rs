//! What the engine is asked, and what it tells.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::announce;
use shared::id::{InfoHash, PeerId};
use shared::magnet::Magnet;
use shared::metainfo::{Info, Metainfo};

use super::change::Rates;
pub use super::learning::Clash;
use crate::discovery::trackers;
pub use crate::disk::Allocation;
pub use crate::net::encryption::Policy as Encryption;
pub use crate::torrent::goals::Goals;
use crate::torrent::{Status, Wishes};

/// One torrent of this engine. Never used twice while the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TorrentKey(pub u64);

/// Where and as whom the engine works.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where peers reach us. Port 0 picks one.
    pub listen: Vec<SocketAddr>,
    /// The state folder; without one, nothing is remembered over a restart.
    pub data: Option<PathBuf>,
    pub peer_id: PeerId,
    pub limits: Limits,
    pub encryption: Encryption,
    pub rates: Rates,
    /// The database of a process that takes its torrents up again after a restart; the others are told theirs each time.
    pub store: Option<PathBuf>,
    /// How files that are fetched get their room on the disk.
    pub allocation: Allocation,
}

/// Bounds of the whole process.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of all torrents.
    pub connections: usize,
    /// Connections of one address, whatever the torrent; those from home (loopback, private networks) are not counted.
    pub connections_per_address: usize,
    /// Calls that wait for an answer.
    pub half_open: usize,
    /// Files that stand open.
    pub open_files: usize,
    /// Bytes of blocks between socket and disk.
    pub disk_buffers: usize,
    /// Addresses that are refused for having been rude.
    pub bans: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Systems give a process 1,024 descriptors unasked; files and trackers need some.
            connections: 500,
            // A family behind one address, each with a dozen torrents in common with us.
            connections_per_address: 100,
            half_open: 50,
            open_files: 128,
            disk_buffers: 64 << 20,
            bans: 4_096,
        }
    }
}

/// A torrent for the engine.
#[derive(Clone, Debug)]
pub struct AddTorrent {
    pub source: Source,
    /// The folder that holds the torrent's root.
    pub root: PathBuf,
    pub mode: Mode,
    /// Tiers of announce URLs (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Peers known beforehand.
    pub peers: Vec<SocketAddr>,
    pub options: Options,
}

/// How a torrent is treated; all of it can be changed while it runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub wishes: Wishes,
    /// How much of what is on disk is hashed before it is believed.
    pub check: Check,
    /// It rests: no peers, no announces.
    pub paused: bool,
    pub limits: TorrentLimits,
    pub goals: Goals,
    /// Web seeds beside those that the torrent names (BEP 19).
    pub web_seeds: Vec<String>,
    /// Hand out each piece once before any twice, while others have nothing (BEP 16).
    pub super_seed: bool,
}

/// How much of what is on disk is hashed before it is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Resume data are believed as far as sizes and times agree; what is given is hashed once before it leaves.
    #[default]
    Lazy,
    /// The same, and of every file one piece at least is hashed now.
    Quick,
    /// Everything is hashed now.
    Full,
}

/// Bounds of one torrent. `None` has none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TorrentLimits {
    /// Bytes a second of payload and protocol together.
    pub upload: Option<u64>,
    pub download: Option<u64>,
    pub connections: Option<usize>,
    pub upload_slots: Option<usize>,
}

/// What is known of it.
#[derive(Clone, Debug)]
pub enum Source {
    Metainfo(Arc<Metainfo>),
    Magnet(Box<Magnet>),
}

impl Source {
    /// Does it name servers that have the content?
    pub fn names_web_seeds(&self) -> bool {
        match self {
            Self::Metainfo(metainfo) => !metainfo.web_seeds.is_empty(),
            Self::Magnet(magnet) => !magnet.web_seeds.is_empty(),
        }
    }
}

/// What to do with its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Give what is there. Nothing is ever written.
    Seed,
    /// Fetch what is missing, and give what is there; goes on seeding once all is.
    Get,
}

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("{0}")]
    Trackers(#[from] trackers::StartError),
    /// The schedule cannot be read.
    #[error("{0}")]
    Rates(String),
    #[error("the database {}: {reason}", path.display())]
    Store { path: PathBuf, reason: String },
}

/// A torrent is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error("the torrent {0} is here already")]
    Duplicate(InfoHash),
    #[error("{0}")]
    Clash(Clash),
    #[error("{0}")]
    Refused(String),
    #[error("the torrent cannot be remembered: {0}")]
    NotKept(String),
    #[error("the engine has stopped")]
    Stopped,
}

/// What a torrent is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// Finding out what is on disk.
    Opening,
    /// Hashing what is on disk: so many pieces of so many.
    Checking {
        done: u32,
        of: u32,
    },
    /// Somebody, or a goal, wants it to rest.
    Paused,
    /// It cannot go on by itself; `why` says why.
    Error,
    /// Asking peers for the metadata of a magnet link.
    Metadata,
    Downloading,
    Seeding,
}

/// Facts of one torrent for those who ask.
#[derive(Clone, Debug)]
pub struct TorrentStatus {
    pub info_hash: InfoHash,
    pub stage: Stage,
    /// What its machine knows; of a torrent that sleeps, what is on disk.
    pub facts: Status,
}

/// Something that somebody may want to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A torrent was added, by whomever.
    Added {
        key: TorrentKey,
        info_hash: InfoHash,
        name: String,
    },
    Removed {
        key: TorrentKey,
    },
    /// Somebody paused, resumed, moved it or changed its options.
    Changed {
        key: TorrentKey,
    },
    /// Hashing what is on disk, at most once a second.
    CheckProgress {
        key: TorrentKey,
        done: u32,
        of: u32,
    },
    /// It has been given enough and rests from now on; the goal in words.
    GoalReached {
        key: TorrentKey,
        goal: String,
    },
    /// What was there is there no more, or no more what it was.
    Lost {
        key: TorrentKey,
        pieces: u32,
        path: PathBuf,
        reason: String,
    },
    /// A magnet link's metadata are here.
    Metadata {
        key: TorrentKey,
        info: Arc<Info>,
    },
    /// The metadata came and cannot be used; the torrent rests.
    Refused {
        key: TorrentKey,
        reason: String,
    },
    /// The files were looked at: so many pieces are there.
    Checked {
        key: TorrentKey,
        have: u32,
        of: u32,
    },
    /// Once a second while it downloads.
    Progress {
        key: TorrentKey,
        facts: Status,
    },
    PieceDone {
        key: TorrentKey,
        piece: u32,
    },
    /// All that is wanted is verified on disk. Also told of a [`Mode::Get`] that had it from the start.
    Finished {
        key: TorrentKey,
    },
    Banned {
        key: TorrentKey,
        address: IpAddr,
        why: String,
    },
    /// A web seed sent what is not the torrent's: it is not asked again.
    WebSeedBanned {
        key: TorrentKey,
        url: String,
        why: String,
    },
    /// A web seed gives nothing, for now or for good.
    WebSeedFailed {
        key: TorrentKey,
        url: String,
        reason: String,
    },
    TrackerAnswered {
        key: TorrentKey,
        url: String,
        /// What was announced.
        event: announce::Event,
        seeders: Option<u32>,
        leechers: Option<u32>,
        peers: usize,
        warning: Option<String>,
    },
    TrackerFailed {
        key: TorrentKey,
        url: String,
        reason: String,
    },
    /// A file is missing, unreadable or not what the torrent says, so that its part of the torrent is not given.
    CannotServe {
        key: TorrentKey,
        path: PathBuf,
        reason: String,
    },
    /// A download cannot be written; it is tried again until it can.
    DiskTrouble {
        key: TorrentKey,
        path: PathBuf,
        reason: String,
    },
    DiskRecovered {
        key: TorrentKey,
    },
}

impl Event {
    /// The torrent that it is about.
    pub fn key(&self) -> TorrentKey {
        match self {
            Self::Added { key, .. }
            | Self::Removed { key }
            | Self::Changed { key }
            | Self::CheckProgress { key, .. }
            | Self::GoalReached { key, .. }
            | Self::Lost { key, .. }
            | Self::Metadata { key, .. }
            | Self::Refused { key, .. }
            | Self::Checked { key, .. }
            | Self::Progress { key, .. }
            | Self::PieceDone { key, .. }
            | Self::Finished { key }
            | Self::Banned { key, .. }
            | Self::WebSeedBanned { key, .. }
            | Self::WebSeedFailed { key, .. }
            | Self::TrackerAnswered { key, .. }
            | Self::TrackerFailed { key, .. }
            | Self::CannotServe { key, .. }
            | Self::DiskTrouble { key, .. }
            | Self::DiskRecovered { key } => *key,
        }
    }
}
