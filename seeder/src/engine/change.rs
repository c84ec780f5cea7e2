//! What can be changed about a torrent, and about the process, while it runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Goals, TorrentLimits};
use crate::torrent::Wishes;

/// What is to be different from now on; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub wishes: Option<Wishes>,
    pub limits: Option<TorrentLimits>,
    pub goals: Option<Goals>,
    pub super_seed: Option<bool>,
    /// Tiers of announce URLs, in the place of all that were there.
    pub trackers: Option<Vec<Vec<String>>>,
    /// In the place of all that were added beside the torrent's own.
    pub web_seeds: Option<Vec<String>>,
}

/// What becomes of the files of a torrent that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Keep,
    /// Only where this engine made it: what is merely given, lay there before or was changed by others since is never
    /// deleted.
    Delete,
}

/// A torrent cannot be changed so.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("there is no such torrent")]
    Unknown,
    #[error("its metadata are not here yet")]
    NoMetadata,
    #[error("this torrent is only given: the engine never writes to, moves or deletes what it did not fetch")]
    OnlyGiven,
    /// The torrent is gone, and files of its name are not.
    #[error(
        "the torrent is removed, but {} is kept{}: what lay there before it, or was changed since by somebody else, is \
         never deleted",
        first.display(),
        others(*more)
    )]
    Kept { first: PathBuf, more: usize },
    #[error("the torrent has no file {0}")]
    NoSuchFile(usize),
    #[error("{}: {reason}", path.display())]
    Disk { path: PathBuf, reason: String },
    #[error("it cannot be written down yet, and a restart before that undoes it: {0}")]
    NotKept(String),
    /// What was asked makes no sense, at any time.
    #[error("{0}")]
    Refused(String),
    /// What it is at does not allow it.
    #[error("{0}")]
    NotNow(String),
    #[error("the engine has stopped")]
    Stopped,
}

fn others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " with another file of it".to_owned(),
        count => format!(" with {count} other files of it"),
    }
}

/// How fast the process may be. `None` is no bound; a bound of zero stops that direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Bytes a second with everyone outside the local network.
    pub upload: Option<u64>,
    pub download: Option<u64>,
    /// Bytes a second with peers in the local network, who are counted apart.
    pub lan_upload: Option<u64>,
    pub lan_download: Option<u64>,
    /// Other rates at certain hours, as `mo-fr 08:00-22:00 up=2M down=off`. Of rules that overlap the later one counts.
    pub schedule: Vec<String>,
    /// Connections of all torrents.
    pub connections: Option<usize>,
    pub connections_per_torrent: Option<usize>,
}
