//! What can change while the tracker runs: the owner's settings, the load, the address that the world knows. One desk's
//! settings are put together from them here and nowhere else.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use shared::moment::Moment;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::house::{Built, Members, PULSE};
use crate::address::Base;
use crate::clock::Clock;
use crate::config::{self, Config, Http};
use crate::http::desk::{Desk, ScrapeRules, Settings};
use crate::http::forwarded::Trust;
use crate::http::outside::{self, Outside};
use crate::http::prober::Prober;
use crate::http::tls::{Certificate, Look};
use crate::members::books::Books;
use crate::members::clients::{ClientRuleError, ClientRules};
use crate::members::office::Office;
use crate::metrics::Metrics;
use crate::swarm::{Pace, Policy};
use edge::slots::Slots;

/// The load is what came in the last so many pulses.
const WINDOW: usize = 10;

/// Why new settings are not taken over; the old ones stay.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Clients(#[from] ClientRuleError),
}

/// What stands outside the desk.
#[derive(Debug)]
pub(super) struct Edge {
    pub trust: Arc<Trust>,
    pub certificate: Option<Arc<Certificate>>,
    pub slots: Arc<Slots>,
    /// Where announces are answered.
    pub http: Vec<SocketAddr>,
    pub clock: Clock,
}

/// The wheel.
#[derive(Debug)]
pub(super) struct Steering {
    desk: Arc<Desk>,
    edge: Edge,
    members: Option<Crew>,
    now: Mutex<Now>,
}

/// Those in private mode who are told of new settings.
#[derive(Debug)]
struct Crew {
    office: Arc<Office>,
    books: Arc<Books>,
    prober: Arc<Prober>,
    outside: Arc<Outside>,
}

/// What the desk's settings are made of.
#[derive(Debug)]
struct Now {
    config: Config,
    clients: ClientRules,
    load_percent: u32,
    learned: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    patience: Patience,
}

/// After how much silence a peer is forgotten. Who was told a longer interval under settings before is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patience {
    timeout: Duration,
    /// The longer one, and until when it counts.
    before: Option<(Duration, Moment)>,
}

impl Patience {
    fn at(&self, now: Moment) -> Duration {
        match self.before {
            Some((longer, until)) if now < until => longer.max(self.timeout),
            _ => self.timeout,
        }
    }

    fn set(&mut self, timeout: Duration, now: Moment) {
        if timeout == self.timeout {
            return;
        }
        let so_far = self.at(now);
        self.before = (timeout < so_far).then(|| (so_far, now + so_far));
        self.timeout = timeout;
    }
}

impl Now {
    fn settings(&self) -> Settings {
        let Config {
            announce,
            scrape,
            accounts,
            ..
        } = &self.config;
        let (external_v4, external_v6) = self.external();
        Settings {
            policy: Policy {
                interval: announce.interval,
                jitter: announce.jitter,
                min_interval: announce.min_interval,
                pace: Pace {
                    small_interval: announce.small_interval,
                    small_peers: announce.small_peers,
                    young: announce.young,
                    load_percent: self.load_percent,
                    longest: Pace::longest_within(announce.peer_timeout),
                },
                numwant_default: announce.numwant,
                numwant_max: announce.numwant_max,
                external_v4,
                external_v6,
            },
            scrape: ScrapeRules {
                hashes_max: scrape.hashes_max,
                full: scrape.full,
            },
            clients: self.clients.clone(),
            line: accounts.fast_bytes_per_sec,
        }
    }

    /// What the world calls this network: set, or the public URL's host, or learned.
    fn external(&self) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        let public = self
            .config
            .public_url
            .as_deref()
            .and_then(host)
            .filter(|ip| outside::is_global(*ip));
        let known = self
            .config
            .announce
            .external_addresses
            .iter()
            .copied()
            .chain(public);
        let (mut v4, mut v6) = (None, None);
        for address in known {
            match address {
                IpAddr::V4(address) => v4 = v4.or(Some(address)),
                IpAddr::V6(address) => v6 = v6.or(Some(address)),
            }
        }
        (v4.or(self.learned.0), v6.or(self.learned.1))
    }
}

/// The settings in force: what cannot change while the tracker runs stays, and is named again at the next reload.
fn merged(old: &Config, new: Config) -> Config {
    Config {
        http: Http {
            trusted_proxies: new.http.trusted_proxies,
            ..old.http.clone()
        },
        mode: old.mode.clone(),
        data: old.data.clone(),
        admin: old.admin,
        limits: config::Limits {
            connections: new.limits.connections,
            connections_per_address: new.limits.connections_per_address,
            ..old.limits.clone()
        },
        members: config::Members {
            peers_per_torrent: old.members.peers_per_torrent,
            ..new.members
        },
        ..new
    }
}

/// The host of a URL, if it is an address.
fn host(url: &str) -> Option<IpAddr> {
    match url::Url::parse(url).ok()?.host()? {
        url::Host::Ipv4(v4) => Some(v4.into()),
        url::Host::Ipv6(v6) => Some(v6.into()),
        url::Host::Domain(_) => None,
    }
}

