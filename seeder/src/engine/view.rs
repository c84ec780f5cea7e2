//! What the engine shows: the rows of a list, the details of a torrent, the sums of the process. The same words reach a
//! program that embeds the engine and, as JSON, everyone else.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Stage, TorrentKey};
use crate::torrent::Priority;

/// One torrent, as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    #[schema(value_type = u64)]
    pub key: TorrentKey,
    pub name: String,
    /// Lower-case hex.
    pub info_hash_v1: Option<String>,
    pub info_hash_v2: Option<String>,
    #[serde(flatten)]
    pub stage: Stage,
    pub paused: bool,
    /// All that is wanted is there, and not all of the torrent (BEP 21).
    #[serde(default)]
    pub partial: bool,
    pub private: bool,
    /// Verified, or in a torrent that is only given, of the right size.
    pub have_bytes: u64,
    pub wanted_bytes: u64,
    pub total_bytes: u64,
    /// Payload since it was added, over all restarts.
    pub uploaded: u64,
    pub downloaded: u64,
    /// Bytes a second over the last seconds.
    pub upload_rate: u64,
    pub download_rate: u64,
    pub peers: u32,
    /// Those of the peers who have everything.
    pub seeds: u32,
    /// Seconds since 1970.
    pub added: i64,
    #[schema(value_type = String)]
    pub root: PathBuf,
    /// In plain words: why it waits or rests.
    pub why: Option<String>,
}

/// All that is known of one torrent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Details {
    #[serde(flatten)]
    pub summary: Summary,
    pub options: OptionFacts,
    pub files: Vec<FileFacts>,
    /// The summary counts them as `peers`.
    #[serde(rename = "peer_list")]
    pub peers: Vec<PeerFacts>,
    pub trackers: Vec<TrackerFacts>,
    pub web_seeds: Vec<String>,
    pub piece_length: u32,
    pub piece_count: u32,
    pub have_count: u32,
    /// A bit a piece, the first in the highest bit of the first byte (BEP 3), in hex.
    pub pieces: String,
    /// By piece: how many of the peers have it. Empty where nobody is connected, or the pieces are too many to show.
    pub availability: Vec<u16>,
    /// Other complete peers that were seen within a week.
    pub copies: u32,
    /// Seconds as a seed.
    pub seeding_seconds: u64,
    /// Payload that was taken and thrown away.
    pub wasted: u64,
    pub comment: Option<String>,
    pub created_by: Option<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    pub magnet: String,
}

/// How a torrent is treated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OptionFacts {
    pub sequential: bool,
    pub super_seed: bool,
    /// Bytes a second.
    pub upload: Option<u64>,
    pub download: Option<u64>,
    pub connections: Option<usize>,
    pub upload_slots: Option<usize>,
    pub ratio: Option<f64>,
    pub seed_seconds: Option<u64>,
    pub copies: Option<u32>,
    /// Nothing is ever written.
    pub only_given: bool,
}

/// One file of a torrent; padding is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileFacts {
    /// Its number in the torrent, which changes name it by.
    pub index: usize,
    /// Below the torrent's root.
    #[schema(value_type = String)]
    pub path: PathBuf,
    pub length: u64,
    pub have_bytes: u64,
    #[serde(with = "priority")]
    #[schema(value_type = String)]
    pub priority: Priority,
}

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Calling {
    Incoming,
    Outgoing,
    WebSeed,
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    Tcp,
    Http,
}

/// One connected peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the protocol's own flags, both ways"
)]
pub struct PeerFacts {
    /// With the port; of a web seed, its URL.
    pub address: String,
    /// The name that it gave itself, if it did.
    pub client: Option<String>,
    pub direction: Calling,
    pub transport: Transport,
    pub encrypted: bool,
    /// The share of the pieces that it has, 0 to 1.
    pub have: f32,
    pub downloaded: u64,
    pub uploaded: u64,
    pub download_rate: u64,
    pub upload_rate: u64,
    pub we_are_interested: bool,
    pub is_interested: bool,
    pub chokes_us: bool,
    pub we_choke: bool,
    /// It owes us blocks and has sent none for long.
    pub snubbed: bool,
    /// Blocks that it waits for, and that we wait for.
    pub requests_in: usize,
    pub requests_out: usize,
    /// In plain words: what it is at.
    pub why: String,
}

/// One tracker of a torrent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrackerFacts {
    pub url: String,
    /// The first tier is 0.
    pub tier: usize,
    /// In plain words: `works`, `asked now`, `not asked yet`, `failed: …`.
    pub state: String,
    /// Seconds since 1970: the last answer, and the next announce.
    pub last: Option<i64>,
    pub next: Option<i64>,
    pub seeders: Option<u32>,
    pub leechers: Option<u32>,
    /// In a row.
    pub failures: u32,
}

/// Sums of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineFacts {
    pub torrents: u64,
    pub opening: u64,
    pub checking: u64,
    pub metadata: u64,
    pub downloading: u64,
    pub seeding: u64,
    pub paused: u64,
    pub errors: u64,
    /// Torrents that have a task at the moment; the others are rows in a table.
    pub awake: u64,
    pub peers: u64,
    /// Payload since the process started.
    pub uploaded: u64,
    pub downloaded: u64,
    /// Payload given to web clients, which no tracker hears of.
    pub web_uploaded: u64,
    /// Payload that came from web seeds; `downloaded` holds it too.
    pub web_downloaded: u64,
    /// Payload that was thrown away: wrong, or there already.
    pub wasted: u64,
    pub upload_rate: u64,
    pub download_rate: u64,
    /// Connections that stand, and how many may.
    pub connections: u64,
    pub connections_max: u64,
    /// Bytes between sockets and disks, and how many there may be.
    pub disk_buffers: u64,
    pub disk_buffers_max: u64,
    /// Pieces that were hashed since the process started: right, and wrong.
    pub pieces_right: u64,
    pub pieces_wrong: u64,
    /// Jobs and reads that stand in line for a disk.
    pub disk_queue: u64,
    /// How often a disk was silent for so long that it was told.
    pub disk_silences: u64,
    /// Announces that ended, and those of them that failed.
    pub announces: u64,
    pub announces_failed: u64,
    /// Announces that wait or travel.
    pub announces_open: u64,
    pub bans: u64,
    /// Torrents are taken up again after a restart.
    pub remembers: bool,
    /// Files of torrents that stand open, how many may, the process's descriptors in all.
    pub open_files: u64,
    pub open_files_max: u64,
    pub descriptors_max: u64,
}

/// How priorities are written.
pub mod priority {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::torrent::Priority;

    /// The word for a priority.
    pub fn word(priority: Priority) -> &'static str {
        match priority {
            Priority::Skip => "skip",
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
        }
    }

    /// The priority that a word means.
    pub fn of_word(word: &str) -> Option<Priority> {
        let all = [Priority::Skip, Priority::Low, Priority::Normal, Priority::High];
        all.into_iter().find(|priority| self::word(*priority) == word)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(super) fn serialize<S: Serializer>(priority: &Priority, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(word(*priority))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Priority, D::Error> {
        let word = String::deserialize(from)?;
        of_word(&word).ok_or_else(|| D::Error::custom("a priority is skip, low, normal or high"))
    }
}
