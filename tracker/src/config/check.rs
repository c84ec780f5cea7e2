//! Values that fit their types and still make no sense.

use jiff::Timestamp;
use tracing_subscriber::EnvFilter;
use url::Url;

use edge::settings::{ConfigError, within};

use super::file::{
    AccountsSection, AnnounceSection, ClientsSection, File, HttpSection, LimitsSection, MembersSection,
    TorrentsSection,
};
use crate::members::clients::ClientRules;
use crate::members::ids::Date;

/// The longest `source` that is written into a torrent.
const SOURCE_BYTES_MAX: usize = 64;

/// Refuses the first value that makes no sense.
pub(super) fn check(file: &File) -> Result<(), ConfigError> {
    let log = &file.tracker.log;
    within(
        "tracker.log",
        log,
        EnvFilter::try_new(log).is_ok(),
        "error, warn, info, debug, trace, or a filter such as tracker::http=debug",
    )?;
    check_http(&file.http)?;
    check_tls(&file.http)?;
    check_announce(&file.announce)?;
    check_pace(&file.announce)?;
    let hashes = file.scrape.hashes_max;
    within(
        "scrape.hashes_max",
        hashes,
        (1..=1_000).contains(&hashes),
        "from 1 to 1000",
    )?;
    check_limits(&file.limits)?;
    check_members(&file.members)?;
    check_torrents(&file.torrents)?;
    check_accounts(&file.accounts)?;
    check_clients(&file.clients)?;
    let snapshot = file.snapshot.secs;
    within(
        "snapshot.secs",
        snapshot,
        (10..=86_400).contains(&snapshot),
        "from 10 to 86400",
    )
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

/// A certificate, its key and a place to use them come together or not at all.
fn check_tls(http: &HttpSection) -> Result<(), ConfigError> {
    let listens = !http.tls_listen.is_empty();
    for (key, path) in [
        ("http.tls_certificate", &http.tls_certificate),
        ("http.tls_key", &http.tls_key),
    ] {
        // Where the key itself stands instead of its file's name, it must not reach a log.
        within(
            key,
            "…",
            !path.contains('\n') && !path.contains("-----BEGIN"),
            "the name of a PEM file, not its content",
        )?;
        let allowed = if listens {
            "the name of a PEM file, because http.tls_listen is set"
        } else {
            "nothing, because http.tls_listen is empty"
        };
        within(key, format!("{path:?}"), listens != path.is_empty(), allowed)?;
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

/// How the interval bends.
fn check_pace(announce: &AnnounceSection) -> Result<(), ConfigError> {
    let (small, young) = (announce.small_interval_secs, announce.young_secs);
    within(
        "announce.small_interval_secs",
        small,
        (1..=86_400).contains(&small),
        "from 1 to 86400",
    )?;
    within("announce.young_secs", young, young <= 604_800, "from 0 to 604800")?;
    let load = announce.load_per_sec;
    within("announce.load_per_sec", load, load > 0, "at least 1")
}

fn check_limits(limits: &LimitsSection) -> Result<(), ConfigError> {
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

fn check_members(members: &MembersSection) -> Result<(), ConfigError> {
    let (grace, peers) = (members.rotate_grace_secs, members.peers_per_torrent);
    within(
        "members.rotate_grace_secs",
        grace,
        grace <= 31_536_000,
        "from 0 to 31536000, a year",
    )?;
    for (key, number, most, allowed) in [
        (
            "members.networks_alarm",
            members.networks_alarm,
            64,
            "from 0 to 64",
        ),
        ("members.networks_days", members.networks_days, 90, "from 1 to 90"),
        (
            "members.session_days",
            members.session_days,
            3_650,
            "from 1 to 3650",
        ),
    ] {
        let least = u32::from(key != "members.networks_alarm");
        within(key, number, (least..=most).contains(&number), allowed)?;
    }
    within(
        "members.peers_per_torrent",
        peers,
        (1..=1_000).contains(&peers),
        "from 1 to 1000",
    )
}

fn check_torrents(torrents: &TorrentsSection) -> Result<(), ConfigError> {
    let (source, days) = (&torrents.source, torrents.removed_days);
    within(
        "torrents.source",
        source,
        source.len() <= SOURCE_BYTES_MAX && !source.chars().any(char::is_control),
        "at most 64 bytes, without control characters",
    )?;
    within("torrents.removed_days", days, days <= 3_650, "from 0 to 3650")
}

fn check_accounts(accounts: &AccountsSection) -> Result<(), ConfigError> {
    let flush = accounts.flush_secs;
    within(
        "accounts.flush_secs",
        flush,
        (1..=300).contains(&flush),
        "from 1 to 300",
    )?;
    for (key, percent) in [
        ("accounts.upload_percent", accounts.upload_percent),
        ("accounts.download_percent", accounts.download_percent),
    ] {
        within(key, percent, percent <= 1_000, "from 0 to 1000")?;
    }
    Ok(())
}

fn check_clients(clients: &ClientsSection) -> Result<(), ConfigError> {
    for (key, list) in [("clients.allow", &clients.allow), ("clients.deny", &clients.deny)] {
        ClientRules::parse(list, &[]).map_err(|error| ConfigError::List {
            key,
            why: error.to_string(),
        })?;
    }
    Ok(())
}

/// The owner's port; none where it is switched off.
pub(super) fn admin_address(text: &str) -> Result<Option<std::net::SocketAddr>, ConfigError> {
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

/// The address that others use, without a slash at its end; none where it is not set.
pub(super) fn public_url(text: &str) -> Result<Option<String>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused = |why: String| ConfigError::Value {
        key: "tracker.public_url",
        value: text.to_owned(),
        why: format!("{why}; say something like https://tracker.example"),
    };
    let url = Url::parse(text).map_err(|error| refused(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refused("it is no http or https address".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("announce URLs cannot begin with ? or # parts".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ConfigError::Range {
            key: "tracker.public_url",
            value: "…".to_owned(),
            allowed: "an address without a user and a password",
        });
    }
    Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
}

/// A date as RFC 3339 writes it; none where it is not set.
pub(super) fn date(key: &'static str, text: &str) -> Result<Option<Date>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let allowed = "a date such as 2026-12-31T23:59:59Z, up to the year 2106";
    let parsed: Option<Timestamp> = text.parse().ok();
    let secs = parsed.and_then(|date| u32::try_from(date.as_second()).ok());
    within(key, text, secs.is_some(), allowed)?;
    Ok(secs.map(Date))
}
