//! Where announces and scrapes are answered, whatever way they came: one query in, one bencoded body out. Lanes and pages
//! share it, so that their answers cannot differ. What members are answered stands in [`counter`](super::counter).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::Rng;
use shared::announce::AnnounceRequest;
use shared::id::InfoHash;
use shared::moment::Moment;
use shared::scrape::ScrapeRequest;

use super::counter::Counter;
use super::head::{PathKey, Route};
use super::reply;
use crate::clock::Clock;
use crate::members::clients::ClientRules;
use crate::members::refusal::Refusal;
use crate::metrics::Counters;
use crate::swarm::{Policy, Swarms, Visit, write_failure};

/// Which torrents this tracker is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// Any torrent of anyone.
    #[default]
    Everyone,
    /// These torrents, for anyone who knows one of their hashes.
    Only(BTreeSet<InfoHash>),
}

/// A stranger to the register asks again soon while the tracker is young: its torrent may be registered any moment.
pub(crate) const YOUTH: Duration = Duration::from_secs(600);

/// Scrape rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScrapeRules {
    /// More hashes than this are refused.
    pub hashes_max: usize,
    /// Whether a scrape without any hash is answered with everything.
    pub full: bool,
}

/// What the owner has settled and may settle anew while the tracker runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub policy: Policy,
    pub scrape: ScrapeRules,
    pub clients: ClientRules,
    /// Bytes a second that the fastest member's line carries; none where nobody can say.
    pub line: Option<NonZero<u64>>,
}

/// Everything that an answer depends on.
#[derive(Debug)]
pub(crate) struct Desk {
    pub house: House,
    pub settings: ArcSwap<Settings>,
    pub clock: Clock,
}

/// Whose tracker it is.
#[derive(Debug)]
pub(crate) enum House {
    /// Anyone's.
    Public {
        swarms: Arc<Swarms>,
        admission: Admission,
    },
    /// The members'.
    Private(Box<Counter>),
}

/// Where a caller's address is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The other end of the socket.
    Socket,
    /// A trusted proxy's word.
    Proxy,
    /// A Unix socket, which has no address; a proxy is expected behind it.
    UnixSocket,
    /// Nowhere: a proxy that was to name it did not.
    Hidden,
}

/// Who asks, and at which of the tracker's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Means nothing where it is hidden.
    pub ip: IpAddr,
    pub reached: Option<IpAddr>,
    pub via: Via,
}

impl From<IpAddr> for Caller {
    fn from(ip: IpAddr) -> Self {
        Self {
            ip,
            reached: None,
            via: Via::Socket,
        }
    }
}

impl Caller {
    /// Asks the socket where it was reached, except for callers on this machine, to whom it does not matter.
    pub(crate) fn on(stream: &TcpStream, from: SocketAddr) -> Self {
        let ip = from.ip();
        let reached = if ip.is_loopback() {
            None
        } else {
            stream.local_addr().ok()
        };
        Self {
            reached: reached.map(|reached| reached.ip().to_canonical()),
            ..Self::from(ip)
        }
    }

    /// Whoever is behind a Unix socket.
    pub(crate) fn on_unix_socket() -> Self {
        Self {
            via: Via::UnixSocket,
            ..Self::from(IpAddr::from(Ipv6Addr::UNSPECIFIED))
        }
    }

    /// Whether its address is known at all.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self.via, Via::Socket | Via::Proxy)
    }
}

/// One request without the HTTP around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub route: Route,
    /// What stands in front of the route.
    pub key: Option<PathKey<'a>>,
    pub query: &'a [u8],
    /// What the client calls this tracker.
    pub host: Option<&'a [u8]>,
    pub caller: Caller,
}

/// What surrounds one answer.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub now: Moment,
    pub clock: Clock,
    pub settings: &'a Settings,
    pub counters: &'a Counters,
}

/// Whether something waits in the journal's queue that must be written before the answer leaves.
#[must_use = "an answer must not leave before its entries are in the journal: settle it"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Debt(bool);

impl Debt {
    pub(crate) const NONE: Self = Self(false);

    pub(crate) fn of(entered: bool) -> Self {
        Self(entered)
    }

