//! Where announces and scrapes are answered, whatever way they came: one query in, one bencoded body out. Lanes and pages
//! share it, so that their answers cannot differ.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use shared::announce::{AnnounceRequest, QueryError, RetryIn};
use shared::id::InfoHash;
use shared::moment::Moment;
use shared::scrape::ScrapeRequest;

use super::head::Route;
use crate::clock::Clock;
use crate::metrics::{Counters, Reason};
use crate::swarm::{Outcome, Policy, Swarms, Visit, write_failure};

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
const YOUTH: Duration = Duration::from_secs(600);
const YOUNG_RETRY: Duration = Duration::from_secs(60);

/// Scrape rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScrapeRules {
    /// More hashes than this are refused.
    pub hashes_max: usize,
    /// Whether a scrape without any hash is answered with everything.
    pub full: bool,
}

/// Everything that an answer depends on.
#[derive(Debug)]
pub(crate) struct Desk {
    pub swarms: Arc<Swarms>,
    pub policy: Policy,
    pub admission: Admission,
    pub scrape: ScrapeRules,
    pub clock: Clock,
}

/// Who asks, and at which of the tracker's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub ip: IpAddr,
    pub reached: Option<IpAddr>,
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
            ip,
            reached: reached.map(|reached| reached.ip().to_canonical()),
        }
    }
}

/// One request without the HTTP around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub route: Route,
    pub query: &'a [u8],
    pub caller: Caller,
}

impl Desk {
    /// Writes the body of the answer. There always is one.
    pub(crate) fn answer(
        &self,
        question: Question<'_>,
        counters: &Counters,
        dice: &mut impl Rng,
        body: &mut Vec<u8>,
    ) {
        let begin = self.clock.elapsed();
        counters.request(question.route, question.caller.ip);
        let now = Moment::START + begin;
        let answered = match question.route {
            Route::Announce => self
                .announce(now, question, dice, body)
                .map(|outcome| counters.outcome(outcome)),
            Route::Scrape => self.scrape(question.query, body),
        };
        if let Err(refusal) = answered {
            counters.error(refusal.reason());
            body.clear();
            self.write_refusal(now, &refusal, body);
        }
        counters.took(self.clock.elapsed().saturating_sub(begin));
    }

    fn announce(
        &self,
        now: Moment,
        question: Question<'_>,
        dice: &mut impl Rng,
        body: &mut Vec<u8>,
    ) -> Result<Outcome, Refusal> {
        let request = AnnounceRequest::parse(question.query).map_err(Refusal::Query)?;
        if !self.admits(&request.info_hash) {
            return Err(Refusal::Unregistered);
        }
        let Caller { ip: sender, reached } = question.caller;
        let visit = Visit {
            now,
            request: &request,
            sender,
            reached,
            policy: &self.policy,
        };
        Ok(self.swarms.announce(&visit, dice, body).outcome)
    }

    fn admits(&self, hash: &InfoHash) -> bool {
        match &self.admission {
            Admission::Everyone => true,
            Admission::Only(hashes) => hashes.contains(hash),
        }
    }

    fn scrape(&self, query: &[u8], body: &mut Vec<u8>) -> Result<(), Refusal> {
        let request = ScrapeRequest::parse(query, self.scrape.hashes_max).map_err(Refusal::Query)?;
        match request.info_hashes.as_slice() {
            [] if self.scrape.full => self.swarms.scrape_all(body),
            [] => return Err(Refusal::FullScrape),
            hashes => self.swarms.scrape(hashes, body),
        }
        Ok(())
    }

    fn write_refusal(&self, now: Moment, refusal: &Refusal, body: &mut Vec<u8>) {
        let young = now < Moment::START + YOUTH;
        let wait = match refusal {
            Refusal::Unregistered if young => YOUNG_RETRY,
            _ => self.policy.interval,
        };
        write_failure(
            &refusal.to_string(),
            Some(RetryIn::After(wait)),
            &self.policy,
            body,
        );
    }
}

/// Why a request gets a `failure reason`, in words that fit into the 64 characters that clients show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Query(QueryError),
    #[error("unregistered torrent: this tracker serves only its own")]
    Unregistered,
    #[error("info_hash is missing: full scrapes are switched off")]
    FullScrape,
}

impl Refusal {
    fn reason(self) -> Reason {
        match self {
            Self::Query(_) => Reason::Query,
            Self::Unregistered => Reason::Unregistered,
            Self::FullScrape => Reason::FullScrape,
        }
    }
}
