//! What requests and answers hold. Names here are a contract: the command line and people's scripts hang on them.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::engine::{EngineFacts, Summary};

/// A part of the list of torrents.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Torrents skipped.
    pub offset: usize,
    /// Torrents at most: 1,000 where it is missing, never more than 10,000.
    pub limit: Option<usize>,
    /// Only those whose name holds these words, or whose hash begins so.
    pub search: Option<String>,
    /// Only those at this stage: `opening`, `checking`, `paused`, `error`, `metadata`, `downloading`, `seeding`.
    pub stage: Option<String>,
}

/// `GET /torrents`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TorrentList {
    /// How many there are that fit, on this page or not.
    pub total: usize,
    /// In the order in which they were added.
    pub torrents: Vec<Summary>,
}

/// What of a torrent's details is not wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Without {
    /// Parts to leave empty, with commas between them: `files`, `peers`, `trackers`, `pieces`.
    pub without: String,
}

/// What to do with the files of a new torrent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HowToAdd {
    /// Fetch what is missing, and give what is there.
    #[default]
    Get,
    /// Give what is there. Nothing is ever written.
    Seed,
}

/// How much of what is on disk is hashed before it is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HowToCheck {
    /// Nothing now: what is given is hashed once before it leaves.
    #[default]
    Lazy,
    /// A piece of every file.
    Quick,
    /// Everything.
    Full,
}

/// `POST /torrents` with a .torrent as its body: the rest stands in the query.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AddQuery {
    /// The folder that holds, or will hold, the torrent's own file or folder: a whole path on the seeder's machine.
    #[param(value_type = String, required)]
    pub root: Option<PathBuf>,
    /// `get` or `seed`.
    #[param(inline)]
    pub mode: HowToAdd,
    /// It rests until it is resumed.
    pub paused: bool,
    /// `lazy`, `quick` or `full`; as in the settings where it is missing.
    #[param(inline)]
    pub check: Option<HowToCheck>,
    /// Treatment as JSON.
    pub options: Option<String>,
}

/// `POST /torrents` with JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewTorrent {
    /// A magnet link; this or `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub magnet: Option<String>,
    /// A .torrent file that the seeder can read: a whole path on its machine.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The folder that holds, or will hold, the torrent's own file or folder: a whole path on the seeder's machine.
    #[schema(value_type = String)]
    pub root: Option<PathBuf>,
    pub mode: HowToAdd,
    /// It rests until it is resumed.
    pub paused: bool,
    /// As in the settings where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<HowToCheck>,
    /// Peers to begin with, such as `192.0.2.1:6881`.
    #[schema(value_type = Vec<String>)]
    pub peers: Vec<SocketAddr>,
    pub options: Treatment,
}

/// A torrent was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Added {
    pub name: String,
    pub info_hash_v1: Option<String>,
    pub info_hash_v2: Option<String>,
}

/// How a torrent is to be treated. What is missing stays as it is; `null` takes a bound or a goal away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Treatment {
    /// Only these files, by their numbers: `0,2,6-8`. `null` is all of them.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub only: Option<Option<String>>,
    /// Priorities of some files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileWish>,
    /// From the first piece to the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequential: Option<bool>,
    /// Hand out each piece once before any twice, while others have nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub super_seed: Option<bool>,
    /// Bytes a second.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub upload: Option<Option<u64>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub download: Option<Option<u64>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>)]
    pub connections: Option<Option<usize>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>)]
    pub upload_slots: Option<Option<usize>>,
    /// It rests once it has given so many bytes for each of its own.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub ratio: Option<Option<f64>>,
    /// It rests once it has been a seed for so long.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub seed_seconds: Option<Option<u64>>,
    /// It rests once so many other complete peers were seen within a week.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub copies: Option<Option<u32>>,
    /// Tiers of announce URLs, in the place of all that were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trackers: Option<Vec<Vec<String>>>,
    /// Web seeds beside the torrent's own, in the place of all that were added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_seeds: Option<Vec<String>>,
}

/// How much a file is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FileWish {
    /// Its number in the torrent.
    pub index: usize,
    /// `skip`, `low`, `normal` or `high`.
    pub priority: String,
}

/// `DELETE /torrents/{hash}`
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Removing {
    /// Deletes its files too, where this seeder fetched them. What is merely given is never deleted.
    pub delete: bool,
}

/// `POST /torrents/{hash}/recheck`
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recheck {
    /// `full` where it is missing.
    pub check: Option<HowToCheck>,
}

/// `POST /torrents/{hash}/announce`
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnnounceNow {
    /// Now, even where the tracker asked for patience.
    pub force: bool,
}

/// `POST /torrents/{hash}/peers`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPeers {
    /// Such as `192.0.2.1:6881`.
    #[schema(value_type = Vec<String>)]
    pub peers: Vec<SocketAddr>,
}

/// `POST /torrents/{hash}/move`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveTo {
    /// The folder that will hold the torrent's own file or folder: a whole path on the seeder's machine.
    #[schema(value_type = String)]
    pub root: PathBuf,
}

/// `POST /torrents/{hash}/rename`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameTo {
    /// The file's number in the torrent.
    pub file: usize,
    /// Its new path below the root.
    #[schema(value_type = String)]
    pub to: PathBuf,
}

/// `PATCH /limits`: what is missing stays as it is; `null` takes a bound away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsChange {
    /// Bytes a second.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub upload: Option<Option<u64>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub download: Option<Option<u64>>,
    /// The same with peers in the local network.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub lan_upload: Option<Option<u64>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub lan_download: Option<Option<u64>>,
    /// Other rates at certain hours, such as `mo-fr 08:00-22:00 up=2M down=off`, in the place of all that were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<String>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>)]
    pub connections: Option<Option<usize>>,
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>)]
    pub connections_per_torrent: Option<Option<usize>>,
}

/// `GET /stats`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    pub version: String,
    pub pid: u32,
    /// Seconds since the process began to answer.
    pub uptime_seconds: u64,
    /// Where peers reach it.
    #[schema(value_type = Vec<String>)]
    pub listen: Vec<SocketAddr>,
    #[serde(flatten)]
    pub engine: EngineFacts,
}

/// Tells a field that is `null` from one that is missing.
#[expect(clippy::option_option, reason = "missing, null and a value are three things")]
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}
