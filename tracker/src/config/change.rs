//! What differs between the settings in force and new ones, key by key as in the file, and what of it can change while the
//! tracker runs.

use std::fmt;

use super::file::{
    AccountsSection, AdminSection, AnnounceSection, ClientsSection, File, HttpSection, LimitsSection,
    MembersSection, ReachabilitySection, ScrapeSection, SnapshotSection, TorrentsSection, TrackerSection,
};
use super::{Config, Mode};

/// Settings and whole sections that a running tracker takes over. Everything else waits for a restart.
const LIVE: [&str; 13] = [
    "tracker.log",
    "tracker.public_url",
    "http.trusted_proxies",
    "limits.connections",
    "limits.connections_per_address",
    "announce",
    "scrape",
    "members",
    "torrents",
    "accounts",
    "clients",
    "snapshot",
    "reachability",
];

/// A bound of the swarms, which like all their bounds stands from their beginning.
const SWARMS_OWN: &str = "members.peers_per_torrent";

/// What differs, sorted by what can be done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In force as soon as they are handed over.
    pub live: Vec<Change>,
    /// Not before the next start.
    pub restart: Vec<Change>,
}

/// One setting with a new value, both as a file would say them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub old: String,
    pub new: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.old, self.new)
    }
}

impl Changes {
    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

impl Config {
    /// What `new` changes.
    pub fn diff(&self, new: &Self) -> Changes {
        let (before, after) = (settings(self), settings(new));
        let mut changes = Changes::default();
        for ((key, old), (_, new)) in before.into_iter().zip(after) {
            if old == new {
                continue;
            }
            // Anyone's swarms are written by a clock that is set once.
            let fixed = matches!(self.mode, Mode::Public(_)) && key == "snapshot.secs";
            let list = if is_live(&key) && !fixed {
                &mut changes.live
            } else {
                &mut changes.restart
            };
            list.push(Change { key, old, new });
        }
        changes
    }

    /// These settings as a file; a list of torrents, which a file cannot name, is left out.
    pub fn file(&self) -> File {
        File {
            tracker: TrackerSection {
                data: self.data.clone().unwrap_or_default(),
                public: matches!(self.mode, Mode::Public(_)),
                log: self.log.clone(),
                public_url: self.public_url.clone().unwrap_or_default(),
            },
            http: http(&self.http),
            admin: AdminSection {
                listen: self
                    .admin
                    .map_or_else(|| "off".to_owned(), |address| address.to_string()),
            },
            announce: announce(&self.announce),
            scrape: ScrapeSection {
                hashes_max: self.scrape.hashes_max,
                full: self.scrape.full,
            },
            limits: limits(&self.limits),
            members: members(&self.members),
            torrents: torrents(&self.torrents),
            accounts: accounts(&self.accounts),
            clients: ClientsSection {
                allow: self.clients.allow.clone(),
                deny: self.clients.deny.clone(),
            },
            snapshot: SnapshotSection {
                secs: self.snapshot.as_secs(),
            },
            reachability: ReachabilitySection {
                check: self.reachability,
            },
        }
    }
}

fn is_live(key: &str) -> bool {
    let section = key.split('.').next().unwrap_or_default();
    key != SWARMS_OWN && (LIVE.contains(&key) || LIVE.contains(&section))
}

/// Every setting's key and value. Two tables of settings have the same keys in the same order.
fn settings(config: &Config) -> Vec<(String, String)> {
    let table = toml::Table::try_from(config.file()).unwrap_or_default();
    let in_section = |(section, keys): (String, toml::Value)| {
        let keys = keys.try_into::<toml::Table>().unwrap_or_default();
        keys.into_iter()
            .map(move |(key, value)| (format!("{section}.{key}"), value.to_string()))
    };
    table.into_iter().flat_map(in_section).collect()
}

fn http(http: &super::Http) -> HttpSection {
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let tls = http.tls.as_ref();
    HttpSection {
        listen: http.listen.clone(),
        unix: http.unix.clone(),
        tls_listen: tls.map(|tls| tls.listen.clone()).unwrap_or_default(),
        tls_certificate: tls.map(|tls| path(&tls.certificate)).unwrap_or_default(),
        tls_key: tls.map(|tls| path(&tls.key)).unwrap_or_default(),
        trusted_proxies: http.trusted_proxies.clone(),
        fast_lane: http.fast_lane,
        lanes: http.lanes.map_or(0, std::num::NonZero::get),
        head_bytes: http.head_bytes,
        head_secs: http.head_time.as_secs(),
        idle_secs: http.idle_time.as_secs(),
        write_secs: http.write_time.as_secs(),
    }
}

fn announce(announce: &super::Announce) -> AnnounceSection {
    AnnounceSection {
        interval_secs: announce.interval.as_secs(),
        jitter_secs: announce.jitter.as_secs(),
        min_interval_secs: announce.min_interval.as_secs(),
        small_interval_secs: announce.small_interval.as_secs(),
        small_peers: announce.small_peers,
        young_secs: announce.young.as_secs(),
        load_per_sec: announce.load_per_sec,
        peer_timeout_secs: announce.peer_timeout.as_secs(),
        numwant: announce.numwant,
        numwant_max: announce.numwant_max,
        external_addresses: announce.external_addresses.clone(),
    }
}

fn limits(limits: &super::Limits) -> LimitsSection {
    LimitsSection {
        connections: limits.connections,
        connections_per_address: limits.connections_per_address,
        peers_per_swarm: limits.peers_per_swarm,
        swarms: limits.swarms,
        peers: limits.peers,
    }
}

fn members(members: &super::Members) -> MembersSection {
    MembersSection {
        rotate_grace_secs: members.rotate_grace.as_secs(),
        networks_alarm: members.networks_alarm.map_or(0, std::num::NonZero::get),
        networks_days: days(members.networks_age),
        session_days: days(members.session_age),
        peers_per_torrent: members.peers_per_torrent,
    }
}

fn torrents(torrents: &super::Torrents) -> TorrentsSection {
    TorrentsSection {
        open: torrents.open,
        require_private: torrents.require_private,
        source: torrents.source.clone().unwrap_or_default(),
        removed_days: days(torrents.removed_age),
    }
}

fn accounts(accounts: &super::Accounts) -> AccountsSection {
    let until = accounts
        .tariff_until
        .and_then(|date| jiff::Timestamp::from_second(i64::from(date.0)).ok());
    let fast = accounts.fast_bytes_per_sec.map_or(0, std::num::NonZero::get) / 1_000_000;
    AccountsSection {
        flush_secs: accounts.flush.as_secs(),
        upload_percent: accounts.tariff.upload_percent,
        download_percent: accounts.tariff.download_percent,
        tariff_until: until.map(|until| until.to_string()).unwrap_or_default(),
        fast_mbytes_per_sec: u32::try_from(fast).unwrap_or(u32::MAX),
    }
}

fn days(age: std::time::Duration) -> u32 {
    u32::try_from(age.as_secs() / 86_400).unwrap_or(u32::MAX)
}
