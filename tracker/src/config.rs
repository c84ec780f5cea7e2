//! Settings: what a file and the environment say ([`File`]), and what that means ([`Config`]). Defaults give way to a TOML
//! file, that to variables such as `TRACKER__HTTP__LISTEN`, and those to flags. A misspelt key is an error, a misspelt
//! variable a warning: neither becomes a default in silence.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

pub use crate::http::desk::Admission;

/// Every variable of ours begins so.
const PREFIX: &str = "TRACKER__";

/// The one variable that is no setting: it names the file.
pub(crate) const CONFIG_VARIABLE: &str = "TRACKER__CONFIG";

/// The whole of what can be set, as it stands in a file. `tracker config print` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    pub tracker: TrackerSection,
    pub http: HttpSection,
    pub admin: AdminSection,
    pub announce: AnnounceSection,
    pub scrape: ScrapeSection,
    pub limits: LimitsSection,
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
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    /// Where announces and scrapes are answered.
    pub listen: Vec<SocketAddr>,
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
    /// Answers a scrape that names no torrent with all of them.
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
    /// Peers in all; ten million take about 100 MB in IPv4 and 250 MB in IPv6, beside 100 bytes a swarm.
    pub peers: u64,
}

impl Default for TrackerSection {
    fn default() -> Self {
        Self {
            data: PathBuf::from("tracker-data"),
            public: false,
            log: "info".to_owned(),
        }
    }
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0; 4], 6969)), SocketAddr::from(([0; 8], 6969))],
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

/// What was typed instead of being written into a file. Empty means "not typed".
#[derive(Clone, Debug, Default)]
pub struct Typed {
    pub data: Option<PathBuf>,
    pub http: Vec<SocketAddr>,
    pub admin: Option<String>,
    pub public: bool,
    pub log: Option<String>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings in {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {why}")]
    File {
        path: PathBuf,
        why: Box<toml::de::Error>,
    },
    #[error("{name}={value}: {why}")]
    Variable {
        name: String,
        value: String,
        why: String,
    },
    #[error("{key} = {value} is out of range: {allowed}")]
    Range {
        key: &'static str,
        value: String,
        allowed: &'static str,
    },
}

/// The settings, and the variables with our prefix that nothing reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub file: File,
    pub unread: Vec<String>,
}

/// Merges all sources of settings.
pub fn load(
    path: Option<&Path>,
    variables: impl Iterator<Item = (OsString, OsString)>,
    typed: Typed,
) -> Result<Loaded, ConfigError> {
    let (mut file, mut table) = path.map_or(Ok(Default::default()), read)?;
    let settings = settings();
    let mut unread = Vec::new();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        match settings.get(&name) {
            Some(setting) => file = setting.put(&mut table, name, value)?,
            None if name.starts_with("TRACKER_") && name != CONFIG_VARIABLE => unread.push(name),
            None => (),
        }
    }
    typed.put_into(&mut file);
    Ok(Loaded { file, unread })
}

/// Reads a file, typed and as a table; where a key or a value is wrong, the error names its line.
fn read(path: &Path) -> Result<(File, toml::Table), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let parsed = toml::from_str(&text).and_then(|file| Ok((file, toml::from_str(&text)?)));
    parsed.map_err(|why| ConfigError::File {
        path: path.to_owned(),
        why: Box::new(why),
    })
}

/// Where a variable's value belongs, and what it replaces.
struct Setting {
    section: String,
    key: String,
    default: toml::Value,
}

/// One variable for every setting.
fn settings() -> BTreeMap<String, Setting> {
    let mut all = BTreeMap::new();
    for (section, keys) in toml::Table::try_from(File::default()).unwrap_or_default() {
        let Ok(keys) = keys.try_into::<toml::Table>() else {
            continue;
        };
        for (key, default) in keys {
            let name = format!("{PREFIX}{section}__{key}").to_ascii_uppercase();
            let section = section.clone();
            all.insert(
                name,
                Setting {
                    section,
                    key,
                    default,
                },
            );
        }
    }
    all
}

impl Setting {
    /// Puts what a variable says into the table, and reads all of it anew.
    fn put(&self, table: &mut toml::Table, name: String, value: OsString) -> Result<File, ConfigError> {
        let refused = |value: String, why: &str| ConfigError::Variable {
            name,
            value,
            why: why.to_owned(),
        };
        let text = match value.into_string() {
            Ok(text) => text,
            Err(value) => return Err(refused(value.to_string_lossy().into_owned(), "is not UTF-8")),
        };
        let section = table
            .entry(&self.section)
            .or_insert_with(|| toml::Table::new().into());
        if let Some(section) = section.as_table_mut() {
            section.insert(self.key.clone(), self.value(&text));
        }
        let file = table.clone().try_into();
        file.map_err(|error: toml::de::Error| refused(text, error.message()))
    }