    /// What two answers owe that leave together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 || other.0)
    }
}

impl Desk {
    /// Has the journal written as far as answers need it that are about to leave.
    pub(crate) fn settle(&self, debt: Debt) {
        if let (House::Private(counter), Debt(true)) = (&self.house, debt) {
            counter.journal.settle();
        }
    }

    /// Writes the body of the answer. There always is one. It may leave when what it owes is [settled](Self::settle).
    pub(crate) fn answer(
        &self,
        question: Question<'_>,
        counters: &Counters,
        dice: &mut impl Rng,
        body: &mut Vec<u8>,
    ) -> Debt {
        let begin = self.clock.elapsed();
        counters.request(question.route, question.caller.ip);
        let settings = &**self.settings.load();
        let setting = Setting {
            now: Moment::START + begin,
            clock: self.clock,
            settings,
            counters,
        };
        let answered = match &self.house {
            _ if !question.caller.is_known() => Err(Refusal::NoAddress),
            House::Private(counter) => counter.answer(question, &setting, dice, body),
            House::Public { swarms, admission } => {
                public((swarms, admission), question, &setting, dice, body).map(|()| Debt::NONE)
            }
        };
        let debt = answered.unwrap_or_else(|refusal| {
            counters.error((&refusal).into());
            body.clear();
            let young = self.is_young(&setting, &refusal, question.query);
            write_refusal(&refusal, young, question.query, settings, body);
            Debt::NONE
        });
        counters.took(self.clock.elapsed().saturating_sub(begin));
        debt
    }

    /// Whether a torrent that is not registered may be so any moment.
    fn is_young(&self, setting: &Setting<'_>, refusal: &Refusal, query: &[u8]) -> bool {
        let House::Private(counter) = &self.house else {
            return setting.now < Moment::START + YOUTH;
        };
        *refusal == Refusal::Unregistered
            && (setting.now < Moment::START + YOUTH || counter.is_news(setting.now, query))
    }
}

/// Answers anyone. A key in the path does no harm: the tracker may have had members once.
fn public(
    (swarms, admission): (&Swarms, &Admission),
    question: Question<'_>,
    setting: &Setting<'_>,
    dice: &mut impl Rng,
    body: &mut Vec<u8>,
) -> Result<(), Refusal> {
    match question.route {
        Route::Announce => {
            let request = AnnounceRequest::parse(question.query).map_err(Refusal::Query)?;
            if let Admission::Only(hashes) = admission
                && !hashes.contains(&request.info_hash)
            {
                return Err(Refusal::Unregistered);
            }
            if let Some(client) = setting.settings.clients.refuse(&request.peer_id) {
                return Err(Refusal::Client(client.to_string()));
            }
            let visit = Visit {
                now: setting.now,
                request: &request,
                sender: question.caller.ip,
                reached: question.caller.reached,
                policy: &setting.settings.policy,
            };
            let announced = swarms.announce(&visit, dice, body);
            setting.counters.outcome(announced.outcome);
            setting.counters.early(announced.early);
            Ok(())
        }
        Route::Scrape => {
            let rules = setting.settings.scrape;
            let request = ScrapeRequest::parse(question.query, rules.hashes_max).map_err(Refusal::Query)?;
            match request.info_hashes.as_slice() {
                [] if rules.full => swarms.scrape_all(body),
                [] => return Err(Refusal::FullScrape),
                hashes => swarms.scrape(hashes, body),
            }
            Ok(())
        }
    }
}

/// Says no: by a failure, or to a farewell by a warning, because Transmission repeats a farewell that fails.
fn write_refusal(refusal: &Refusal, young: bool, query: &[u8], settings: &Settings, body: &mut Vec<u8>) {
    let policy = &settings.policy;
    if is_farewell(query) {
        return reply::write_farewell(&refusal.to_string(), policy, body);
    }
    let retry = refusal.retry_in(young, policy.interval);
    write_failure(&refusal.to_string(), Some(retry), policy, body);
}

/// Whether a query, readable or not, says farewell.
pub(crate) fn is_farewell(query: &[u8]) -> bool {
    query
        .split(|&byte| byte == b'&')
        .any(|parameter| parameter == b"event=stopped")
}
