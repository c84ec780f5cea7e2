//! The task that owns all announcers. It decides nothing: it does what they ask, when they ask, and tells them what came
//! of it, with a bound on how much it does at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::SmallRng;
use shared::announce::{AnnounceReply, AnnounceRequest, Event, Key, RetryIn};
use shared::id::InfoHash;
use shared::moment::Moment;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::hosts::{Attempt, Host};
use super::http::{Family, Heard, Http};
use super::{Command, Outcome, Settings, Swarm, Tiers, Totals, TrackerEvent, TrackerReport};
use crate::engine::TorrentKey;
use crate::metrics::Counters;
use crate::torrent::announcer::{self, Announce, Announcer};

/// So many announces travel at once in all.
const IN_ALL: usize = 128;
/// A torrent's trackers whose last words are kept.
const SAID_MAX: usize = 100;
/// URLs whose hosts are remembered before the list is begun anew.
const NAMED_MAX: usize = 4_096;
/// What the one call to a silent host may take before the others ask after it.
const PROBE_TIME: Duration = Duration::from_secs(2);
/// Hosts of which something is remembered while nothing is to be said to them.
const HOSTS_MAX: usize = 1_024;
/// No more announces are started while so many answers wait to be taken.
const UNTAKEN_MAX: usize = 256;

/// One hash of one torrent: a hybrid has two announcers. The number tells one that says goodbye from the one of the same
/// torrent that has begun anew.
pub(super) type Id = (TorrentKey, u32, InfoHash);

pub(super) struct Task {
    settings: Settings,
    http: Http,
    /// The same for all torrents and families, so that trackers know us again (DESIGN, decision 5).
    key: Key,
    dice: SmallRng,
    entries: BTreeMap<Id, Entry>,
    due: BTreeSet<(Moment, Id)>,
    hosts: BTreeMap<Arc<str>, Host>,
    /// The host of each URL. As long as the trackers of torrents that are here.
    named: BTreeMap<Arc<str>, Arc<str>>,
    adds: u32,
    attempts: BTreeMap<u64, Attempt>,
    attempts_made: u64,
    running: JoinSet<Step>,
    untaken: VecDeque<TrackerEvent>,
    events: mpsc::Sender<TrackerEvent>,
    totals: Arc<Totals>,
    all_said: Option<oneshot::Sender<()>>,
}

struct Entry {
    announcer: Announcer,
    counters: Arc<Counters>,
    /// When the announcer wants to be called, as noted in `due`.
    deadline: Option<Moment>,
    /// What each tracker gave us to send back (BEP 3's `tracker id`).
    tracker_ids: BTreeMap<Arc<str>, Vec<u8>>,
    /// What each tracker last said. As long as the list of trackers.
    said: Vec<(Arc<str>, Said)>,
    /// Announces that wait or travel.
    open: usize,
    leaving: bool,
}

/// What a tracker last said.
#[derive(Default)]
struct Said {
    seeders: Option<u32>,
    leechers: Option<u32>,
    words: Option<Box<str>>,
}

impl Entry {
    fn said(&mut self, url: &Arc<str>) -> Option<&mut Said> {
        if let Some(place) = self.said.iter().position(|(said, _)| said == url) {
            return self.said.get_mut(place).map(|(_, said)| said);
        }
        if self.said.len() >= SAID_MAX {
            self.said.remove(0);
        }
        self.said.push((Arc::clone(url), Said::default()));
        self.said.last_mut().map(|(_, said)| said)
    }
}

/// What a spawned piece of work brings back.
enum Step {
    Families {
        attempt: u64,
        families: Result<Vec<Family>, Heard>,
    },
    Heard {
        attempt: u64,
        heard: Heard,
    },
}

