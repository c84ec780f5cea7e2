//! What can be set, as it stands in a file. A field's comment is its manual; `deploy/tracker.toml` repeats it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The whole of what can be set. `tracker config print` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    pub tracker: TrackerSection,
    pub http: HttpSection,
    pub admin: AdminSection,
    pub announce: AnnounceSection,
    pub scrape: ScrapeSection,
    pub limits: LimitsSection,
    pub members: MembersSection,
    pub torrents: TorrentsSection,
    pub accounts: AccountsSection,
    pub clients: ClientsSection,
    pub snapshot: SnapshotSection,
    pub reachability: ReachabilitySection,
}

/// `[tracker]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackerSection {
    /// The folder for state; one tracker owns it. Made when missing.
    pub data: PathBuf,
    /// Serves anyone, without members.
    pub public: bool,
    /// What is logged on standard error: error, warn, info, debug, trace, or a filter such as `tracker::http=debug`.
    pub log: String,
    /// The address that others use, such as `https://tracker.example`: it begins every announce URL that is given out.
    /// Empty is the best address that this machine has, with a warning.
    pub public_url: String,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    /// Where announces, scrapes and the API are answered.
    pub listen: Vec<SocketAddr>,
    /// Unix sockets where the same is answered, for a proxy on this machine.
    pub unix: Vec<PathBuf>,
    /// Where the same is answered over TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// The certificate chain and its key, as PEM. Both files are watched and read again when they change.
    pub tls_certificate: String,
    pub tls_key: String,
    /// Networks whose `X-Forwarded-For` and `Forwarded` are believed, such as `127.0.0.0/8`. From elsewhere they are ignored.
    pub trusted_proxies: Vec<IpNet>,
    /// Answers announces and scrapes ahead of the general HTTP server.
    pub fast_lane: bool,
    /// Threads of the fast lane; 0 is one a core.
    pub lanes: usize,
    /// The longest head of a request, in bytes.
    pub head_bytes: usize,
    /// A head must be whole within this time.
    pub head_secs: u64,
    /// A kept connection may be silent for so long; off the fast lane, for as long as a head may take.
    pub idle_secs: u64,
    /// An answer must be taken within this time.
    pub write_secs: u64,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// Where `/metrics` and `/health` are answered; `off` is nowhere.
    pub listen: String,
}

/// `[announce]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnnounceSection {
    /// How often clients shall announce, on average.
    pub interval_secs: u64,
    /// Each client is told up to so much more or less, so that they do not come in waves.
    pub jitter_secs: u64,
    /// How often they may.
    pub min_interval_secs: u64,
    /// How often they shall in a swarm that is small and young: peers find each other soon.
    pub small_interval_secs: u64,
    /// So many peers are a small swarm.
    pub small_peers: u32,
    /// For so long after its first peer a swarm is young.
    pub young_secs: u64,
    /// With more announces a second than this, all intervals become longer.
    pub load_per_sec: u32,
    /// A peer that has not announced for so long is forgotten.
    pub peer_timeout_secs: u64,
    /// Peers in an answer, where the client does not say how many it wants.
    pub numwant: u32,
    /// Peers in an answer, at most.
    pub numwant_max: u32,
    /// This network's addresses as others see them, at most one a family: given to peers elsewhere instead of a
    /// private address.
    pub external_addresses: Vec<IpAddr>,
}

/// `[scrape]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrapeSection {
    /// Torrents in one scrape, at most.
    pub hashes_max: usize,
    /// Answers a scrape that names no torrent with all of them; only in public mode.
    pub full: bool,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Open connections in all.
    pub connections: usize,
    /// Open connections from one IPv4 address or IPv6 /64. This machine itself is exempt: a proxy may speak for many.
    pub connections_per_address: usize,
    /// Peers in one swarm.
    pub peers_per_swarm: u32,
    /// Swarms in all.
    pub swarms: u64,
    /// Peers in all; ten million take about 100 MB in IPv4 and 250 MB in IPv6, beside 100 bytes a swarm. With members, whose
    /// peers are known by name, it is 800 MB.
    pub peers: u64,
}