    /// The text as the kind of value that the setting has; what is no such value stays a text, which is refused later.
    fn value(&self, text: &str) -> toml::Value {
        let other = || toml::Value::from(text);
        match self.default {
            toml::Value::Integer(_) => text.parse().map_or_else(|_| other(), toml::Value::Integer),
            toml::Value::Boolean(_) => text.parse().map_or_else(|_| other(), toml::Value::Boolean),
            toml::Value::Array(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(toml::Value::from).collect::<Vec<_>>().into()
            }
            _ => other(),
        }
    }
}

impl Typed {
    fn put_into(self, file: &mut File) {
        if let Some(data) = self.data {
            file.tracker.data = data;
        }
        if !self.http.is_empty() {
            file.http.listen = self.http;
        }
        if let Some(admin) = self.admin {
            file.admin.listen = admin;
        }
        if let Some(log) = self.log {
            file.tracker.log = log;
        }
        file.tracker.public |= self.public;
    }
}

/// What a tracker needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where announces and scrapes are answered; port 0 picks one.
    pub http: Vec<SocketAddr>,
    /// Where metrics and health are.
    pub admin: Option<SocketAddr>,
    pub admission: Admission,
    /// The folder that this tracker alone owns; none where nothing is kept.
    pub data: Option<PathBuf>,
    pub fast_lane: bool,
    /// Threads of the fast lane; none is one a core.
    pub lanes: Option<NonZero<usize>>,
    /// The longest head of a request.
    pub head_bytes: usize,
    pub head_time: Duration,
    pub idle_time: Duration,
    pub write_time: Duration,
    pub connections: usize,
    pub connections_per_address: usize,
    pub interval: Duration,
    pub jitter: Duration,
    pub min_interval: Duration,
    pub peer_timeout: Duration,
    pub numwant: u32,
    pub numwant_max: u32,
    pub external_addresses: Vec<IpAddr>,
    pub scrape_hashes_max: usize,
    pub full_scrape: bool,
    pub peers_per_swarm: u32,
    pub swarms: u64,
    pub peers: u64,
}

impl Default for Config {
    /// The documented defaults: both families on port 6969, the owner's port on this machine, nothing kept on disk.
    fn default() -> Self {
        Self {
            data: None,
            ..Self::of(&File::default(), Some(SocketAddr::from(([127, 0, 0, 1], 6970))))
        }
    }
}

impl TryFrom<&File> for Config {
    type Error = ConfigError;

    fn try_from(file: &File) -> Result<Self, ConfigError> {
        check(file)?;
        Ok(Self::of(file, admin_address(&file.admin.listen)?))
    }
}

impl Config {
    fn of(file: &File, admin: Option<SocketAddr>) -> Self {
        let File {
            tracker,
            http,
            announce,
            scrape,
            limits,
            ..
        } = file;
        Self {
            http: http.listen.clone(),
            admin,
            admission: Admission::Everyone,
            data: Some(tracker.data.clone()),
            fast_lane: http.fast_lane,
            lanes: NonZero::new(http.lanes),
            head_bytes: http.head_bytes,
            head_time: Duration::from_secs(http.head_secs),
            idle_time: Duration::from_secs(http.idle_secs),
            write_time: Duration::from_secs(http.write_secs),
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            interval: Duration::from_secs(announce.interval_secs),
            jitter: Duration::from_secs(announce.jitter_secs),
            min_interval: Duration::from_secs(announce.min_interval_secs),
            peer_timeout: Duration::from_secs(announce.peer_timeout_secs),
            numwant: announce.numwant,
            numwant_max: announce.numwant_max,
            external_addresses: announce.external_addresses.clone(),
            scrape_hashes_max: scrape.hashes_max,
            full_scrape: scrape.full,
            peers_per_swarm: limits.peers_per_swarm,
            swarms: limits.swarms,
            peers: limits.peers,
        }
    }
}

/// The owner's port; none where it is switched off.
fn admin_address(text: &str) -> Result<Option<SocketAddr>, ConfigError> {
    if text == "off" {
        return Ok(None);
    }
    let allowed = "an address and a port such as 127.0.0.1:6970, or off";
    let range = |_| ConfigError::Range {
        key: "admin.listen",
        value: text.to_owned(),
        allowed,
    };
    text.parse().map(Some).map_err(range)
}

