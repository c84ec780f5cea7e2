//! What members are answered: whose key, which torrent, which client, then the swarm, then the journal. Nothing on this way
//! waits for a database, allocates for a peer or holds a lock for long.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use rand::Rng;
use shared::announce::{AnnounceRequest, Event};
use shared::id::InfoHash;
use shared::moment::Moment;
use shared::scrape::ScrapeRequest;

use super::desk::{Debt, Question, Setting, YOUTH, is_farewell};
use super::head::{PathKey, Route};
use super::outside::Outside;
use super::prober::Prober;
use super::trace::{self, Traced, Tracer};
use crate::members::books::Books;
use crate::members::clients::Client;
use crate::members::directory::{Admitted, Directory};
use crate::members::ids::{Date, MemberId, TorrentId, Which};
use crate::members::journal::Journal;
use crate::members::refusal::Refusal;
use crate::members::register::{Found, Register};
use crate::members::rules::{Scene, Tariff, judge};
use crate::swarm::Outcome;
use crate::swarm::private::{MemberAnnounced, MemberVisit, PrivateSwarms};

/// Hashes that are remembered because nobody has registered them; beyond, nobody is asked to come back soon.
const STRANGERS: usize = 4_096;

/// The members' side of the desk.
#[derive(Debug)]
pub(crate) struct Counter {
    pub swarms: Arc<PrivateSwarms>,
    pub directory: Arc<Directory>,
    pub register: Arc<Register>,
    pub journal: Arc<Journal>,
    pub books: Arc<Books>,
    pub tracer: Arc<Tracer>,
    /// What the world calls this network, as far as members tell.
    pub outside: Arc<Outside>,
    /// Tries peers in the background.
    pub prober: Arc<Prober>,
    pub strangers: Strangers,
}

/// Hashes that members announce and nobody has registered, since when.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<AHashMap<InfoHash, Moment>>);

impl Strangers {
    /// Whether this hash was first heard of minutes ago, or now.
    fn is_news(&self, hash: InfoHash, now: Moment) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&since) = known.get(&hash) {
            return now < since + YOUTH;
        }
        if known.len() >= STRANGERS {
            known.retain(|_, since| now < *since + YOUTH);
        }
        let room = known.len() < STRANGERS;
        if room {
            known.insert(hash, now);
        }
        room
    }
}

/// A member's announce that has passed every door.
#[derive(Clone, Copy, Debug)]
struct Passed<'a> {
    question: Question<'a>,
    request: &'a AnnounceRequest,
    member: MemberId,
    warning: Option<&'static str>,
    torrent: TorrentId,
    which: Which,
    tariff: Tariff,
    date: Date,
}

impl Counter {
    /// Answers a member.
    pub(crate) fn answer(
        &self,
        question: Question<'_>,
        setting: &Setting<'_>,
        dice: &mut impl Rng,
        body: &mut Vec<u8>,
    ) -> Result<Debt, Refusal> {
        // Whoever comes without a key is told so, whatever else is wrong.
        let Some(key) = question.key else {
            return Err(Refusal::UnknownKey);
        };
        match question.route {
            Route::Announce => self.hear(question, setting, dice, body),
            Route::Scrape => self.scrape(key, question, setting, body).map(|()| Debt::NONE),
        }
    }

    /// Whether the torrent of this query was first heard of a short while ago.
    pub(crate) fn is_news(&self, now: Moment, query: &[u8]) -> bool {
        AnnounceRequest::parse(query).is_ok_and(|request| self.strangers.is_news(request.info_hash, now))
    }

    fn hear(
        &self,
        question: Question<'_>,
        setting: &Setting<'_>,
        dice: &mut impl Rng,
        body: &mut Vec<u8>,
    ) -> Result<Debt, Refusal> {
        let date = setting.clock.date();
        let refuse = |request: Option<&AnnounceRequest>, refusal: Refusal| {
            if self.tracer.is_heard() {
                self.trace_refusal(question, date, request, &refusal);
            }
            refusal
        };
        let request =
            AnnounceRequest::parse(question.query).map_err(|error| refuse(None, Refusal::Query(error)))?;
        let passed = self
            .pass(question, setting, date, &request)
            .map_err(|refusal| refuse(Some(&request), refusal))?;
        Ok(self.enter(setting, &passed, dice, body))
    }

