//! Settings: what a file and the environment say ([`File`]), and what that means ([`Config`]). Defaults give way to a TOML
//! file, that to variables such as `SEEDER__PEERS__LISTEN`, and those to flags.

mod file;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge::settings::{ConfigError, Loaded, Names, within};
use tracing_subscriber::EnvFilter;

pub use file::{
    AdminSection, DiskSection, File, GoalsSection, PeersSection, RatesSection, SeederSection, WebSeedSection,
};

use crate::engine::{Allocation, Check, Encryption, Goals, Limits, Options, Rates};
use crate::torrent::schedule::Rule;
use crate::units::Rate;
use crate::web::WebSettings;

/// The one variable that is no setting: it names the file.
pub const CONFIG_VARIABLE: &str = "SEEDER__CONFIG";

/// The port of everyone's peers (DESIGN §2), unless said otherwise.
pub const DEFAULT_PORT: u16 = 16_881;

/// One port on every address of both families.
pub fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![
        (Ipv4Addr::UNSPECIFIED, port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ]
}

const NAMES: Names = Names {
    program: "SEEDER",
    // Flags of all commands read the last three.
    others: &[CONFIG_VARIABLE, "SEEDER__DATA", "SEEDER__LISTEN", "SEEDER__LOG"],
    paths: &["data"],
};

/// The file that we ship. It names every setting; a test sees to it.
const SHIPPED: &str = include_str!("../../../deploy/seeder.toml");

/// MiB between sockets and disks, at least: half of it must be enough to begin a download.
const BUFFERS_MIN: usize = 4;

/// The same, at most.
const BUFFERS_MAX: usize = 65_536;

/// What the settings mean.
#[derive(Clone, Debug)]
pub struct Config {
    /// None is the system's place.
    pub data: Option<PathBuf>,
    pub log: String,
    pub listen: Vec<SocketAddr>,
    pub encryption: Encryption,
    pub limits: Limits,
    pub rates: Rates,
    /// How torrents are treated whose adder says nothing of it.
    pub options: Options,
    pub allocation: Allocation,
    pub admin: Option<SocketAddr>,
    pub admin_hosts: Vec<String>,
    pub web_seed: Option<WebSettings>,
}

/// Merges the file and the variables.
pub fn load(
    path: Option<&Path>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Loaded<File>, ConfigError> {
    edge::settings::load(NAMES, path, variables)
}

/// Whether a variable of this name is a setting.
pub fn reads(name: &str) -> bool {
    edge::settings::reads::<File>(NAMES, name)
}

impl File {
    /// These settings as TOML, each below the sentence that explains it. With defaults it is the file that we ship.
    pub fn explained(&self) -> String {
        edge::settings::explained(SHIPPED, self)
    }
}

impl TryFrom<&File> for Config {
    type Error = ConfigError;

    fn try_from(file: &File) -> Result<Self, ConfigError> {
        let log = &file.seeder.log;
        let readable = EnvFilter::try_new(log).is_ok();
        within(
            "seeder.log",
            log,
            readable,
            "error, warn, info, debug, trace, or a filter such as seeder::net=debug",
        )?;
        let data = &file.seeder.data;
        Ok(Self {
            data: (!data.as_os_str().is_empty()).then(|| data.clone()),
            log: log.clone(),
            listen: listen(&file.peers)?,
            encryption: encryption(&file.peers.encryption)?,
            limits: limits(&file.peers, &file.disk)?,
            rates: rates(&file.rates, &file.peers)?,
            options: Options {
                check: check(&file.disk.check)?,
                goals: goals(&file.goals)?,
                ..Options::default()
            },
            allocation: allocation(&file.disk.allocation)?,
            admin: address("admin.listen", &file.admin.listen)?,
            admin_hosts: file.admin.hosts.clone(),
            web_seed: web_seed(&file.web_seed)?,
        })
    }
}

fn listen(peers: &PeersSection) -> Result<Vec<SocketAddr>, ConfigError> {
    let some = !peers.listen.is_empty();
    within("peers.listen", "[]", some, "at least one address and port")?;
    Ok(peers.listen.clone())
}

fn encryption(text: &str) -> Result<Encryption, ConfigError> {
    let all = [
        ("prefer", Encryption::Prefer),
        ("require", Encryption::Require),
        ("off", Encryption::Off),
    ];
    word("peers.encryption", text, &all, "prefer, require or off")
}

fn check(text: &str) -> Result<Check, ConfigError> {
    let all = [
        ("lazy", Check::Lazy),
        ("quick", Check::Quick),
        ("full", Check::Full),
    ];
    word("disk.check", text, &all, "lazy, quick or full")
}

fn allocation(text: &str) -> Result<Allocation, ConfigError> {
    let all = [("sparse", Allocation::Sparse), ("full", Allocation::Full)];
    word("disk.allocation", text, &all, "sparse or full")
}

/// The value that a word stands for.
fn word<T: Copy>(
    key: &'static str,
    text: &str,
    all: &[(&str, T)],
    allowed: &'static str,
) -> Result<T, ConfigError> {
    let found = all.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| ConfigError::Range {
        key,
        value: format!("{text:?}"),
        allowed,
    })
}

