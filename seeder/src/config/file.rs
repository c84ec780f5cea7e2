//! What can be set, as it stands in a file. A field's comment is its manual; `deploy/seeder.toml` repeats it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DEFAULT_PORT, everywhere};

/// The whole of what can be set. `seeder config print` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    pub seeder: SeederSection,
    pub peers: PeersSection,
    pub rates: RatesSection,
    pub goals: GoalsSection,
    pub disk: DiskSection,
    pub admin: AdminSection,
    pub web_seed: WebSeedSection,
}

/// `[seeder]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeederSection {
    /// The folder for state; empty is the place where the system keeps a program's state.
    pub data: PathBuf,
    /// What is logged on standard error: error, warn, info, debug, trace, or a filter such as `seeder::net=debug`.
    pub log: String,
}

/// `[peers]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeersSection {
    /// Where peers reach us.
    pub listen: Vec<SocketAddr>,
    /// Obfuscated handshakes: `prefer`, `require` or `off`.
    pub encryption: String,
    /// Connections of all torrents.
    pub connections: usize,
    /// Connections of one torrent; 0 is no bound of its own.
    pub connections_per_torrent: usize,
    /// Connections of one address; those from home are not counted.
    pub connections_per_address: usize,
    /// Calls that wait for an answer.
    pub half_open: usize,
    /// Files of torrents that stand open.
    pub open_files: usize,
}

/// `[rates]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RatesSection {
    /// Bytes a second such as `500k` or `2M`, or bits such as `20Mbit`, with everyone outside the local network; `off` is no bound.
    pub upload: String,
    pub download: String,
    /// The same with peers in the local network.
    pub lan_upload: String,
    pub lan_download: String,
    /// Other rates at certain hours, such as `mo-fr 08:00-22:00 up=2M down=off`. Of rules that overlap the later one counts.
    pub schedule: Vec<String>,
}

/// `[goals]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoalsSection {
    /// A torrent rests once it has given so many bytes for each of its own; 0 is never.
    pub ratio: f64,
    /// Or once it has been a seed for so many hours; 0 is never.
    pub hours: u64,
    /// Or once so many other complete peers were seen within a week; 0 is never.
    pub copies: u32,
}

/// `[disk]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskSection {
    /// MiB of blocks between sockets and disks.
    pub buffers_mib: usize,
    /// How files get their room: `sparse` as they grow, `full` before the first byte.
    pub allocation: String,
    /// How much of what is on disk is hashed when a torrent is added: `lazy` is nothing before it is given, `quick` is a piece of
    /// every file, `full` is everything.
    pub check: String,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// Where the API, `/metrics` and `/health` are answered; `off` is nowhere. The API's token is in `api-token` in the state folder.
    pub listen: String,
    /// Names beside addresses and `localhost` by which that may be called, such as a proxy's.
    pub hosts: Vec<String>,
}

/// `[web_seed]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSeedSection {
    /// Where web clients get files, below `/webseed/INFO-HASH/`; `off` is nowhere.
    pub listen: String,
    /// Files of private torrents too, to everyone who knows their hashes.
    pub private: bool,
}

impl Default for SeederSection {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            log: "info".to_owned(),
        }
    }
}

impl Default for PeersSection {
    fn default() -> Self {
        let limits = crate::engine::Limits::default();
        Self {
            listen: everywhere(DEFAULT_PORT),
            encryption: "prefer".to_owned(),
            connections: limits.connections,
            connections_per_torrent: 0,
            connections_per_address: limits.connections_per_address,
            half_open: limits.half_open,
            open_files: limits.open_files,
        }
    }
}

impl Default for RatesSection {
    fn default() -> Self {
        let off = || "off".to_owned();
        Self {
            upload: off(),
            download: off(),
            lan_upload: off(),
            lan_download: off(),
            schedule: Vec::new(),
        }
    }
}

impl Default for DiskSection {
    fn default() -> Self {
        Self {
            buffers_mib: crate::engine::Limits::default().disk_buffers >> 20,
            allocation: "sparse".to_owned(),
            check: "lazy".to_owned(),
        }
    }
}

impl Default for AdminSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:6980".to_owned(),
            hosts: Vec::new(),
        }
    }
}

impl Default for WebSeedSection {
    fn default() -> Self {
        Self {
            listen: "off".to_owned(),
            private: false,
        }
    }
}
