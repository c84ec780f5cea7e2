//! What is done every second for all torrents together, so that none of them needs a timer: goals, schedules, progress of
//! checks, and what the store is to remember.

use std::sync::Arc;
use std::time::Duration;

use shared::moment::Moment;
use tracing::info;

use super::api::{Event, Mode, Stage, TorrentKey};
use super::change::ChangeError;
use super::entry::{Answer, Entry, State};
use super::process::Shared;
use super::table::Table;
use crate::net::home;
use crate::store::keeper::{Change, Keeper};
use crate::store::{self, CounterRow, TorrentRow};
use crate::torrent::goals::{Given, Goals, Reached};
use crate::torrent::schedule::{self, Rule};

/// How often there is something to do.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Counters that changed are remembered so often; a process that is killed loses no more.
const SAVE_EVERY: Duration = Duration::from_secs(4);

/// Time as a seed passes for all; it alone is remembered so often.
const SAVE_TIME_EVERY: Duration = Duration::from_secs(5 * 60);

/// Goals are looked at so often.
const GOALS_EVERY: Duration = Duration::from_secs(2);

/// A household's network changes once a day, if it does.
const NETWORKS_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Chores {
    pub(super) rules: Vec<Rule>,
    saved: Moment,
    time_saved: Moment,
    goals: Moment,
    networks: Moment,
}

impl Chores {
    pub(super) fn new(shared: &Shared) -> Self {
        let now = shared.clock.now();
        Self {
            rules: Vec::new(),
            saved: now,
            time_saved: now,
            goals: now,
            networks: now,
        }
    }
}

/// Is it time again? Then it is begun anew.
fn due(last: &mut Moment, now: Moment, every: Duration) -> bool {
    let due = now.since(*last) >= every;
    if due {
        *last = now;
    }
    due
}

/// A goal that was reached counts no more.
pub(super) fn waive(goals: &mut Goals, reached: Reached) {
    match reached {
        Reached::Ratio(_) => goals.ratio = None,
        Reached::Time(_) => goals.time = None,
        Reached::Copies(_) => goals.copies = None,
    }
}

impl Table {
    pub(super) async fn do_chores(&mut self) {
        let now = self.shared.clock.now();
        self.tell_of_checks();
        if !self.chores.rules.is_empty() {
            self.apply_rates();
        }
        if due(&mut self.chores.networks, now, NETWORKS_EVERY) {
            self.shared.gates.set_own(home::networks());
        }
        if due(&mut self.chores.goals, now, GOALS_EVERY) {
            self.watch_goals(now).await;
        }
        if due(&mut self.chores.saved, now, SAVE_EVERY) {
            let all = due(&mut self.chores.time_saved, now, SAVE_TIME_EVERY);
            self.save_counters(all);
        }
    }

    fn tell_of_checks(&mut self) {
        for (key, entry) in &mut self.torrents {
            let State::Opening(looking) = &mut entry.state else {
                continue;
            };
            let piece_length = entry.spec.info().map_or(0, |info| info.geometry().piece_length());
            if let Some((done, of)) = looking.hashing(piece_length)
                && std::mem::replace(&mut looking.told, done) != done
            {
                self.shared.event(Event::CheckProgress { key: *key, done, of });
            }
        }
    }

    /// The rates that hold now: those that were set, or what the schedule says.
    pub(super) fn apply_rates(&self) {
        self.apply_rates_of(self.shared.clock.weekday_and_minute());
    }

    /// The same at this minute of the day, on this day of the week.
    fn apply_rates_of(&self, (weekday, minute): (u8, u16)) {
        let now = schedule::at(&self.chores.rules, weekday, minute);
        let rates = &self.rates;
        let up = now.upload.map_or(rates.upload, schedule::Limit::rate);
        let down = now.download.map_or(rates.download, schedule::Limit::rate);
        self.shared.gates.rest.set(up, down);
        self.shared.gates.lan.set(rates.lan_upload, rates.lan_download);
    }

    /// What a torrent's goals are measured by.
    pub(super) fn given(&self, key: TorrentKey) -> Given {
        let clock = self.shared.clock;
        self.torrents
            .get(&key)
            .map_or_else(Given::default, |entry| Given {
                uploaded: entry.spec.sums().uploaded,
                size: entry.live().status.wanted_bytes,
                seeding: Duration::from_secs(entry.seeding_seconds(clock.now())),
                copies: entry.spec.copies().count(clock.unix_now().unsigned_abs()),
            })
    }

