//! What a tracker needs to know, checked and in types of its own. Parts of the tracker receive the group they need.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Admission;
use super::check::{admin_address, check, date, public_url};
use super::file::{
    AccountsSection, AnnounceSection, ClientsSection, File, HttpSection, LimitsSection, MembersSection,
    ScrapeSection, TorrentsSection,
};
use crate::members::ids::Date;
use crate::members::rules::Tariff;
use edge::settings::ConfigError;

/// A day, in which several settings are counted.
const DAY: Duration = Duration::from_secs(86_400);

/// All settings of a tracker.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may use it.
    pub mode: Mode,
    /// The folder that this tracker alone owns; none where nothing is kept, which private mode cannot do.
    pub data: Option<PathBuf>,
    /// The filter of the log.
    pub log: String,
    /// What others use as this tracker's address, without a slash at its end.
    pub public_url: Option<String>,
    pub http: Http,
    /// Where metrics and health are.
    pub admin: Option<SocketAddr>,
    pub announce: Announce,
    pub scrape: Scrape,
    pub limits: Limits,
    pub members: Members,
    pub torrents: Torrents,
    pub accounts: Accounts,
    pub clients: Clients,
    /// Time between two snapshots of the swarms.
    pub snapshot: Duration,
    /// Whether peers are tried in the background.
    pub reachability: bool,
}

/// Who may use a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Anyone, for these torrents.
    Public(Admission),
    /// Members, with their keys.
    Private,
}

/// How the public port is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where announces and scrapes are answered; port 0 picks one.
    pub listen: Vec<SocketAddr>,
    /// Unix sockets for the same.
    pub unix: Vec<PathBuf>,
    pub tls: Option<Tls>,
    /// Whose word about other addresses is believed.
    pub trusted_proxies: Vec<IpNet>,
    pub fast_lane: bool,
    /// Threads of the fast lane; none is one a core.
    pub lanes: Option<NonZero<usize>>,
    /// The longest head of a request.
    pub head_bytes: usize,
    pub head_time: Duration,
    pub idle_time: Duration,
    pub write_time: Duration,
}

/// The public port over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub listen: Vec<SocketAddr>,
    /// PEM files, watched.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What clients are told about when and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    pub interval: Duration,
    pub jitter: Duration,
    pub min_interval: Duration,
    /// The interval of a swarm that is small and young.
    pub small_interval: Duration,
    pub small_peers: u32,
    pub young: Duration,
    /// Announces a second from where on intervals grow.
    pub load_per_sec: u32,
    pub peer_timeout: Duration,
    pub numwant: u32,
    pub numwant_max: u32,
    pub external_addresses: Vec<IpAddr>,
}

/// What a scrape may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrape {
    pub hashes_max: usize,
    pub full: bool,
}

/// What strangers can fill, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    pub peers_per_swarm: u32,
    pub swarms: u64,
    pub peers: u64,
}

/// Keys and sessions of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// An old key works for so long.
    pub rotate_grace: Duration,
    /// More networks than this for one key are an alarm.
    pub networks_alarm: Option<NonZero<u32>>,
    /// A network is remembered for so long.
    pub networks_age: Duration,
    /// A session is remembered for so long.
    pub session_age: Duration,
    pub peers_per_torrent: u32,
}

/// What may be registered, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torrents {
    pub open: bool,
    pub require_private: bool,
    pub source: Option<String>,
    /// A reason of removal is told for so long.
    pub removed_age: Duration,
}

/// Accounts and what bytes count for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    pub flush: Duration,
    pub tariff: Tariff,
    /// The tariff's last second.
    pub tariff_until: Option<Date>,
    /// From here on a client is too fast to be true.
    pub fast_bytes_per_sec: Option<NonZero<u64>>,
}

/// Which clients may announce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

impl Default for Config {
    /// The documented defaults, but for anyone, and with nothing kept on disk.
    fn default() -> Self {
        let derived = Derived {
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 6970))),
            public_url: None,
            tariff_until: None,
        };
        Self {
            mode: Mode::Public(Admission::Everyone),
            data: None,
            ..Self::of(&File::default(), derived)
        }
    }
}

impl TryFrom<&File> for Config {
    type Error = ConfigError;

    fn try_from(file: &File) -> Result<Self, ConfigError> {
        check(file)?;
        let derived = Derived {
            admin: admin_address(&file.admin.listen)?,
            public_url: public_url(&file.tracker.public_url)?,
            tariff_until: date("accounts.tariff_until", &file.accounts.tariff_until)?,
        };
        Ok(Self::of(file, derived))
    }
}