impl Steering {
    pub(super) fn new(config: Config, built: &Built, edge: Edge) -> Result<Arc<Self>, ClientRuleError> {
        let now = Now {
            clients: ClientRules::parse(&config.clients.allow, &config.clients.deny)?,
            patience: Patience {
                timeout: config.announce.peer_timeout,
                before: None,
            },
            config,
            load_percent: Pace::default().load_percent,
            learned: (None, None),
        };
        let desk = Desk {
            house: built.house(),
            settings: ArcSwap::from_pointee(now.settings()),
            clock: edge.clock,
        };
        let members = match built {
            Built::Public { .. } => None,
            Built::Private(members) => Some(Crew::of(members)),
        };
        Ok(Arc::new(Self {
            desk: Arc::new(desk),
            edge,
            members,
            now: Mutex::new(now),
        }))
    }

    pub(super) fn trust(&self) -> &Arc<Trust> {
        &self.edge.trust
    }

    pub(super) fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.edge.certificate.as_ref()
    }

    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// The settings in force.
    pub(super) fn config(&self) -> Config {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.config.clone()
    }

    /// Takes new settings over, as far as that goes; says what has changed and what has not.
    pub(super) fn apply(&self, config: Config) -> Result<Vec<String>, ReloadError> {
        let clients = ClientRules::parse(&config.clients.allow, &config.clients.deny)?;
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = now.config.diff(&config);
        let mut said = Vec::new();
        for change in &changes.live {
            info!(%change, "setting changed");
            said.push(change.to_string());
        }
        for change in &changes.restart {
            warn!(%change, "setting needs a restart");
            said.push(format!("{change} (after a restart)"));
        }
        // The filter was checked with the settings.
        let _ = edge::log::change(&config.log);
        self.edge.trust.set(config.http.trusted_proxies.clone());
        let limits = &config.limits;
        self.edge
            .slots
            .set_bounds(limits.connections, limits.connections_per_address);
        match self
            .edge
            .certificate
            .as_ref()
            .map(|certificate| certificate.look())
        {
            Some(Look::Renewed) => said.push("the renewed certificate is in force".to_owned()),
            Some(Look::Bad(error)) => said.push(format!("the certificate stays as it was: {error}")),
            Some(Look::Same) | None => (),
        }
        let moment = self.desk.clock.now();
        now.patience.set(config.announce.peer_timeout, moment);
        if let Some(crew) = &self.members {
            let base = Base::of(&config, &self.edge.http);
            crew.office.set_settings(config.office(base));
            crew.books.set_settings(config.books());
            crew.prober.switch(config.reachability);
        }
        now.config = merged(&now.config, config);
        now.clients = clients;
        self.desk.settings.store(Arc::new(now.settings()));
        Ok(said)
    }

    /// After how much silence a peer is forgotten, and a session.
    pub(super) fn patience(&self) -> (Duration, Duration) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        (
            now.patience.at(self.desk.clock.now()),
            now.config.members.session_age,
        )
    }

    /// Takes the load and what was learned into account.
    fn follow(&self, announces_per_sec: u64) {
        let learned = self
            .members
            .as_ref()
            .map_or((None, None), |crew| crew.outside.addresses());
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let load_percent = Pace::load_percent(announces_per_sec, now.config.announce.load_per_sec.into());
        if (now.load_percent, now.learned) != (load_percent, learned) {
            (now.load_percent, now.learned) = (load_percent, learned);
            self.desk.settings.store(Arc::new(now.settings()));
        }
    }
}

impl Crew {
    fn of(members: &Members) -> Self {
        Self {
            office: Arc::clone(&members.office),
            books: Arc::clone(&members.books),
            prober: Arc::clone(&members.prober),
            outside: Arc::clone(&members.outside),
        }
    }
}

/// Follows the load until the tracker stops.
pub(super) async fn pulse(steering: Arc<Steering>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counts = VecDeque::with_capacity(WINDOW + 1);
    loop {
        tokio::select! {
            _ = ticks.tick() => (),
            () = stop.cancelled() => return,
        }
        counts.push_back(metrics.announces());
        if counts.len() > WINDOW + 1 {
            counts.pop_front();
        }
        let came = counts
            .back()
            .zip(counts.front())
            .map_or(0, |(now, then)| now - then);
        let secs = u64::try_from(counts.len().saturating_sub(1))
            .unwrap_or(u64::MAX)
            .max(1);
        steering.follow(came / secs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_a_longer_interval_is_not_forgotten_because_the_settings_have_changed() {
        let (long, short) = (Duration::from_secs(4_000), Duration::from_secs(400));
        let mut patience = Patience {
            timeout: long,
            before: None,
        };
        let at = |secs| Moment::START + Duration::from_secs(secs);
        patience.set(short, at(100));
        assert_eq!(patience.at(at(4_099)), long);
        assert_eq!(patience.at(at(4_100)), short);
        // Another reload meanwhile neither forgets that nor makes it longer.
        patience.set(short, at(200));
        assert_eq!(patience.at(at(4_099)), long);
        assert_eq!(patience.at(at(4_100)), short);
        patience.set(Duration::from_secs(5_000), at(300));
        assert_eq!(patience.at(at(300)), Duration::from_secs(5_000));
    }
}