fn limits(peers: &PeersSection, disk: &DiskSection) -> Result<Limits, ConfigError> {
    for (key, number) in [
        ("peers.connections", peers.connections),
        ("peers.connections_per_address", peers.connections_per_address),
        ("peers.half_open", peers.half_open),
        ("peers.open_files", peers.open_files),
    ] {
        within(
            key,
            number,
            (1..=1_000_000).contains(&number),
            "from 1 to 1000000",
        )?;
    }
    let buffers = disk.buffers_mib;
    within(
        "disk.buffers_mib",
        buffers,
        (BUFFERS_MIN..=BUFFERS_MAX).contains(&buffers),
        "from 4 to 65536",
    )?;
    Ok(Limits {
        connections: peers.connections,
        connections_per_address: peers.connections_per_address,
        half_open: peers.half_open,
        open_files: peers.open_files,
        disk_buffers: buffers << 20,
        ..Limits::default()
    })
}

fn rates(rates: &RatesSection, peers: &PeersSection) -> Result<Rates, ConfigError> {
    for rule in &rates.schedule {
        rule.parse::<Rule>().map_err(|error| ConfigError::List {
            key: "rates.schedule",
            why: format!("{rule:?}: {error}"),
        })?;
    }
    Ok(Rates {
        upload: rate("rates.upload", &rates.upload)?,
        download: rate("rates.download", &rates.download)?,
        lan_upload: rate("rates.lan_upload", &rates.lan_upload)?,
        lan_download: rate("rates.lan_download", &rates.lan_download)?,
        schedule: rates.schedule.clone(),
        connections: Some(peers.connections),
        connections_per_torrent: Some(peers.connections_per_torrent).filter(|bound| *bound > 0),
    })
}

fn rate(key: &'static str, text: &str) -> Result<Option<u64>, ConfigError> {
    let rate: Result<Rate, _> = text.parse();
    rate.map(|rate| rate.0).map_err(|error| ConfigError::Value {
        key,
        value: format!("{text:?}"),
        why: error.to_string(),
    })
}

fn goals(goals: &GoalsSection) -> Result<Goals, ConfigError> {
    let (ratio, hours) = (goals.ratio, goals.hours);
    within(
        "goals.ratio",
        ratio,
        ratio.is_finite() && ratio >= 0.0,
        "a number such as 1.5, or 0 for never",
    )?;
    within("goals.hours", hours, hours <= 876_000, "from 0 to 876000")?;
    Ok(Goals {
        ratio: Some(ratio).filter(|ratio| *ratio > 0.0),
        time: (hours > 0).then(|| Duration::from_secs(hours * 3_600)),
        copies: Some(goals.copies).filter(|copies| *copies > 0),
    })
}

fn web_seed(section: &WebSeedSection) -> Result<Option<WebSettings>, ConfigError> {
    let listen = address("web_seed.listen", &section.listen)?;
    Ok(listen.map(|listen| WebSettings {
        listen,
        private: section.private,
    }))
}

/// A port; none where it is switched off.
fn address(key: &'static str, text: &str) -> Result<Option<SocketAddr>, ConfigError> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| ConfigError::Range {
        key,
        value: format!("{text:?}"),
        allowed: "an address and a port such as 127.0.0.1:6980, or off",
    })
}