impl Task {
    pub(super) fn new(
        settings: Settings,
        http: Http,
        events: mpsc::Sender<TrackerEvent>,
        totals: Arc<Totals>,
    ) -> Self {
        let mut dice: SmallRng = rand::make_rng();
        Self {
            settings,
            http,
            key: Key::from_number(dice.random()),
            dice,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            hosts: BTreeMap::new(),
            named: BTreeMap::new(),
            adds: 0,
            attempts: BTreeMap::new(),
            attempts_made: 0,
            running: JoinSet::new(),
            untaken: VecDeque::new(),
            events,
            totals,
            all_said: None,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let events = self.events.clone();
        loop {
            self.start_waiting();
            if self.entries.is_empty()
                && let Some(done) = self.all_said.take()
            {
                // The asker may have lost patience; then nobody listens.
                let _ = done.send(());
                return;
            }
            let wake = self
                .due
                .first()
                .map(|(moment, _)| self.settings.clock.instant(*moment));
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(step) = self.running.join_next() => match step {
                    Ok(step) => self.step(step),
                    Err(error) => tracing::error!(%error, "an announce ended in a panic"),
                },
                permit = events.reserve(), if !self.untaken.is_empty() => match permit {
                    Ok(permit) => self.hand_out(permit),
                    Err(_) => self.untaken.clear(),
                },
                () = sleep_until(wake) => self.call_due(),
            }
        }
    }

    fn hand_out(&mut self, permit: mpsc::Permit<'_, TrackerEvent>) {
        if let Some(event) = self.untaken.pop_front() {
            permit.send(event);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(swarm) => self.add(swarm),
            Command::Completed(key) => self.tell_all(key, &announcer::Input::Completed),
            Command::WantPeers(key) => self.tell_all(key, &announcer::Input::WantPeers),
            Command::Insist(key) => self.insist(key),
            Command::Trackers(key, tiers) => self.change(key, tiers),
            // Who asked may have gone.
            Command::Facts(key, answer) => _ = answer.send(self.report(key)),
            Command::Remove(key) => self.leave(Some(key)),
            Command::Stop { done } => {
                self.all_said = Some(done);
                self.leave(None);
            }
        }
    }

    fn add(&mut self, swarm: Swarm) {
        self.adds = self.adds.wrapping_add(1);
        for info_hash in swarm.info_hashes {
            let id = (swarm.key, self.adds, info_hash);
            let entry = Entry {
                announcer: Announcer::new(&swarm.tiers, &mut self.dice),
                counters: Arc::clone(&swarm.counters),
                deadline: None,
                tracker_ids: BTreeMap::new(),
                said: Vec::new(),
                open: 0,
                leaving: false,
            };
            self.entries.insert(id, entry);
            let left = swarm.counters.left();
            self.tell(id, announcer::Input::Start { left });
        }
    }

