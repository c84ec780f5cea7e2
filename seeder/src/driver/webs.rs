//! The web seeds of a torrent: they are peers while something is wanted, and nothing else while nothing is.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::id::PeerId;
use shared::peer_wire::{Handshake, Message, Reserved};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{Driver, Job, Peer};
use crate::engine::{Event, Shared, Spec};
use crate::net::pipe::LINE_MAX;
use crate::net::places::Place;
use crate::net::web_seed::{self, Found, Memory, SeekError, WebSeed};
use crate::torrent::{Direction, Input, PeerFacts, PeerKey, Why};

/// Web seeds of one torrent; what a torrent names beyond is not asked.
const SEEDS_MAX: usize = 16;

/// After so long a name that cannot be looked up is tried again.
const SEEK_AGAIN: Duration = Duration::from_secs(60);

/// All web seeds of a torrent. A place in the list is the number by which the machine knows one, so nobody ever moves up.
#[derive(Debug, Default)]
pub(super) struct Webs {
    seeds: Vec<Seed>,
}

#[derive(Debug)]
struct Seed {
    url: String,
    /// Somebody added it by hand; the others are the torrent's own.
    from_owner: bool,
    state: State,
    memory: Arc<Mutex<Memory>>,
    /// The trouble that was told of last.
    told: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is wanted of it at the moment.
    Rests,
    /// It is being looked up.
    Sought,
    Here(PeerKey),
    /// It lies, is of no use, or was taken off the list.
    Gone,
}

impl Webs {
    pub(super) fn new(spec: &Spec) -> Self {
        let mut webs = Self::default();
        webs.add(&spec.options().web_seeds, true);
        let own = spec.about.as_deref().map(|about| &about.web_seeds[..]);
        webs.add(own.unwrap_or_default(), false);
        webs
    }

    fn add(&mut self, urls: &[String], from_owner: bool) {
        for url in urls {
            let known = self
                .seeds
                .iter()
                .any(|seed| seed.url == *url && seed.state != State::Gone);
            if !known && self.seeds.len() < SEEDS_MAX {
                self.seeds.push(Seed {
                    url: url.clone(),
                    from_owner,
                    state: State::Rests,
                    memory: Arc::default(),
                    told: None,
                });
            }
        }
    }

    /// The web seed behind a connection.
    fn behind(&mut self, peer: PeerKey) -> Option<&mut Seed> {
        self.seeds.iter_mut().find(|seed| seed.state == State::Here(peer))
    }

    fn number(&mut self, number: u16) -> Option<&mut Seed> {
        self.seeds.get_mut(usize::from(number))
    }

    fn resting(&self) -> Vec<u16> {
        let rests = |(number, seed): (u16, &Seed)| (seed.state == State::Rests).then_some(number);
        (0..).zip(&self.seeds).filter_map(rests).collect()
    }

    fn connected(&self) -> VecDeque<PeerKey> {
        let here = |seed: &Seed| match seed.state {
            State::Here(peer) => Some(peer),
            _ => None,
        };
        self.seeds.iter().filter_map(here).collect()
    }

    /// Why those that could give something do not, if they do not.
    pub(super) fn words(&self) -> Option<String> {
        let asked = self
            .seeds
            .iter()
            .find(|seed| matches!(seed.state, State::Here(_)))?;
        let why = web_seed::remembered(&asked.memory).trouble.clone()?;
        Some(format!(
            "the web seed {} rests: {why}",
            web_seed::for_logs(&asked.url)
        ))
    }

    /// A connection ended, for whatever reason.
    pub(super) fn left(&mut self, peer: PeerKey) {
        if let Some(seed) = self.behind(peer) {
            seed.state = State::Rests;
        }
    }
}

impl Driver {
    /// Calls those that rest while something is wanted, and lets them go when nothing is.
    pub(super) fn tend_webs(&mut self) {
        if self.webs.seeds.is_empty() {
            return;
        }
        if self.writer.is_none() {
            for peer in self.webs.connected() {
                self.forget(peer);
                self.tell(Input::Disconnected { peer });
            }
            return;
        }
        for number in self.webs.resting() {
            let Some(seed) = self.webs.number(number) else {
                continue;
            };
            seed.state = State::Sought;
            let (url, from_owner) = (seed.url.clone(), seed.from_owner);
            let shared = Arc::clone(&self.shared);
            self.jobs.spawn(async move {
                Job::WebSeed(number, seek(&shared, &url, from_owner).await.map(Box::new))
            });
        }
    }

    /// A web seed was looked up.
    pub(super) fn web_found(&mut self, number: u16, sought: Result<Box<(Found, Place)>, String>) {
        let Some(seed) = self.webs.number(number) else {
            return;
        };
        if seed.state != State::Sought {
            return;
        }
        seed.state = State::Rests;
        let memory = Arc::clone(&seed.memory);
        let (found, place) = match sought {
            Ok(sought) => *sought,
            Err(why) => return self.web_useless(number, why),
        };
        let (Some(opened), true) = (&self.opened, self.writer.is_some()) else {
            return;
        };
        let client = match self.shared.web_client() {
            Ok(client) => client.clone(),
            Err(why) => return self.web_useless(number, why.to_owned()),
        };
        let (peer, info) = (self.shared.next_peer(), Arc::clone(opened.storage.info()));
        let (sender, waiting) = mpsc::channel(LINE_MAX);
        let port = found.url.port_or_known_default().unwrap_or_default();
        let address = SocketAddr::new(found.address, port);
        let tolls = self.shared.gates.tolls(&self.gate, found.address);
        let web = WebSeed {
            peer,
            info,
            found,
            client,
            tolls,
            memory,
            news: self.news.0.clone(),
        };
        let pipe = self.pipes.spawn(async move {
            web.run(waiting).await;
            drop(place);
        });
        if let Some(seed) = self.webs.number(number) {
            seed.state = State::Here(peer);
        }
        self.peers.insert(
            peer,
            Peer {
                address,
                encrypted: false,
                line: sender,
                pipe,
            },
        );
        self.tell(Input::Connected {
            peer,
            address,
            direction: Direction::Web(number),
            handshake: self.web_handshake(number),
        });
    }