/// What is written as text and read into something else.
struct Derived {
    admin: Option<SocketAddr>,
    public_url: Option<String>,
    tariff_until: Option<Date>,
}

impl Config {
    fn of(file: &File, derived: Derived) -> Self {
        let tracker = &file.tracker;
        Self {
            mode: if tracker.public {
                Mode::Public(Admission::Everyone)
            } else {
                Mode::Private
            },
            data: Some(tracker.data.clone()),
            log: tracker.log.clone(),
            public_url: derived.public_url,
            http: (&file.http).into(),
            admin: derived.admin,
            announce: (&file.announce).into(),
            scrape: (&file.scrape).into(),
            limits: (&file.limits).into(),
            members: (&file.members).into(),
            torrents: (&file.torrents).into(),
            accounts: accounts(&file.accounts, derived.tariff_until),
            clients: (&file.clients).into(),
            snapshot: Duration::from_secs(file.snapshot.secs),
            reachability: file.reachability.check,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::from(&HttpSection::default())
    }
}

impl Default for Announce {
    fn default() -> Self {
        Self::from(&AnnounceSection::default())
    }
}

impl From<&HttpSection> for Http {
    fn from(section: &HttpSection) -> Self {
        let tls = Tls {
            listen: section.tls_listen.clone(),
            certificate: PathBuf::from(&section.tls_certificate),
            key: PathBuf::from(&section.tls_key),
        };
        Self {
            listen: section.listen.clone(),
            unix: section.unix.clone(),
            tls: (!tls.listen.is_empty()).then_some(tls),
            trusted_proxies: section.trusted_proxies.clone(),
            fast_lane: section.fast_lane,
            lanes: NonZero::new(section.lanes),
            head_bytes: section.head_bytes,
            head_time: Duration::from_secs(section.head_secs),
            idle_time: Duration::from_secs(section.idle_secs),
            write_time: Duration::from_secs(section.write_secs),
        }
    }
}

impl From<&AnnounceSection> for Announce {
    fn from(section: &AnnounceSection) -> Self {
        Self {
            interval: Duration::from_secs(section.interval_secs),
            jitter: Duration::from_secs(section.jitter_secs),
            min_interval: Duration::from_secs(section.min_interval_secs),
            small_interval: Duration::from_secs(section.small_interval_secs),
            small_peers: section.small_peers,
            young: Duration::from_secs(section.young_secs),
            load_per_sec: section.load_per_sec,
            peer_timeout: Duration::from_secs(section.peer_timeout_secs),
            numwant: section.numwant,
            numwant_max: section.numwant_max,
            external_addresses: section.external_addresses.clone(),
        }
    }
}

impl From<&ScrapeSection> for Scrape {
    fn from(section: &ScrapeSection) -> Self {
        Self {
            hashes_max: section.hashes_max,
            full: section.full,
        }
    }
}

impl From<&LimitsSection> for Limits {
    fn from(section: &LimitsSection) -> Self {
        Self {
            connections: section.connections,
            connections_per_address: section.connections_per_address,
            peers_per_swarm: section.peers_per_swarm,
            swarms: section.swarms,
            peers: section.peers,
        }
    }
}

impl From<&MembersSection> for Members {
    fn from(section: &MembersSection) -> Self {
        Self {
            rotate_grace: Duration::from_secs(section.rotate_grace_secs),
            networks_alarm: NonZero::new(section.networks_alarm),
            networks_age: DAY * section.networks_days,
            session_age: DAY * section.session_days,
            peers_per_torrent: section.peers_per_torrent,
        }
    }
}

impl From<&TorrentsSection> for Torrents {
    fn from(section: &TorrentsSection) -> Self {
        Self {
            open: section.open,
            require_private: section.require_private,
            source: Some(section.source.clone()).filter(|source| !source.is_empty()),
            removed_age: DAY * section.removed_days,
        }
    }
}

impl From<&ClientsSection> for Clients {
    fn from(section: &ClientsSection) -> Self {
        Self {
            allow: section.allow.clone(),
            deny: section.deny.clone(),
        }
    }
}

fn accounts(section: &AccountsSection, tariff_until: Option<Date>) -> Accounts {
    Accounts {
        flush: Duration::from_secs(section.flush_secs),
        tariff: Tariff {
            upload_percent: section.upload_percent,
            download_percent: section.download_percent,
        },
        tariff_until,
        fast_bytes_per_sec: NonZero::new(u64::from(section.fast_mbytes_per_sec) * 1_000_000),
    }
}
