//! A page for Prometheus, written from numbers that are counted elsewhere.

use std::time::Duration;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

/// What Prometheus 3 insists on, to the letter.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page.
pub fn page(families: &[MetricFamily]) -> Result<Vec<u8>, prometheus::Error> {
    let mut page = Vec::new();
    TextEncoder::new().encode(families, &mut page)?;
    Ok(page)
}

/// `process_*`, where the system tells.
pub fn process() -> Vec<MetricFamily> {
    #[cfg(target_os = "linux")]
    return prometheus::core::Collector::collect(&prometheus::process_collector::ProcessCollector::for_self());
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}

/// One line of the page: its labels and its value.
#[derive(Clone, Debug)]
pub struct Sample {
    pub labels: Vec<LabelPair>,
    pub value: f64,
}

/// A line with a whole number.
pub fn sample(labels: &[(&str, &str)], value: u64) -> Sample {
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

/// A span of time.
pub fn since(duration: Duration) -> Sample {
    Sample {
        labels: Vec::new(),
        value: duration.as_secs_f64(),
    }
}

/// A number that only grows.
pub fn counter(name: &str, help: &str, samples: Vec<Sample>) -> MetricFamily {
    let metrics = samples.into_iter().map(|sample| {
        let mut counter = Counter::default();
        counter.set_value(sample.value);
        let mut metric = Metric::from_label(sample.labels);
        metric.set_counter(counter);
        metric
    });
    family(name, help, MetricType::COUNTER, metrics.collect())
}

/// A number that comes and goes.
pub fn gauge(name: &str, help: &str, samples: Vec<Sample>) -> MetricFamily {
    let metrics = samples.into_iter().map(|sample| {
        let mut gauge = Gauge::default();
        gauge.set_value(sample.value);
        let mut metric = Metric::from_label(sample.labels);
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, metrics.collect())
}

/// Lines of one name.
pub fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
