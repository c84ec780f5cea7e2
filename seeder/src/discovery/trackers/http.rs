//! One announce over HTTP by one family of addresses: sent, bounded, read. Nothing is remembered here but connections.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Response, Url};
use tokio::time::Instant;

use super::hosts::GOODBYES_PER_HOST;
use crate::clock::Clock;
use crate::net::web_seed::is_home;
use shared::announce::{AnnounceReply, AnnounceRequest, Answer, Failure, join_query};

/// A tracker that needs longer to accept a connection, or to answer, is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Looking up a name must not take longer than connecting to it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Replies beyond this are not read: 2,000 peers in dictionaries fit many times over.
const REPLY_MAX: usize = 1024 * 1024;
const REDIRECTS_MAX: usize = 3;
/// So many announces to one host travel at once; the others wait for these connections and then use them.
pub(super) const PER_HOST: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// An address of a name is believed for so long: ten thousand torrents of one tracker look it up once.
const LOOKUP_LIVES: Duration = Duration::from_secs(60);
/// Names whose addresses are remembered.
const LOOKUPS_MAX: usize = 256;

/// One family of addresses. A tracker learns a peer's address of each family from an announce over it (BEP 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// What came of an announce.
#[derive(Debug)]
pub(super) enum Heard {
    Reply(AnnounceReply),
    /// The tracker understood us and says no.
    Refused(Failure),
    /// What was heard is no tracker; the reason in words.
    Nothing(String),
    /// Nobody was heard at all, or a house without its tracker; the reason in words.
    Silent(String),
    /// It was known that nobody would be heard, and not asked.
    Known(super::hosts::Silence),
    /// The URL is none that we could ever announce to.
    Nonsense(String),
}

/// What names resolved to, and when.
type Lookups = BTreeMap<String, (Instant, Arc<[IpAddr]>)>;

/// A client of each family, and the ports that peers of that family reach.
#[derive(Clone, Debug)]
pub(super) struct Http {
    v4: Client,
    v6: Client,
    port_v4: Option<u16>,
    port_v6: Option<u16>,
    /// Without them no TLS connection can be trusted.
    knows_authorities: bool,
    clock: Clock,
    lookups: Arc<Mutex<Lookups>>,
}

impl Http {
    /// For a program that peers reach at these addresses.
    pub(super) fn new(listen: &[SocketAddr], clock: Clock) -> Result<Self, reqwest::Error> {
        let port = |v4: bool| {
            listen
                .iter()
                .find(|address| address.is_ipv4() == v4)
                .map(SocketAddr::port)
        };
        let (v4, v6): (IpAddr, IpAddr) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
        // A bare system has no certificates of authorities. Trackers without TLS need none.
        let clients = (client(v4).build(), client(v6).build());
        let (v4, v6, knows_authorities) = if let (Ok(v4), Ok(v6)) = clients {
            (v4, v6, true)
        } else {
            let bare = |from| client(from).tls_certs_only([]).build();
            (bare(v4)?, bare(v6)?, false)
        };
        Ok(Self {
            v4,
            v6,
            port_v4: port(true),
            port_v6: port(false),
            knows_authorities,
            clock,
            lookups: Arc::default(),
        })
    }

    /// Over which families to announce: those that the tracker has and that peers reach us by; where these have nothing
    /// in common, one that the tracker has, since taking peers needs no listener.
    pub(super) async fn families(&self, url: &str) -> Result<Vec<Family>, Heard> {
        let url = parse(url).map_err(Heard::Nonsense)?;
        let addresses = self.addresses_of(&url).await.map_err(Heard::Silent)?;
        if !is_announce(&url) && addresses.iter().any(|address| is_home(*address)) {
            let why = "it leads into the local network, where only a path that ends with /announce is asked";
            return Err(Heard::Nonsense(why.to_owned()));
        }
        let has = |v4: bool| addresses.iter().any(|address| address.is_ipv4() == v4);
        let known: Vec<Family> = [(Family::V4, true), (Family::V6, false)]
            .into_iter()
            .filter_map(|(family, v4)| has(v4).then_some(family))
            .collect();
        let reached: Vec<Family> = known
            .iter()
            .copied()
            .filter(|family| self.own_port(*family).is_some())
            .collect();
        Ok(if reached.is_empty() {
            known.into_iter().take(1).collect()
        } else {
            reached
        })
    }

    async fn addresses_of(&self, url: &Url) -> Result<Arc<[IpAddr]>, String> {
        let port = url.port_or_known_default().unwrap_or(80);
        let name = match url.host() {
            None => return Err("the URL names no host".to_owned()),
            Some(url::Host::Ipv4(address)) => return Ok([address.into()].into()),
            Some(url::Host::Ipv6(address)) => return Ok([address.into()].into()),
            Some(url::Host::Domain(name)) => name,
        };
        if let Some((when, known)) = self.lookups().get(name)
            && when.elapsed() < LOOKUP_LIVES
        {
            return Ok(Arc::clone(known));
        }
        let found = lookup(name, port).await?;
        let mut lookups = self.lookups();
        if lookups.len() >= LOOKUPS_MAX {
            lookups.clear();
        }
        lookups.insert(
            name.to_owned(),
            (self.clock.after(Duration::ZERO), Arc::clone(&found)),
        );
        Ok(found)
    }

