//! What Prometheus sees. Every lane counts into atomics of its own, so that counting never makes lanes wait for each
//! other; a scrape adds them up. Hashes, peers, addresses and names are never labels.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType, Summary};

use crate::http::head::Route;
use crate::members::books::BooksState;
use crate::members::directory::Census;
use crate::members::refusal::Refusal;
use crate::members::rules::Credit;
use crate::swarm::{Outcome, Swept, Totals};
use edge::exposition::{self, Sample, counter, family, gauge, process, sample, since};
use edge::slots::{Full, Slots};

/// Upper bounds of the duration histogram, in nanoseconds: an answer takes a microsecond or two, a queue milliseconds.
const BOUNDS: [u64; 8] = [
    1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000,
];

/// Why a request was not answered as its sender wished. The label `reason` of `tracker_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A parameter is missing or wrong.
    Query,
    /// The torrent is not one of ours.
    Unregistered,
    /// A scrape of everything, which is switched off.
    FullScrape,
    /// A bound of the swarms was reached.
    Limit,
    /// No such page.
    Path,
    /// A page that only answers `GET`.
    Method,
    /// Bytes that are no HTTP, or a head that is too long.
    Malformed,
    /// A request that was not finished in time.
    Slow,
    /// Too many connections in all.
    Busy,
    /// Too many connections from one address.
    BusyAddress,
    /// No key, or none of ours.
    UnknownKey,
    /// A key that was replaced, and its grace is over.
    ReplacedKey,
    /// A member's time is over.
    ExpiredKey,
    /// A key of one torrent that announces another.
    OtherTorrent,
    /// A member whom the owner has disabled.
    Disabled,
    /// A torrent that the owner has removed.
    Removed,
    /// A client that the owner does not want.
    Client,
    /// A proxy that does not say for whom it speaks.
    NoAddress,
}

impl Reason {
    const ALL: [(Self, &'static str); 18] = [
        (Self::Query, "query"),
        (Self::Unregistered, "unregistered"),
        (Self::FullScrape, "full_scrape"),
        (Self::Limit, "limit"),
        (Self::Path, "path"),
        (Self::Method, "method"),
        (Self::Malformed, "malformed"),
        (Self::Slow, "slow"),
        (Self::Busy, "busy"),
        (Self::BusyAddress, "busy_address"),
        (Self::UnknownKey, "unknown_key"),
        (Self::ReplacedKey, "replaced_key"),
        (Self::ExpiredKey, "expired_key"),
        (Self::OtherTorrent, "other_torrent"),
        (Self::Disabled, "disabled"),
        (Self::Removed, "removed"),
        (Self::Client, "client"),
        (Self::NoAddress, "no_address"),
    ];
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::UnknownKey => Self::UnknownKey,
            Refusal::ReplacedKey => Self::ReplacedKey,
            Refusal::ExpiredKey => Self::ExpiredKey,
            Refusal::OtherTorrent => Self::OtherTorrent,
            Refusal::Disabled(_) => Self::Disabled,
            Refusal::Unregistered => Self::Unregistered,
            Refusal::Removed(_) => Self::Removed,
            Refusal::Client(_) => Self::Client,
            Refusal::FullScrape => Self::FullScrape,
            Refusal::NoAddress => Self::NoAddress,
            Refusal::Query(_) => Self::Query,
        }
    }
}