/// Numbers that fit their types and still make no sense.
fn check(file: &File) -> Result<(), ConfigError> {
    let log = &file.tracker.log;
    within(
        "tracker.log",
        log,
        EnvFilter::try_new(log).is_ok(),
        "error, warn, info, debug, trace, or a filter such as tracker::http=debug",
    )?;
    check_http(&file.http)?;
    check_announce(&file.announce)?;
    let hashes = file.scrape.hashes_max;
    within(
        "scrape.hashes_max",
        hashes,
        (1..=1_000).contains(&hashes),
        "from 1 to 1000",
    )?;
    let limits = &file.limits;
    for (key, positive) in [
        ("limits.connections", limits.connections > 0),
        (
            "limits.connections_per_address",
            limits.connections_per_address > 0,
        ),
        ("limits.peers_per_swarm", limits.peers_per_swarm > 0),
        ("limits.swarms", limits.swarms > 0),
        ("limits.peers", limits.peers > 0),
    ] {
        within(key, 0, positive, "at least 1")?;
    }
    Ok(())
}

fn check_http(http: &HttpSection) -> Result<(), ConfigError> {
    let (lanes, head) = (http.lanes, http.head_bytes);
    within(
        "http.listen",
        "[]",
        !http.listen.is_empty(),
        "at least one address",
    )?;
    within("http.lanes", lanes, lanes <= 1_024, "from 0 to 1024")?;
    within(
        "http.head_bytes",
        head,
        (1_024..=65_536).contains(&head),
        "from 1024 to 65536",
    )?;
    for (key, secs) in [
        ("http.head_secs", http.head_secs),
        ("http.idle_secs", http.idle_secs),
        ("http.write_secs", http.write_secs),
    ] {
        within(key, secs, (1..=3_600).contains(&secs), "from 1 to 3600")?;
    }
    Ok(())
}

fn check_announce(announce: &AnnounceSection) -> Result<(), ConfigError> {
    let (interval, jitter) = (announce.interval_secs, announce.jitter_secs);
    let (min, timeout) = (announce.min_interval_secs, announce.peer_timeout_secs);
    let (numwant, most) = (announce.numwant, announce.numwant_max);
    let external = &announce.external_addresses;
    let v4 = external.iter().filter(|address| address.is_ipv4()).count();
    let one_each = v4 <= 1 && external.len() - v4 <= 1;
    let patient = timeout > interval.saturating_add(jitter) && timeout <= 172_800;
    within(
        "announce.interval_secs",
        interval,
        (1..=86_400).contains(&interval),
        "from 1 to 86400",
    )?;
    within(
        "announce.jitter_secs",
        jitter,
        jitter < interval,
        "less than announce.interval_secs",
    )?;
    within(
        "announce.min_interval_secs",
        min,
        min <= interval,
        "at most announce.interval_secs",
    )?;
    within(
        "announce.peer_timeout_secs",
        timeout,
        patient,
        "more than interval and jitter, at most 172800",
    )?;
    within("announce.numwant_max", most, most <= 2_000, "at most 2000")?;
    within(
        "announce.numwant",
        numwant,
        numwant <= most,
        "at most announce.numwant_max",
    )?;
    within(
        "announce.external_addresses",
        external.len(),
        one_each,
        "at most one of each family",
    )
}