    /// Every door in its order: a stranger learns nothing about torrents, a member nothing about others' keys.
    fn pass<'a>(
        &self,
        question: Question<'a>,
        setting: &Setting<'_>,
        date: Date,
        request: &'a AnnounceRequest,
    ) -> Result<Passed<'a>, Refusal> {
        let key = question.key.ok_or(Refusal::UnknownKey)?.0;
        let torrent = self
            .register
            .look_up(&request.info_hash)
            .map(|(torrent, _)| torrent);
        let from = question.caller.ip;
        let Admitted { member, warning } = self.directory.admit(key, torrent, from, date)?;
        if let Some(client) = setting.settings.clients.refuse(&request.peer_id) {
            return Err(Refusal::Client(client.to_string()));
        }
        match self.register.find(&request.info_hash, date) {
            Found::Open {
                torrent,
                which,
                tariff,
            } => Ok(Passed {
                question,
                request,
                member,
                warning,
                torrent,
                which,
                tariff,
                date,
            }),
            Found::Removed { reason } => Err(Refusal::Removed(reason.as_ref().to_owned())),
            Found::Unknown => Err(Refusal::Unregistered),
        }
    }

    /// Into the swarm, the accounts and the journal's queue, and out with the reply.
    fn enter(
        &self,
        setting: &Setting<'_>,
        passed: &Passed<'_>,
        dice: &mut impl Rng,
        body: &mut Vec<u8>,
    ) -> Debt {
        let caller = passed.question.caller;
        let visit = MemberVisit {
            now: setting.now,
            date: passed.date,
            request: passed.request,
            member: passed.member,
            torrent: passed.torrent,
            which: passed.which,
            sender: caller.ip,
            reached: caller.reached,
            policy: &setting.settings.policy,
            tariff: passed.tariff,
            warning: passed.warning,
        };
        let announced = self.swarms.announce(&visit, &*self.journal, dice, body);
        self.note(setting, passed, &announced);
        if self.tracer.hears(passed.member) {
            self.trace(passed, &announced);
        }
        Debt::of(announced.entered)
    }

    /// Facts for those who keep them.
    fn note(&self, setting: &Setting<'_>, passed: &Passed<'_>, announced: &MemberAnnounced) {
        let MemberAnnounced { credit, charged, .. } = announced;
        self.directory
            .add_credit(passed.member, credit, charged, passed.date);
        setting.counters.outcome(announced.outcome);
        setting.counters.early(announced.early);
        setting.counters.credited(credit);
        let suspicion = judge(&Scene {
            member: passed.member,
            torrent: passed.torrent,
            date: passed.date,
            credit: *credit,
            elapsed: announced.elapsed,
            wanted: announced.wanted,
            line: setting.settings.line,
        });
        if let Some(suspicion) = suspicion {
            self.books.note(suspicion);
        }
        let Passed {
            question, request, ..
        } = passed;
        self.outside.note(question.host, &question.caller);
        if request.event != Event::Stopped {
            let address = SocketAddr::new(question.caller.ip, request.port);
            self.prober.suggest(passed.torrent, passed.member, address);
        }
    }

    /// Counts of torrents, for members: a key of one torrent asks about that one alone.
    fn scrape(
        &self,
        PathKey(key): PathKey<'_>,
        question: Question<'_>,
        setting: &Setting<'_>,
        body: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let hashes_max = setting.settings.scrape.hashes_max;
        let request = ScrapeRequest::parse(question.query, hashes_max).map_err(Refusal::Query)?;
        let date = setting.clock.date();
        let torrents: Vec<_> = request
            .info_hashes
            .into_iter()
            .map(|hash| (hash, self.register.look_up(&hash)))
            .collect();
        let mut admitted = None;
        for (_, found) in &torrents {
            let torrent = found.map(|(torrent, _)| torrent);
            if admitted != Some(torrent) {
                self.directory.admit(key, torrent, question.caller.ip, date)?;
                admitted = Some(torrent);
            }
        }
        if torrents.is_empty() {
            self.directory.admit(key, None, question.caller.ip, date)?;
            return Err(Refusal::FullScrape);
        }
        self.swarms.scrape(&torrents, body);
        Ok(())
    }

    fn trace(&self, passed: &Passed<'_>, announced: &MemberAnnounced) {
        let why = match announced.outcome {
            Outcome::Refused(refusal) => Some(refusal.to_string()),
            _ if announced.early => Some("too early: no peers this time".to_owned()),
            _ => passed.warning.map(str::to_owned),
        };
        let answered = match (announced.outcome, &why) {
            (Outcome::Refused(_), _) => "failure",
            (_, Some(_)) => "warning",
            (_, None) => "peers",
        };
        self.tracer.note(Traced {
            peers: announced.peers_given,
            uploaded_credit: announced.credit.uploaded,
            downloaded_credit: announced.credit.downloaded,
            answered,
            why,
            ..traced(passed.member, passed.date, passed.question, Some(passed.request))
        });
    }

    fn trace_refusal(
        &self,
        question: Question<'_>,
        date: Date,
        request: Option<&AnnounceRequest>,
        refusal: &Refusal,
    ) {
        let found = request.and_then(|request| self.register.look_up(&request.info_hash));
        let torrent = found.map(|(torrent, _)| torrent);
        let whose = |key| self.directory.whose(key, torrent);
        let Some(member) = question.key.and_then(|PathKey(key)| whose(key)) else {
            return;
        };
        if !self.tracer.hears(member) {
            return;
        }
        self.tracer.note(Traced {
            answered: if is_farewell(question.query) {
                "warning"
            } else {
                "failure"
            },
            why: Some(refusal.to_string()),
            ..traced(member, date, question, request)
        });
    }
}