    /// Counts the time of seeds, and lets those rest that have been given enough.
    async fn watch_goals(&mut self, now: Moment) {
        let mut with_goals = Vec::new();
        for (key, entry) in &mut self.torrents {
            let seeds = entry.seeds();
            match entry.seeding_since {
                None if seeds => entry.seeding_since = Some(now),
                Some(since) if !seeds => {
                    entry.seeded += now.since(since).as_secs();
                    entry.seeding_since = None;
                }
                _ => (),
            }
            if seeds && !entry.spec.options().goals.is_none() {
                with_goals.push(*key);
            }
        }
        for key in with_goals {
            let given = self.given(key);
            let goals = self.torrents.get(&key).map(|entry| entry.spec.options().goals);
            if let Some(reached) = goals.and_then(|goals| goals.reached(&given)) {
                let goal = reached.to_string();
                info!(?key, goal, "given enough");
                self.shared.event(Event::GoalReached {
                    key,
                    goal: goal.clone(),
                });
                // It is there, or it would have had no goals.
                _ = self.pause(key, Some(goal)).await;
            }
        }
    }

    /// Notes counters that changed; `all` those that only grow older, too.
    pub(super) fn save_counters(&mut self, all: bool) {
        let Some(keeper) = &self.keeper else { return };
        let clock = self.shared.clock;
        for (key, entry) in &mut self.torrents {
            if entry.removal.is_some() {
                continue;
            }
            if entry.saved_info < entry.spec.knows()
                && let Some(info) = entry.spec.layered()
            {
                // The metadata of a magnet link have come, or piece layers.
                entry.saved_info = entry.spec.knows();
                let source = Some((false, store::torrent_file(info, &about(entry))));
                let torrent = Some(row(*key, entry, source));
                keeper.note(
                    key.0,
                    Change {
                        torrent,
                        ..Change::default()
                    },
                );
            }
            if std::mem::replace(&mut entry.saved_done, entry.spec.is_done()) != entry.spec.is_done() {
                let torrent = Some(row(*key, entry, None));
                keeper.note(
                    key.0,
                    Change {
                        torrent,
                        ..Change::default()
                    },
                );
            }
            let sums = entry.spec.sums();
            let copies = entry.spec.copies().count(clock.unix_now().unsigned_abs());
            let changed = sums != entry.saved || copies != entry.saved_copies;
            if changed || all && entry.seeding_since.is_some() {
                (entry.saved, entry.saved_copies) = (sums, copies);
                let counters = Some(counters(entry, clock.now()));
                keeper.note(
                    key.0,
                    Change {
                        counters,
                        ..Change::default()
                    },
                );
            }
        }
    }

    /// A torrent was added: its source is remembered with it.
    pub(super) fn remember_new(&self, key: TorrentKey, magnet: Option<&str>) {
        let (Some(keeper), Some(entry)) = (&self.keeper, self.torrents.get(&key)) else {
            return;
        };
        let known = entry.spec.info().or(entry.spec.bare.as_ref());
        let source = match (magnet, known) {
            (Some(link), _) => Some((true, link.as_bytes().to_vec())),
            (None, Some(info)) => Some((false, store::torrent_file(info, &about(entry)))),
            (None, None) => None,
        };
        let change = Change {
            torrent: Some(row(key, entry, source)),
            counters: Some(counters(entry, self.shared.clock.now())),
            ..Change::default()
        };
        keeper.note(key.0, change);
    }

    /// How it is treated has changed.
    pub(super) fn remember(&self, key: TorrentKey) {
        if let (Some(keeper), Some(entry)) = (&self.keeper, self.torrents.get(&key)) {
            let torrent = Some(row(key, entry, None));
            keeper.note(
                key.0,
                Change {
                    torrent,
                    ..Change::default()
                },
            );
        }
    }