    fn change(&mut self, key: TorrentKey, tiers: Tiers) {
        let ids: Vec<Id> = self.ids_of(key).collect();
        for id in ids {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry
                    .said
                    .retain(|(url, _)| tiers.iter().flatten().any(|kept| kept == url));
            }
            self.tell(id, announcer::Input::Trackers(Arc::clone(&tiers)));
        }
    }

    /// Where the trackers of a torrent stand; of a hybrid's two swarms, the first.
    fn report(&self, key: TorrentKey) -> Vec<TrackerReport> {
        let Some(entry) = self.ids_of(key).next().and_then(|id| self.entries.get(&id)) else {
            return Vec::new();
        };
        let report = |state: announcer::TrackerState| {
            let said = entry.said.iter().find(|(url, _)| *url == state.url);
            let said = said.map(|(_, said)| said);
            TrackerReport {
                seeders: said.and_then(|said| said.seeders),
                leechers: said.and_then(|said| said.leechers),
                words: said.and_then(|said| said.words.as_deref().map(str::to_owned)),
                state,
            }
        };
        entry.announcer.trackers().map(report).collect()
    }

    /// Says goodbye for one torrent, or for all.
    fn leave(&mut self, key: Option<TorrentKey>) {
        let leaving: BTreeSet<Id> = match key {
            Some(key) => self.ids_of(key).collect(),
            None => self.entries.keys().copied().collect(),
        };
        self.forget_waiting(&leaving);
        for id in leaving {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.leaving = true;
            }
            self.tell(id, announcer::Input::Stop);
            self.forget_if_gone(id);
        }
    }

    /// Announces that have not left say nothing that a goodbye would not unsay, but for a completion, which is counted.
    fn forget_waiting(&mut self, leaving: &BTreeSet<Id>) {
        let (entries, totals) = (&mut self.entries, &self.totals);
        for host in self.hosts.values_mut() {
            host.waiting.retain(|(id, announce)| {
                let stays = !leaving.contains(id) || announce.event == Event::Completed;
                if !stays && let Some(entry) = entries.get_mut(id) {
                    entry.open -= 1;
                    totals.open.fetch_sub(1, Relaxed);
                }
                stays
            });
        }
    }

    /// The hashes of a torrent, a hybrid's two, but for those that are saying goodbye.
    fn ids_of(&self, key: TorrentKey) -> impl Iterator<Item = Id> + '_ {
        let all = (key, 0, InfoHash([0; 20]))..=(key, u32::MAX, InfoHash([0xff; 20]));
        let here = self.entries.range(all).filter(|(_, entry)| !entry.leaving);
        here.map(|(id, _)| *id)
    }

    fn forget_if_gone(&mut self, id: Id) {
        if self
            .entries
            .get(&id)
            .is_some_and(|entry| entry.leaving && entry.open == 0)
            && let Some(entry) = self.entries.remove(&id)
            && let Some(deadline) = entry.deadline
        {
            self.due.remove(&(deadline, id));
        }
    }

    fn tell_all(&mut self, key: TorrentKey, input: &announcer::Input) {
        let ids: Vec<Id> = self.ids_of(key).collect();
        for id in ids {
            self.tell(id, input.clone());
        }
    }

    fn call_due(&mut self) {
        let now = self.settings.clock.now();
        while let Some((moment, id)) = self.due.first().copied().filter(|(moment, _)| *moment <= now) {
            self.due.remove(&(moment, id));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.deadline = None;
            }
            self.tell(id, announcer::Input::Tick);
        }
    }

    /// Feeds one announcer, queues what it asks for, and notes when it wants to be called.
    fn tell(&mut self, id: Id, input: announcer::Input) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry
            .announcer
            .handle(self.settings.clock.now(), input, &mut self.dice);
        while let Some(announce) = entry.announcer.poll() {
            entry.open += 1;
            self.totals.open.fetch_add(1, Relaxed);
            let host = self.named.get(&announce.tracker).map(Arc::clone);
            let host = host.unwrap_or_else(|| {
                if self.named.len() >= NAMED_MAX {
                    self.named.clear();
                }
                let host: Arc<str> = host_of(&announce.tracker).into();
                self.named
                    .insert(Arc::clone(&announce.tracker), Arc::clone(&host));
                host
            });
            self.hosts
                .entry(host)
                .or_default()
                .waiting
                .push_back((id, announce));
        }
        let deadline = entry.announcer.deadline().filter(|_| !entry.leaving);
        if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
            self.due.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.due.insert((new, id));
        }
    }

    /// Somebody insists on being heard, also by hosts that were silent.
    fn insist(&mut self, key: TorrentKey) {
        let now = self.settings.clock.now();
        let urls: Vec<Arc<str>> = self
            .ids_of(key)
            .filter_map(|id| self.entries.get(&id))
            .flat_map(|entry| entry.announcer.trackers().map(|tracker| tracker.url))
            .collect();
        for url in urls {
            if let Some(host) = self.named.get(&url).and_then(|name| self.hosts.get_mut(name)) {
                host.try_again(now);
            }
        }
        self.tell_all(key, &announcer::Input::Insist);
    }

    /// Announces to hosts that are silent come to nothing without leaving, and may go to the next tracker of their tier.
    fn give_up_hopeless(&mut self) {
        let now = self.settings.clock.now();
        let mut given_up = Vec::new();
        for host in self.hosts.values_mut() {
            while self.untaken.len() + given_up.len() < UNTAKEN_MAX
                && let Some(hopeless) = host.hopeless(now)
            {
                given_up.push(hopeless);
            }
        }
        for (id, announce, silence) in given_up {
            self.failed(id, announce, Heard::Known(silence));
            self.totals.open.fetch_sub(1, Relaxed);
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.open -= 1;
            }
            self.forget_if_gone(id);
        }
    }

    /// Lets announces travel as far as the bounds allow.
    fn start_waiting(&mut self) {
        self.give_up_hopeless();
        if self.attempts.len() >= IN_ALL || self.untaken.len() >= UNTAKEN_MAX {
            return;
        }
        let (now, leaving) = (self.settings.clock.now(), self.all_said.is_some());
        let mut starting = Vec::new();
        for (name, host) in &mut self.hosts {
            while self.attempts.len() + starting.len() < IN_ALL
                && let Some((id, announce)) = host.next(now, leaving, self.attempts.values().chain(&starting))
            {
                starting.push(Attempt::new(id, Arc::clone(name), announce));
            }
        }
        let crowded = self.hosts.len() > HOSTS_MAX;
        self.hosts
            .retain(|_, host| !(host.is_forgotten() || crowded && host.is_idle()));
        for attempt in starting {
            let (http, url) = (self.http.clone(), Arc::clone(&attempt.announce.tracker));
            let number = self.attempts_made;
            self.attempts_made += 1;
            self.attempts.insert(number, attempt);
            self.running.spawn(async move {
                Step::Families {
                    attempt: number,
                    families: http.families(&url).await,
                }
            });
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Families {
                attempt,
                families: Ok(families),
            } if !families.is_empty() => {
                self.send(attempt, families);
            }
            Step::Families { attempt, families } => {
                let failure = families
                    .err()
                    .unwrap_or_else(|| Heard::Silent("the name has no address".to_owned()));
                self.conclude(attempt, Some(failure));
            }
            Step::Heard { attempt, heard } => self.heard(attempt, heard),
        }
    }

    fn send(&mut self, number: u64, families: Vec<Family>) {
        let Some(attempt) = self.attempts.get_mut(&number) else {
            return;
        };
        let Some(entry) = self.entries.get(&attempt.id) else {
            return;
        };
        attempt.pending = families.len();
        for family in families {
            let event = match attempt.announce.event {
                // BEP 21: a partial seed says so with every announce that says nothing else.
                Event::None if entry.counters.is_partial() => Event::Paused,
                event => event,
            };
            let request = AnnounceRequest {
                uploaded: entry.counters.uploaded(),
                downloaded: entry.counters.downloaded(),
                left: entry.counters.left(),
                event,
                numwant: Some(attempt.announce.numwant),
                crypto: self.settings.crypto,
                key: Some(self.key),
                tracker_id: entry.tracker_ids.get(&attempt.announce.tracker).cloned(),
                ..AnnounceRequest::new(attempt.id.2, self.settings.peer_id, self.http.port(family))
            };
            let (http, url) = (self.http.clone(), Arc::clone(&attempt.announce.tracker));
            self.running.spawn(async move {
                Step::Heard {
                    attempt: number,
                    heard: http.announce(&url, family, &request).await,
                }
            });
        }
    }

    /// The first family that is answered counts for the announcer; the other may still bring peers.
    fn heard(&mut self, number: u64, heard: Heard) {
        let Some(attempt) = self.attempts.get_mut(&number) else {
            return;
        };
        attempt.pending -= 1;
        let last = attempt.pending == 0;
        match heard {
            Heard::Reply(reply) => {
                let first = !std::mem::replace(&mut attempt.answered, true);
                let (id, announce) = (attempt.id, attempt.announce.clone());
                self.answered(id, announce, reply, first);
            }
            // A refusal says more than silence.
            refused @ Heard::Refused(_) => attempt.failure = Some(refused),
            silence => attempt.failure = attempt.failure.take().or(Some(silence)),
        }
        if last {
            let failure = self
                .attempts
                .get_mut(&number)
                .and_then(|attempt| attempt.failure.take());
            self.conclude(number, failure);
        }
    }

    fn answered(&mut self, id: Id, announce: Announce, mut reply: AnnounceReply, first: bool) {
        if let (Some(given), Some(entry)) = (reply.tracker_id.take(), self.entries.get_mut(&id)) {
            entry.tracker_ids.insert(announce.tracker.clone(), given);
        }
        if first {
            self.totals.answered.fetch_add(1, Relaxed);
            if let Some(said) = self
                .entries
                .get_mut(&id)
                .and_then(|entry| entry.said(&announce.tracker))
            {
                *said = Said {
                    seeders: reply.complete,
                    leechers: reply.incomplete,
                    words: reply.warning.as_deref().map(shortened),
                };
            }
            let answered = announcer::Input::Answered {
                tracker: announce.tracker.clone(),
                interval: reply.interval,
                min_interval: reply.min_interval,
            };
            self.tell(id, answered);
        } else if reply.peers.is_empty() {
            return;
        }
        let result = Outcome::Answered {
            event: if first { announce.event } else { Event::None },
            interval: reply.interval,
            peers: reply.peers,
            seeders: reply.complete,
            leechers: reply.incomplete,
            warning: reply.warning,
        };
        self.untaken.push_back(TrackerEvent {
            key: id.0,
            info_hash: id.2,
            url: announce.tracker,
            result,
        });
    }

    /// All that can be heard of an announce was heard.
    fn conclude(&mut self, number: u64, failure: Option<Heard>) {
        let Some(attempt) = self.attempts.remove(&number) else {
            return;
        };
        let Attempt {
            id,
            host,
            announce,
            answered,
            ..
        } = attempt;
        if let Some(host) = self.hosts.get_mut(&host) {
            host.travelling -= 1;
            match &failure {
                Some(Heard::Silent(reason)) if !answered => {
                    host.missed(self.settings.clock.now(), reason, &mut self.dice);
                }
                _ => host.spoke(),
            }
        }
        if !answered && let Some(failure) = failure {
            self.failed(id, announce, failure);
        }
        self.totals.open.fetch_sub(1, Relaxed);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.open -= 1;
        }
        self.forget_if_gone(id);
    }

    fn failed(&mut self, id: Id, announce: Announce, failure: Heard) {
        let (reason, retry_in) = match failure {
            Heard::Refused(refused) => {
                let interval = refused.interval.max(refused.min_interval);
                (refused.reason, refused.retry_in.or(interval.map(RetryIn::After)))
            }
            Heard::Nothing(reason) | Heard::Silent(reason) => (reason, None),
            Heard::Known(silence) => {
                let wait = silence.until.since(self.settings.clock.now());
                // All come a little later than the one that calls for them.
                let wait = wait.mul_f64(self.dice.random_range(1.0..1.25)) + PROBE_TIME;
                (silence.reason.to_string(), Some(RetryIn::After(wait)))
            }
            // No later try makes sense of it.
            Heard::Nonsense(reason) => (reason, Some(RetryIn::Never)),
            Heard::Reply(_) => return,
        };
        self.totals.failed.fetch_add(1, Relaxed);
        if let Some(said) = self
            .entries
            .get_mut(&id)
            .and_then(|entry| entry.said(&announce.tracker))
        {
            said.words = Some(shortened(&reason));
        }
        self.tell(
            id,
            announcer::Input::Failed {
                tracker: announce.tracker.clone(),
                retry_in,
            },
        );
        let result = Outcome::Failed { reason };
        self.untaken.push_back(TrackerEvent {
            key: id.0,
            info_hash: id.2,
            url: announce.tracker,
            result,
        });
    }
}

/// A tracker's words are a stranger's: what is kept of them has a bound.
fn shortened(words: &str) -> Box<str> {
    words.chars().take(200).collect::<String>().into()
}

/// Sleeps until then; without a wish, for ever.
async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// Announces to one host share connections and a bound. A URL that names no host fails by itself, later.
fn host_of(url: &str) -> String {
    url::Url::parse(url)
        .ok()
        .and_then(|url| Some(format!("{}:{:?}", url.host_str()?, url.port())))
        .unwrap_or_default()
}