/// What is to be told of an announce, whatever it was answered; little, where nobody can read it.
fn traced(member: MemberId, date: Date, question: Question<'_>, request: Option<&AnnounceRequest>) -> Traced {
    let blank = Traced {
        time: trace::rfc3339(date),
        member: member.0,
        client: String::new(),
        torrent: None,
        address: trace::shortened(question.caller.ip),
        event: "announce",
        uploaded: 0,
        downloaded: 0,
        left: 0,
        answered: "peers",
        peers: 0,
        uploaded_credit: 0,
        downloaded_credit: 0,
        why: None,
    };
    let Some(request) = request else { return blank };
    Traced {
        client: Client::of(&request.peer_id).to_string(),
        torrent: Some(request.info_hash.to_string()),
        event: request.event.as_str().unwrap_or(blank.event),
        uploaded: request.uploaded,
        downloaded: request.downloaded,
        left: request.left,
        ..blank
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_news_for_ten_minutes_and_only_so_many_are_remembered() {
        let strangers = Strangers::default();
        let hash = |number: usize| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            InfoHash(bytes)
        };
        assert!(strangers.is_news(hash(0), Moment::from_secs(0)));
        assert!(strangers.is_news(hash(0), Moment::from_secs(599)));
        assert!(!strangers.is_news(hash(0), Moment::from_secs(600)));
        for number in 1..STRANGERS {
            assert!(strangers.is_news(hash(number), Moment::from_secs(600)));
        }
        // The first is forgotten to make room; then there is none.
        assert!(strangers.is_news(hash(STRANGERS), Moment::from_secs(601)));
        assert!(!strangers.is_news(hash(STRANGERS + 1), Moment::from_secs(601)));
        assert!(strangers.is_news(hash(STRANGERS + 1), Moment::from_secs(1_200)));
    }
}