    /// Waits until all that was noted by now outlives the process; not at all where nothing is remembered.
    pub(super) fn kept(&self) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let safe = self.keeper.as_ref().map(Keeper::safe);
        async move {
            match safe {
                None => Ok(()),
                Some(safe) => safe.await.unwrap_or_else(|_| Err("it was closed".to_owned())),
            }
        }
    }

    /// What was noted outlives the process before anybody is told that it is done.
    pub(super) fn answer_when_kept(&self, answer: Answer<(), ChangeError>, done: Result<(), ChangeError>) {
        let kept = self.kept();
        tokio::spawn(async move {
            let done = match done {
                Ok(()) => kept.await.map_err(ChangeError::NotKept),
                refused => refused,
            };
            // Whoever asked may have gone.
            answer.send(done)
        });
    }

    pub(super) fn remember_removed(&self, key: TorrentKey) {
        if let Some(keeper) = &self.keeper {
            let gone = Change {
                removed: true,
                ..Change::default()
            };
            keeper.note(key.0, gone);
        }
    }
}

impl Entry {
    /// Does it give all that it wants to have? Time passes also for one that nobody asks.
    fn seeds(&self) -> bool {
        if self.paused || self.removal.is_some() {
            return false;
        }
        match &self.state {
            State::Asleep(opened) => opened.have.is_complete() || self.stage(&self.live()) == Stage::Seeding,
            State::Awake(_) => self
                .spec
                .live()
                .is_some_and(|live| live.status.metadata && live.status.left_count == 0),
            _ => false,
        }
    }
}

fn about(entry: &Entry) -> store::About<'_> {
    let about = entry.spec.about.as_deref();
    store::About {
        comment: about.and_then(|about| about.comment.as_deref()),
        created_by: about.and_then(|about| about.created_by.as_deref()),
        creation_date: about.and_then(|about| about.creation_date),
        web_seeds: about.map_or(&[], |about| &about.web_seeds),
    }
}

fn row(key: TorrentKey, entry: &Entry, source: Option<(bool, Vec<u8>)>) -> TorrentRow {
    let spec = &entry.spec;
    let urls = |tier: &Vec<Arc<str>>| tier.iter().map(ToString::to_string).collect();
    TorrentRow {
        id: key.0,
        source,
        root: spec.root().to_path_buf(),
        writes: spec.mode == Mode::Get,
        added: spec.added,
        paused: entry.paused,
        reached: entry.reached.as_deref().map(str::to_owned),
        trackers: spec.trackers().iter().map(urls).collect(),
        options: (&*spec.options()).into(),
        done: spec.is_done(),
        counters: CounterRow::default(),
    }
}

fn counters(entry: &Entry, now: Moment) -> CounterRow {
    let sums = entry.spec.sums();
    CounterRow {
        uploaded: sums.uploaded,
        downloaded: sums.downloaded,
        seeding_seconds: entry.seeding_seconds(now),
        copies: entry.spec.copies().clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Rates;
    use super::super::tests::config;
    use super::*;

    /// What the table lets through to strangers at this minute, as (up, down).
    fn at(table: &Table, weekday: u8, hour: u16, minute: u16) -> (Option<u64>, Option<u64>) {
        table.apply_rates_of((weekday, hour * 60 + minute));
        let gate = &table.shared.gates.rest;
        (gate.up.limit(), gate.down.limit())
    }

    #[tokio::test]
    async fn a_schedule_holds_from_its_first_minute_to_its_last_and_the_usual_rates_besides() {
        let (shared, _news) = Shared::start(&config(b'T', None), &[]).unwrap();
        let mut table = Table::new(Arc::new(shared), None, Rates::default());
        let usual = Rates {
            upload: Some(100_000),
            lan_upload: Some(7_000),
            schedule: vec![
                "sa,su up=off".to_owned(),
                "mo-fr 08:00-22:00 up=20k down=30k".to_owned(),
            ],
            ..Rates::default()
        };
        table.set_rates(usual).unwrap();
        assert_eq!(at(&table, 0, 7, 59), (Some(100_000), None));
        assert_eq!(at(&table, 0, 8, 0), (Some(20_000), Some(30_000)));
        assert_eq!(at(&table, 4, 21, 59), (Some(20_000), Some(30_000)));
        assert_eq!(at(&table, 4, 22, 0), (Some(100_000), None));
        assert_eq!(at(&table, 5, 12, 0), (None, None));
        // At home the schedule changes nothing.
        assert_eq!(table.shared.gates.lan.up.limit(), Some(7_000));
        table.set_rates(Rates::default()).unwrap();
        assert_eq!(at(&table, 0, 12, 0), (None, None));
        assert_eq!(table.shared.gates.lan.up.limit(), None);
    }
}