impl From<Full> for Reason {
    fn from(full: Full) -> Self {
        match full {
            Full::Program => Self::Busy,
            Full::Address => Self::BusyAddress,
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        self.0
            .fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one lane, or the main runtime, has counted. Aligned so that two lanes share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    announces: [Count; 2],
    scrapes: [Count; 2],
    errors: [Count; Reason::ALL.len()],
    durations: [Count; BOUNDS.len() + 1],
    duration_nanos: Count,
    completed: Count,
    expired: Count,
    early: Count,
    uploaded: Count,
    downloaded: Count,
    pub(crate) forwarded_ignored: Count,
    pub(crate) connections: Count,
    pub(crate) handed_over: Count,
    pub(crate) accept_failures: Count,
    pub(crate) received: Count,
    pub(crate) sent: Count,
}

impl Counters {
    pub(crate) fn request(&self, route: Route, sender: IpAddr) {
        let [v4, v6] = match route {
            Route::Announce => &self.announces,
            Route::Scrape => &self.scrapes,
        };
        if sender.is_ipv4() { v4.add(1) } else { v6.add(1) }
    }

    pub(crate) fn error(&self, reason: Reason) {
        if let Some(count) = self.errors.get(reason as usize) {
            count.add(1);
        }
    }

    /// What an announce changed.
    pub(crate) fn outcome(&self, outcome: Outcome) {
        match outcome {
            Outcome::Completed => self.completed.add(1),
            Outcome::Refused(_) => self.error(Reason::Limit),
            Outcome::Joined | Outcome::Refreshed | Outcome::Left | Outcome::WasNotHere => (),
        }
    }

    /// A peer that came before its time.
    pub(crate) fn early(&self, early: bool) {
        if early {
            self.early.add(1);
        }
    }

    /// Bytes that were added to accounts.
    pub(crate) fn credited(&self, credit: &Credit) {
        for (count, bytes) in [
            (&self.uploaded, credit.uploaded),
            (&self.downloaded, credit.downloaded),
        ] {
            if bytes > 0 {
                count.0.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    /// Who was forgotten.
    pub(crate) fn swept(&self, swept: Swept) {
        self.expired.0.fetch_add(swept.peers, Ordering::Relaxed);
    }

    /// How long one answer took, from its parsed head to its written body.
    pub(crate) fn took(&self, duration: Duration) {
        let nanos = duration.as_nanos().try_into().unwrap_or(u64::MAX);
        let place = BOUNDS
            .iter()
            .position(|&bound| nanos <= bound)
            .unwrap_or(BOUNDS.len());
        if let Some(count) = self.durations.get(place) {
            count.add(1);
        }
        self.duration_nanos.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// What is so now, rather than what has happened. Public mode leaves zero what only members have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub totals: Totals,
    pub books: BooksState,
    pub census: Census,
    /// Keys seen from too many networks.
    pub alarms: usize,
    /// Members' doings that the database refused.
    pub database_errors: u64,
}

/// Everything that is counted, and where the rest is asked for.
pub(crate) struct Metrics {
    facts: Box<dyn Fn() -> Facts + Send + Sync>,
    slots: Arc<Slots>,
    counters: Mutex<Vec<Arc<Counters>>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics")
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// `facts` is asked with every scrape.
    pub(crate) fn new(facts: impl Fn() -> Facts + Send + Sync + 'static, slots: Arc<Slots>) -> Self {
        Self {
            facts: Box::new(facts),
            slots,
            counters: Mutex::default(),
        }
    }

    /// A new set of counters, added up with all others from now on.
    pub(crate) fn counters(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&counters));
        counters
    }

    fn lanes(&self) -> Lanes {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        Lanes(counters.clone())
    }

    /// Announces that were answered or refused until now.
    pub(crate) fn announces(&self) -> u64 {
        self.lanes().sum(|it| it.announces.iter().map(Count::get).sum())
    }

    /// The page that Prometheus scrapes.
    pub(crate) fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let facts = (self.facts)();
        let mut families = self.lanes().families();
        families.extend(self.state(&facts.totals));
        families.extend(members(&facts));
        families.extend(books(&facts));
        families.extend(process());
        exposition::page(&families)
    }

    fn state(&self, totals: &Totals) -> Vec<MetricFamily> {
        let open = sample(&[("protocol", "http")], self.slots.open() as u64);
        let version = sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        vec![
            gauge(
                "tracker_torrents",
                "Torrents that have peers, or were completed a short while ago.",
                vec![sample(&[], totals.swarms)],
            ),
            gauge(
                "tracker_peers",
                "Peers by what they are and the family of their address.",
                peers(totals),
            ),
            gauge("tracker_active_connections", "Open connections.", vec![open]),
            gauge(
                "tracker_build_info",
                "Which tracker this is; always 1.",
                vec![version],
            ),
        ]
    }
}

/// A peer with addresses of both families is counted once, under `both`.
fn peers(totals: &Totals) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (role, all, v6, both) in [
        ("seeder", totals.seeders, totals.seeders_v6, totals.seeders_both),
        (
            "leecher",
            totals.downloaders,
            totals.downloaders_v6,
            totals.downloaders_both,
        ),
        ("paused", totals.paused, totals.paused_v6, totals.paused_both),
    ] {
        // The sums are read one after the other, so they may disagree by those who are coming and going.
        let v4 = all.saturating_sub(v6).saturating_sub(both);
        for (family, value) in [("v4", v4), ("v6", v6), ("both", both)] {
            samples.push(sample(&[("family", family), ("role", role)], value));
        }
    }
    samples
}

/// Members, and what of theirs waits.
fn members(facts: &Facts) -> Vec<MetricFamily> {
    let members = [
        ("active", facts.census.active),
        ("disabled", facts.census.disabled),
        ("expired", facts.census.expired),
    ];
    vec![
        gauge(
            "tracker_members",
            "Members by what their announces are answered.",
            members
                .into_iter()
                .map(|(state, count)| sample(&[("state", state)], count))
                .collect(),
        ),
        gauge(
            "tracker_key_alarms",
            "Members whose key comes from too many networks.",
            one(facts.alarms as u64),
        ),
        gauge(
            "tracker_sessions_asleep",
            "Sessions whose peer has gone and may come back.",
            one(facts.totals.asleep),
        ),
    ]
}

fn one(value: u64) -> Vec<Sample> {
    vec![sample(&[], value)]
}

/// What members' accounts are made of.
fn books(facts: &Facts) -> Vec<MetricFamily> {
    let BooksState { journal, .. } = &facts.books;
    vec![
        gauge(
            "tracker_journal_bytes",
            "Size of the journal.",
            one(journal.bytes),
        ),
        counter(
            "tracker_journal_records_total",
            "Openings and closings of sessions written to the journal.",
            one(journal.records),
        ),
        counter(
            "tracker_journal_failures_total",
            "Writes to the journal that failed.",
            one(journal.failures),
        ),
        counter(
            "tracker_journal_lost_records_total",
            "Records that found no room while the disk stood still.",
            one(journal.lost),
        ),
        counter(
            "tracker_journal_damaged_records_total",
            "Damaged records found in the journal at the start.",
            one(facts.books.journal_damaged),
        ),
        flushes(&facts.books),
        counter(
            "tracker_flush_failures_total",
            "Times that the database did not take the accounts.",
            one(facts.books.flush_failures),
        ),
        gauge(
            "tracker_flush_age_seconds",
            "Time since the database last had every account.",
            vec![since(facts.books.flush_age)],
        ),
        gauge(
            "tracker_snapshot_age_seconds",
            "Time since the snapshot of the swarms was made.",
            vec![since(facts.books.snapshot_age.unwrap_or_default())],
        ),
        counter(
            "tracker_snapshot_failures_total",
            "Snapshots that could not be written.",
            one(facts.books.snapshot_failures),
        ),
        counter(
            "tracker_suspicions_lost_total",
            "Marks for the owner that found no room in their queue.",
            one(facts.books.suspicions_lost),
        ),
        counter(
            "tracker_database_errors_total",
            "Errors of the database, in flushes and in changes by people.",
            one(facts.database_errors),
        ),
    ]
}

fn flushes(books: &BooksState) -> MetricFamily {
    let mut summary = Summary::default();
    summary.set_sample_count(books.flushes);
    summary.set_sample_sum(books.flush_time.as_secs_f64());
    let mut metric = Metric::default();
    metric.set_summary(summary);
    family(
        "tracker_flush_duration_seconds",
        "Time that the database took for the accounts.",
        MetricType::SUMMARY,
        vec![metric],
    )
}

/// All sets of counters, to be added up.
struct Lanes(Vec<Arc<Counters>>);

impl Lanes {
    fn sum(&self, which: impl Fn(&Counters) -> u64) -> u64 {
        self.0.iter().map(|counters| which(counters)).sum()
    }

    fn families(&self) -> Vec<MetricFamily> {
        vec![
            counter(
                "tracker_requests_total",
                "Announces and scrapes, answered or refused.",
                self.requests(),
            ),
            counter(
                "tracker_errors_total",
                "Requests and connections that were refused.",
                self.errors(),
            ),
            self.durations(),
            self.plain(
                "tracker_downloads_total",
                "Downloads that were completed.",
                |it| &it.completed,
            ),
            self.plain(
                "tracker_peers_expired_total",
                "Peers forgotten because they fell silent.",
                |it| &it.expired,
            ),
            self.plain(
                "tracker_announces_early_total",
                "Announces before their time, credited but given no peers.",
                |it| &it.early,
            ),
            counter(
                "tracker_credited_bytes_total",
                "Bytes added to members' accounts.",
                self.credited(),
            ),
            self.plain(
                "tracker_forwarded_ignored_total",
                "Requests with another address in them from someone who is no trusted proxy.",
                |it| &it.forwarded_ignored,
            ),
            self.plain("tracker_connections_total", "Accepted connections.", |it| {
                &it.connections
            }),
            self.plain(
                "tracker_connections_handed_over_total",
                "Connections that left the fast lane because of something else than an announce or a scrape.",
                |it| &it.handed_over,
            ),
            self.plain(
                "tracker_accept_failures_total",
                "Pauses because no connection could be accepted.",
                |it| &it.accept_failures,
            ),
            self.plain(
                "tracker_rx_bytes_total",
                "Bytes of announces and scrapes, on the fast lane.",
                |it| &it.received,
            ),
            self.plain(
                "tracker_tx_bytes_total",
                "Bytes of their answers, on the fast lane.",
                |it| &it.sent,
            ),
        ]
    }

    fn plain(&self, name: &str, help: &str, which: impl Fn(&Counters) -> &Count) -> MetricFamily {
        counter(name, help, vec![sample(&[], self.sum(|it| which(it).get()))])
    }

    fn credited(&self) -> Vec<Sample> {
        let of = |direction, which: fn(&Counters) -> &Count| {
            sample(&[("direction", direction)], self.sum(|it| which(it).get()))
        };
        vec![
            of("download", |it| &it.downloaded),
            of("upload", |it| &it.uploaded),
        ]
    }

    fn requests(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (place, family) in ["4", "6"].into_iter().enumerate() {
            let of = |counts: &[Count; 2]| counts.get(place).map_or(0, Count::get);
            let announces = self.sum(|it| of(&it.announces));
            let scrapes = self.sum(|it| of(&it.scrapes));
            for (kind, value) in [("announce", announces), ("scrape", scrapes)] {
                samples.push(sample(
                    &[("ip_version", family), ("protocol", "http"), ("type", kind)],
                    value,
                ));
            }
        }
        samples
    }

    fn errors(&self) -> Vec<Sample> {
        let count = |reason: Reason| self.sum(|it| it.errors.get(reason as usize).map_or(0, Count::get));
        Reason::ALL
            .into_iter()
            .map(|(reason, name)| sample(&[("reason", name)], count(reason)))
            .collect()
    }

    fn durations(&self) -> MetricFamily {
        let mut histogram = Histogram::default();
        let within = |place: usize| self.sum(|it| it.durations.get(place).map_or(0, Count::get));
        let mut below = 0;
        let mut buckets = Vec::new();
        for (place, &bound) in BOUNDS.iter().enumerate() {
            below += within(place);
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(below);
            bucket.set_upper_bound(seconds(bound));
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(below + within(BOUNDS.len()));
        histogram.set_sample_sum(seconds(self.sum(|it| it.duration_nanos.get())));
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let help = "Time to answer one announce or scrape, without waiting for the network.";
        family(
            "tracker_request_duration_seconds",
            help,
            MetricType::HISTOGRAM,
            vec![metric],
        )
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use shared::announce::QueryError;

    use super::*;

    #[test]
    fn a_refusal_is_counted_under_its_own_label() {
        let words = String::new;
        for refusal in [
            Refusal::UnknownKey,
            Refusal::ReplacedKey,
            Refusal::ExpiredKey,
            Refusal::OtherTorrent,
            Refusal::Disabled(words()),
            Refusal::Unregistered,
            Refusal::Removed(words()),
            Refusal::Client(words()),
            Refusal::FullScrape,
            Refusal::NoAddress,
            Refusal::Query(QueryError::Port),
        ] {
            let reason = Reason::from(&refusal);
            let label = Reason::ALL
                .into_iter()
                .find_map(|(other, label)| (other == reason).then_some(label));
            assert_eq!(label, Some(refusal.label()));
        }
    }

    #[test]
    fn every_reason_has_its_own_place() {
        for (place, (reason, _)) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }

    #[test]
    fn every_metric_is_there_from_the_start() {
        let slots = Slots::new(1, 1);
        let metrics = Metrics::new(Facts::default, slots);
        let _ = metrics.counters();
        let page = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "tracker_announces_early_total 0",
            "tracker_credited_bytes_total{direction=\"upload\"} 0",
            "tracker_journal_bytes 0",
            "tracker_journal_records_total 0",
            "tracker_journal_failures_total 0",
            "tracker_journal_damaged_records_total 0",
            "tracker_flush_failures_total 0",
            "tracker_flush_duration_seconds_count 0",
            "tracker_flush_age_seconds 0",
            "tracker_snapshot_age_seconds 0",
            "tracker_snapshot_failures_total 0",
            "tracker_members{state=\"active\"} 0",
            "tracker_key_alarms 0",
            "tracker_forwarded_ignored_total 0",
            "tracker_database_errors_total 0",
            "tracker_errors_total{reason=\"no_address\"} 0",
        ] {
            assert!(
                page.lines().any(|other| other == line),
                "{line} is not in\n{page}"
            );
        }
    }
}
