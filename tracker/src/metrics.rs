//! What Prometheus sees. Every lane counts into atomics of its own, so that counting never makes lanes wait for each
//! other; a scrape adds them up. Hashes, peers, addresses and names are never labels.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use crate::http::head::Route;
use crate::http::slots::{Full, Slots};
use crate::swarm::{Outcome, Swarms, Swept, Totals};

/// What Prometheus 3 insists on, to the letter.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
}

impl Reason {
    const ALL: [(Self, &'static str); 10] = [
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
    ];
}

impl From<Full> for Reason {
    fn from(full: Full) -> Self {
        match full {
            Full::Tracker => Self::Busy,
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

/// Everything that is counted, and where the rest is asked for.
#[derive(Debug)]
pub(crate) struct Metrics {
    swarms: Arc<Swarms>,
    slots: Arc<Slots>,
    counters: Mutex<Vec<Arc<Counters>>>,
}

impl Metrics {
    pub(crate) fn new(swarms: Arc<Swarms>, slots: Arc<Slots>) -> Self {
        Self {
            swarms,
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

    /// The page that Prometheus scrapes.
    pub(crate) fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let lanes = Lanes(
            self.counters
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        );
        let mut families = lanes.families();
        families.extend(self.state());
        families.extend(process());
        let mut page = Vec::new();
        TextEncoder::new().encode(&families, &mut page)?;
        Ok(page)
    }

    /// What is so now, rather than what has happened.
    fn state(&self) -> Vec<MetricFamily> {
        let totals = self.swarms.totals();
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
                peers(&totals),
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

/// In public mode a peer is one address, so none is of both families; members' peers will be.
fn peers(totals: &Totals) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (role, all, v6) in [
        ("seeder", totals.seeders, totals.seeders_v6),
        ("leecher", totals.downloaders, totals.downloaders_v6),
        ("paused", totals.paused, totals.paused_v6),
    ] {
        // The sums are read one after the other, so they may disagree by those who are coming and going.
        for (family, value) in [("v4", all.saturating_sub(v6)), ("v6", v6), ("both", 0)] {
            samples.push(sample(&[("family", family), ("role", role)], value));
        }
    }
    samples
}

/// `process_*`, where the system tells.
fn process() -> Vec<MetricFamily> {
    #[cfg(target_os = "linux")]
    return prometheus::core::Collector::collect(&prometheus::process_collector::ProcessCollector::for_self());
    #[cfg(not(target_os = "linux"))]
    Vec::new()
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

/// One line of the page: its labels and its value.
struct Sample {
    labels: Vec<LabelPair>,
    value: f64,
}

fn sample(labels: &[(&str, &str)], value: u64) -> Sample {
    let labels = labels.iter().map(|&(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus counts in floats, exact up to 2^53"
    )]
    Sample {
        labels: labels.collect(),
        value: value as f64,
    }
}

fn counter(name: &str, help: &str, samples: Vec<Sample>) -> MetricFamily {
    let metrics = samples.into_iter().map(|sample| {
        let mut counter = Counter::default();
        counter.set_value(sample.value);
        let mut metric = Metric::from_label(sample.labels);
        metric.set_counter(counter);
        metric
    });
    family(name, help, MetricType::COUNTER, metrics.collect())
}

fn gauge(name: &str, help: &str, samples: Vec<Sample>) -> MetricFamily {
    let metrics = samples.into_iter().map(|sample| {
        let mut gauge = Gauge::default();
        gauge.set_value(sample.value);
        let mut metric = Metric::from_label(sample.labels);
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, metrics.collect())
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