    fn lookups(&self) -> MutexGuard<'_, Lookups> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_port(&self, family: Family) -> Option<u16> {
        match family {
            Family::V4 => self.port_v4,
            Family::V6 => self.port_v6,
        }
    }

    /// The port to announce over a family.
    pub(super) fn port(&self, family: Family) -> u16 {
        // Discard's port where nobody listens: trackers refuse 0, and whoever dials 9 finds nobody.
        self.own_port(family)
            .or(self.port_v4)
            .or(self.port_v6)
            .unwrap_or(9)
    }

    /// Sends one announce and reads the answer.
    pub(super) async fn announce(&self, url: &str, family: Family, request: &AnnounceRequest) -> Heard {
        let url = match parse(&join_query(url, &request.to_query())) {
            Ok(url) => url,
            Err(reason) => return Heard::Nonsense(reason),
        };
        if url.scheme() == "https" && !self.knows_authorities {
            let why = "this system has no certificates to know https trackers by; install ca-certificates";
            return Heard::Nothing(why.to_owned());
        }
        let client = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        match exchange(client, url).await {
            Ok(Answer::Reply(reply)) => Heard::Reply(reply),
            Ok(Answer::Failure(failure)) => Heard::Refused(failure),
            Err(heard) => heard,
        }
    }
}

/// A client that speaks from one family only. No proxy: the tracker takes the sender's address for ours.
fn client(from: IpAddr) -> ClientBuilder {
    ClientBuilder::new()
        .user_agent(concat!("kinswarm-seeder/", env!("CARGO_PKG_VERSION")))
        .local_address(from)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        // As many as ever announce to one host at once, so that each goes on; and let go of when there is nothing to say.
        .pool_max_idle_per_host(GOODBYES_PER_HOST)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .referer(false)
        .http1_only()
        .redirect(Policy::custom(follow))
}

/// A torrent is a stranger's word, and so is where its tracker sends us. What listens at home must not be told just anything.
fn is_announce(url: &Url) -> bool {
    url.path().ends_with("/announce")
}

/// A redirect may lead to another tracker, but not out of TLS, not in circles, and to nothing else than a tracker.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let leaves_tls =
        attempt.url().scheme() != "https" && attempt.previous().iter().any(|url| url.scheme() == "https");
    if leaves_tls {
        attempt.error("the tracker redirects from https to http")
    } else if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("the tracker redirects in circles")
    } else if !is_announce(attempt.url())
        && attempt.previous().last().map(Url::path) != Some(attempt.url().path())
    {
        attempt.error("the tracker redirects to what is no announce")
    } else {
        attempt.follow()
    }
}

fn parse(url: &str) -> Result<Url, String> {
    let parsed = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        "udp" => Err("udp:// trackers are not supported yet".to_owned()),
        other => Err(format!(
            "{other}:// is not a tracker's scheme; http:// and https:// are"
        )),
    }
}

async fn lookup(name: &str, port: u16) -> Result<Arc<[IpAddr]>, String> {
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, port))).await;
    let found = found.map_err(|_| format!("looking up {name} took too long"))?;
    let found = found.map_err(|error| format!("cannot look up {name}: {error}"))?;
    Ok(found.map(|address| address.ip()).collect())
}

async fn exchange(client: &Client, url: Url) -> Result<Answer, Heard> {
    let silent = |error| Heard::Silent(in_words(error));
    let response = client.get(url).send().await.map_err(|error| {
        // A redirect that leads nowhere was an answer.
        if error.is_redirect() {
            Heard::Nothing(in_words(error))
        } else {
            silent(error)
        }
    })?;
    let status = response.status();
    let body = read(response).await?;
    match Answer::decode(&body) {
        Ok(answer @ Answer::Failure(_)) => Ok(answer),
        Ok(answer) if status.is_success() => Ok(answer),
        // The house is there, and says that the tracker is not, or that it has too much to do.
        _ if matches!(status.as_u16(), 429 | 502..=504) => {
            Err(Heard::Silent(format!("the tracker answered HTTP {status}")))
        }
        Ok(_) | Err(_) if !status.is_success() => {
            Err(Heard::Nothing(format!("the tracker answered HTTP {status}")))
        }
        Ok(answer) => Ok(answer),
        Err(error) => Err(Heard::Nothing(format!(
            "the tracker's answer cannot be read: {error}"
        ))),
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, Heard> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Heard::Silent(in_words(error)))?
    {
        if body.len() + chunk.len() > REPLY_MAX {
            let why = format!("the tracker's answer is longer than {REPLY_MAX} bytes");
            return Err(Heard::Nothing(why));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause, without the URL: announce URLs carry passkeys, and logs are read by others.
fn in_words(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "the tracker did not answer in time".to_owned();
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let cause = cause.to_string();
    if error.is_connect() {
        format!("cannot connect: {cause}")
    } else {
        cause
    }
}