    /// What a web seed would say if it spoke: it knows the fast extension alone.
    fn web_handshake(&self, number: u16) -> Handshake {
        let mut name = [b'.'; 20];
        for (to, from) in name
            .iter_mut()
            .zip(b"-WS0000-".iter().chain(&number.to_be_bytes()))
        {
            *to = *from;
        }
        Handshake {
            reserved: Reserved([0, 0, 0, 0, 0, 0, 0, 0x04]),
            info_hash: self.spec.info_hash(),
            peer_id: PeerId(name),
        }
    }

    /// The connection of a web seed ended by itself: it is called again, unless it can give nothing more.
    pub(super) fn web_ended(&mut self, peer: PeerKey) {
        let Some(seed) = self.webs.behind(peer) else {
            return;
        };
        let over = web_seed::remembered(&seed.memory).over().map(str::to_owned);
        seed.state = if over.is_some() { State::Gone } else { State::Rests };
        let url = seed.url.clone();
        if let Some(why) = over {
            self.web_failed(&url, why);
        }
    }

    /// The machine let go of a connection.
    pub(super) fn web_dismissed(&mut self, peer: PeerKey, why: &Why) {
        let Some(seed) = self.webs.behind(peer) else {
            return;
        };
        seed.state = match why {
            Why::BothSeeds => State::Rests,
            _ => State::Gone,
        };
        let url = seed.url.clone();
        // Of liars a ban tells.
        if !matches!(
            why,
            Why::BothSeeds | Why::Banned | Why::WrongPiece(_) | Why::WrongBlocks(_)
        ) {
            self.web_failed(&url, why.to_string());
        }
    }

    /// A web seed said something: when it begins to rest, why is told, once.
    pub(super) fn web_spoke(&mut self, peer: PeerKey, messages: &[Message]) {
        let Some(seed) = self.webs.behind(peer) else {
            return;
        };
        let payload = |message: &Message| match message {
            Message::Piece { data, .. } => data.len() as u64,
            _ => 0,
        };
        self.shared.tally.web_took(messages.iter().map(payload).sum());
        if !matches!(messages, [Message::Choke]) {
            return;
        }
        let why = web_seed::remembered(&seed.memory).trouble.clone();
        if let Some(why) = why.filter(|why| seed.told.as_ref() != Some(why)) {
            seed.told = Some(why.clone());
            let url = seed.url.clone();
            self.web_failed(&url, format!("{why}; it is tried again"));
        }
    }

    pub(super) fn ban_web(&mut self, number: u16, why: &Why) {
        let Some(seed) = self.webs.number(number) else {
            return;
        };
        seed.state = State::Gone;
        let url = web_seed::for_logs(&seed.url);
        warn!(%url, %why, torrent = %self.spec.label, "web seed banned");
        self.shared.event(Event::WebSeedBanned {
            key: self.spec.key,
            url,
            why: why.to_string(),
        });
    }

    fn web_useless(&mut self, number: u16, why: String) {
        let Some(seed) = self.webs.number(number) else {
            return;
        };
        seed.state = State::Gone;
        let url = seed.url.clone();
        self.web_failed(&url, why);
    }

    fn web_failed(&self, url: &str, reason: String) {
        let url = web_seed::for_logs(url);
        debug!(%url, %reason, torrent = %self.spec.label, "web seed in trouble");
        self.shared.event(Event::WebSeedFailed {
            key: self.spec.key,
            url,
            reason,
        });
    }

    /// Others are on the owner's list now.
    pub(super) fn treat_webs(&mut self) {
        let options = self.spec.options();
        let mut ended = Vec::new();
        for seed in &mut self.webs.seeds {
            if seed.from_owner && !options.web_seeds.contains(&seed.url) {
                if let State::Here(peer) = seed.state {
                    ended.push(peer);
                }
                seed.state = State::Gone;
            }
        }
        for peer in ended {
            self.forget(peer);
            self.tell(Input::Disconnected { peer });
        }
        self.webs.add(&options.web_seeds, true);
    }

    /// The web seeds that are asked now, each with its URL.
    pub(super) fn web_facts(&self) -> Vec<(PeerFacts, String)> {
        let facts = self.torrent.web_seed_facts().into_iter().filter_map(|facts| {
            let here = |seed: &&Seed| seed.state == State::Here(facts.peer);
            let url = web_seed::for_logs(&self.webs.seeds.iter().find(here)?.url);
            Some((facts, url))
        });
        facts.collect()
    }
}

/// Looks a web seed up until that says something, and takes a place for a connection.
async fn seek(shared: &Shared, url: &str, from_owner: bool) -> Result<(Found, Place), String> {
    loop {
        match web_seed::find(url, from_owner).await {
            Ok(found) => {
                if let Some(place) = shared.place(found.address) {
                    return Ok((found, place));
                }
            }
            Err(SeekError::Never(why)) => return Err(why),
            Err(SeekError::Later(why)) => debug!(url = %web_seed::for_logs(url), %why, "web seed not found"),
        }
        tokio::time::sleep(SEEK_AGAIN).await;
    }
}