fn within(
    key: &'static str,
    value: impl ToString,
    fits: bool,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    if fits {
        Ok(())
    } else {
        Err(ConfigError::Range {
            key,
            value: value.to_string(),
            allowed,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn loaded(text: &str, pairs: &[(&str, &str)], typed: Typed) -> Result<Loaded, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(Some(file.path()), variables(pairs).into_iter(), typed)
    }

    #[track_caller]
    fn refused(text: &str, pairs: &[(&str, &str)], words: &[&str]) {
        let error = loaded(text, pairs, Typed::default())
            .and_then(|loaded| Config::try_from(&loaded.file).map(|_| ()))
            .unwrap_err()
            .to_string();
        for word in words {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
    }

    #[test]
    fn nothing_said_is_the_documented_defaults() {
        let loaded = load(None, std::iter::empty(), Typed::default()).unwrap();
        assert_eq!(
            loaded,
            Loaded {
                file: File::default(),
                unread: Vec::new()
            }
        );
        let config = Config::try_from(&loaded.file).unwrap();
        assert_eq!(
            config.http,
            ["0.0.0.0:6969".parse().unwrap(), "[::]:6969".parse().unwrap()]
        );
        assert_eq!(config.admin, Some("127.0.0.1:6970".parse().unwrap()));
    }

    #[test]
    fn flags_beat_variables_and_variables_beat_the_file() {
        let text = "[http]\nlisten = [\"127.0.0.1:1\"]\nlanes = 1\nidle_secs = 7";
        let pairs = [
            ("TRACKER__HTTP__LISTEN", "127.0.0.1:2,[::1]:2"),
            ("TRACKER__HTTP__LANES", "2"),
        ];
        let file = loaded(text, &pairs, Typed::default()).unwrap().file;
        assert_eq!(
            file.http.listen,
            ["127.0.0.1:2".parse().unwrap(), "[::1]:2".parse().unwrap()]
        );
        assert_eq!((file.http.lanes, file.http.idle_secs), (2, 7));
        let typed = Typed {
            http: vec!["127.0.0.1:3".parse().unwrap()],
            ..Typed::default()
        };
        let file = loaded(text, &pairs, typed).unwrap().file;
        assert_eq!(file.http.listen, ["127.0.0.1:3".parse().unwrap()]);
    }

    #[test]
    fn every_kind_of_setting_can_come_from_a_variable() {
        let pairs = [
            ("TRACKER__TRACKER__DATA", "/srv/tracker"),
            ("TRACKER__TRACKER__PUBLIC", "true"),
            ("TRACKER__ADMIN__LISTEN", "off"),
            ("TRACKER__ANNOUNCE__EXTERNAL_ADDRESSES", "192.0.2.1,2001:db8::1"),
        ];
        let file = loaded("", &pairs, Typed::default()).unwrap().file;
        assert_eq!(file.tracker.data, PathBuf::from("/srv/tracker"));
        assert!(file.tracker.public);
        assert_eq!(Config::try_from(&file).unwrap().admin, None);
        assert_eq!(file.announce.external_addresses.len(), 2);
    }

    #[test]
    fn a_misspelt_key_is_an_error_with_its_line() {
        refused(
            "[http]\nlanes = 1\nlisen = []\n",
            &[],
            &["line 3", "lisen", "listen"],
        );
        refused("[htp]\n", &[], &["line 1", "htp"]);
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        refused("[http]\nlanes = \"many\"\n", &[], &["line 2", "many"]);
        refused(
            "[admin]\nlisten = \"here\"\n",
            &[],
            &["admin.listen", "here", "off"],
        );
        refused(
            "[http]\nhead_secs = 0\n",
            &[],
            &["http.head_secs", "0", "from 1 to 3600"],
        );
        refused(
            "[announce]\nmin_interval_secs = 9999\n",
            &[],
            &["announce.min_interval_secs", "9999"],
        );
        refused("[http]\nlisten = []\n", &[], &["http.listen", "at least one"]);
    }

    #[test]
    fn a_variable_that_does_not_fit_is_named_with_its_value() {
        for (name, value) in [
            ("TRACKER__HTTP__LANES", "many"),
            ("TRACKER__HTTP__LANES", "1.7"),
            ("TRACKER__LIMITS__PEERS", "-1"),
            ("TRACKER__LIMITS__PEERS", "99999999999999999999"),
            ("TRACKER__TRACKER__PUBLIC", "perhaps"),
            ("TRACKER__HTTP__LISTEN", "127.0.0.1:1,localhost:2"),
        ] {
            refused("", &[(name, value)], &[name, value]);
        }
        let strange = [(
            "TRACKER__TRACKER__DATA".into(),
            OsString::from_vec(b"/srv/\xff".to_vec()),
        )];
        let error = load(None, strange.into_iter(), Typed::default()).unwrap_err();
        assert!(error.to_string().contains("UTF-8"), "{error}");
    }

    #[test]
    fn a_list_in_a_variable_may_have_spaces_or_be_empty() {
        let pairs = [
            ("TRACKER__HTTP__LISTEN", "127.0.0.1:1, [::1]:2"),
            ("TRACKER__ANNOUNCE__EXTERNAL_ADDRESSES", ""),
        ];
        let text = "[announce]\nexternal_addresses = [\"192.0.2.1\"]";
        let file = loaded(text, &pairs, Typed::default()).unwrap().file;
        assert_eq!(
            (file.http.listen.len(), file.announce.external_addresses.len()),
            (2, 0)
        );
    }

    #[test]
    fn a_log_filter_that_is_none_is_refused_before_the_tracker_starts() {
        refused(
            "[tracker]\nlog = \"a=b=c\"\n",
            &[],
            &["tracker.log", "a=b=c", "debug"],
        );
    }

    #[test]
    fn variables_that_nothing_reads_are_reported() {
        let pairs = [
            ("TRACKER__HTTP__LISEN", "x"),
            ("TRACKER_HTTP_LISTEN", "x"),
            ("TRACKER__CONFIG", "x"),
        ];
        let unread = loaded("", &pairs, Typed::default()).unwrap().unread;
        assert_eq!(unread, ["TRACKER__HTTP__LISEN", "TRACKER_HTTP_LISTEN"]);
    }

    #[test]
    fn the_file_we_ship_shows_every_setting_with_its_default() {
        let text = include_str!("../../deploy/tracker.toml");
        assert_eq!(toml::from_str::<File>(text).unwrap(), File::default());
        let all = toml::Table::try_from(File::default()).unwrap();
        let shown: toml::Table = text.parse().unwrap();
        assert_eq!(shown, all);
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let text = toml::to_string_pretty(&File::default()).unwrap();
        assert_eq!(
            loaded(&text, &[], Typed::default()).unwrap().file,
            File::default()
        );
    }
}