/// `[members]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MembersSection {
    /// After `member rotate` the old key works for so long.
    pub rotate_grace_secs: u64,
    /// A key that is seen from more networks (IPv4 /24, IPv6 /64) than this raises an alarm; 0 is never.
    pub networks_alarm: u32,
    /// A network counts for so many days, and no address is remembered longer.
    pub networks_days: u32,
    /// The counters of a client that is away are remembered for so many days: when it comes back it goes on from there.
    pub session_days: u32,
    /// Live peers of one member in one torrent, at most.
    pub peers_per_torrent: u32,
}

/// `[torrents]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TorrentsSection {
    /// A torrent that nobody registered is registered by its first announce.
    pub open: bool,
    /// A torrent that is not private is refused, unless `torrent add --private` makes it so.
    pub require_private: bool,
    /// Is written as `source` into every torrent that has another or none, which changes its info-hash. Empty leaves it alone.
    pub source: String,
    /// For so many days clients are told why a torrent was removed.
    pub removed_days: u32,
}

/// `[accounts]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsSection {
    /// How often the accounts are written into the database.
    pub flush_secs: u64,
    /// What a byte given counts for, in hundredths, where a torrent says nothing else.
    pub upload_percent: u16,
    /// What a byte taken counts for, in hundredths; 0 is a freeleech.
    pub download_percent: u16,
    /// Both percentages are 100 after this date, such as `2026-12-31T23:59:59Z`. Empty is never.
    pub tariff_until: String,
    /// A client that is faster than this is marked for the owner to look at, in megabytes; 0 is never.
    pub fast_mbytes_per_sec: u32,
}

/// `[clients]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientsSection {
    /// Only these may announce: a client's name or the two letters in its peer id (`Transmission`, `TR`), with a version
    /// (`qB>=4.5`), or the beginning of a peer id (`-XX00`). Empty is all.
    pub allow: Vec<String>,
    /// These may not, in the same words.
    pub deny: Vec<String>,
}

/// `[snapshot]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotSection {
    /// How often the swarms are written to disk, so that a restart finds them; also done at every stop.
    pub secs: u64,
}

/// `[reachability]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReachabilitySection {
    /// Tries in the background to connect to peers, and names those first that can be reached. Tells peers this machine's
    /// address.
    pub check: bool,
}

impl Default for TrackerSection {
    fn default() -> Self {
        Self {
            data: PathBuf::from("tracker-data"),
            public: false,
            log: "info".to_owned(),
            public_url: String::new(),
        }
    }
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0; 4], 6969)), SocketAddr::from(([0; 8], 6969))],
            unix: Vec::new(),
            tls_listen: Vec::new(),
            tls_certificate: String::new(),
            tls_key: String::new(),
            trusted_proxies: Vec::new(),
            fast_lane: true,
            lanes: 0,
            head_bytes: 16 * 1024,
            head_secs: 10,
            idle_secs: 30,
            write_secs: 30,
        }
    }
}

impl Default for AdminSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:6970".to_owned(),
        }
    }
}

impl Default for AnnounceSection {
    fn default() -> Self {
        Self {
            interval_secs: 1_800,
            jitter_secs: 180,
            min_interval_secs: 300,
            small_interval_secs: 120,
            small_peers: 10,
            young_secs: 1_800,
            load_per_sec: 2_000,
            peer_timeout_secs: 3_900,
            numwant: 50,
            numwant_max: 200,
            external_addresses: Vec::new(),
        }
    }
}

impl Default for ScrapeSection {
    fn default() -> Self {
        Self {
            hashes_max: 100,
            full: false,
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 1_024,
            peers_per_swarm: 200_000,
            swarms: 1_000_000,
            peers: 10_000_000,
        }
    }
}

impl Default for MembersSection {
    fn default() -> Self {
        Self {
            rotate_grace_secs: 7 * 86_400,
            networks_alarm: 8,
            networks_days: 7,
            session_days: 60,
            peers_per_torrent: 16,
        }
    }
}

impl Default for TorrentsSection {
    fn default() -> Self {
        Self {
            open: false,
            require_private: false,
            source: String::new(),
            removed_days: 30,
        }
    }
}

impl Default for AccountsSection {
    fn default() -> Self {
        Self {
            flush_secs: 5,
            upload_percent: 100,
            download_percent: 100,
            tariff_until: String::new(),
            fast_mbytes_per_sec: 1_250,
        }
    }
}

impl Default for SnapshotSection {
    fn default() -> Self {
        Self { secs: 300 }
    }
}
