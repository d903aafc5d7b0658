//! Holds the metrics registry of a process.
//!
//! The registry is created in `App::build` and passed down.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// A registry with functions that create metrics. All metrics are created through it.
#[derive(Default)]
pub struct Metrics {
    registry: Registry,
    families: parking_lot::Mutex<Vec<Family>>,
    /// Functions that run before every exposition and update gauges from other sources.
    refresh: parking_lot::Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

/// A registered metric family. It is listed even without series; the exposition omits such families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name without the suffixes of a histogram's series.
    pub name: String,
    /// The type in its `# TYPE` line.
    pub kind: &'static str,
    /// The help text.
    pub help: String,
    /// The names of its labels.
    pub labels: Vec<String>,
}

impl Family {
    /// Returns the families that a collector describes.
    fn of(collector: &dyn Collector) -> Vec<Self> {
        let described = collector.desc().into_iter().zip(collector.collect());
        let family = |(desc, family): (&Desc, MetricFamily)| Self {
            name: desc.fq_name.clone(),
            kind: match family.get_field_type() {
                MetricType::COUNTER => "counter",
                MetricType::GAUGE => "gauge",
                MetricType::HISTOGRAM => "histogram",
                MetricType::SUMMARY => "summary",
                MetricType::UNTYPED => "untyped",
            },
            help: desc.help.clone(),
            labels: desc.variable_labels.clone(),
        };
        described.map(family).collect()
    }
}

/// Upper bounds in seconds of a request duration histogram: 100 µs to 10 s. They are fine enough for shards that
/// answer in less than a millisecond.
pub const DURATION_BUCKETS: [f64; 22] = [
    0.0001, 0.000_2, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.010, 0.015, 0.020, 0.025, 0.030, 0.040,
    0.050, 0.075, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0,
];

impl Metrics {
    fn register<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, prometheus::Error> {
        self.collector(Box::new(collector.clone()))?;
        Ok(collector)
    }

    /// Registers any collector.
    ///
    /// # Errors
    /// Returns an error when a metric of that name exists or its description is malformed.
    pub fn collector(&self, collector: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        let families = Family::of(&*collector);
        self.registry.register(collector)?;
        self.families.lock().extend(families);
        Ok(())
    }

    /// All families in the order of their registration.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        self.families.lock().clone()
    }

    /// Creates a counter without labels.
    ///
    /// # Errors
    /// The same as for [`Metrics::collector`].
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::new(name, help)?)
    }

    /// Creates a counter with labels.
    ///
    /// # Errors
    /// The same as for [`Metrics::collector`].
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// Creates an integer gauge without labels.
    ///
    /// # Errors
    /// The same as for [`Metrics::collector`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(name, help)?)
    }

    /// Creates an integer gauge with labels.
    ///
    /// # Errors
    /// The same as for [`Metrics::collector`].
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Creates a floating-point gauge with labels.
    ///
    /// # Errors
    /// The same as for [`Metrics::collector`].
    pub fn fractions(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        self.register(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Creates a histogram of durations in seconds with [`DURATION_BUCKETS`].
    ///
    /// # Errors
    /// The same as for [`Metrics::collector`].
    pub fn durations(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        self.register(HistogramVec::new(opts, labels)?)
    }

    /// Runs `refresh` before every exposition.
    pub fn before_exposition(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.refresh.lock().push(Box::new(refresh));
    }

    /// Encodes all metrics in the Prometheus text format.
    ///
    /// # Errors
    /// Returns an error when a collector returns inconsistent families.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        self.refresh.lock().iter().for_each(|refresh| refresh());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_known_before_they_have_series() {
        let metrics = Metrics::default();
        metrics.gauges("empty", "Nothing yet.", &["shard_id", "key"]).unwrap();
        metrics.durations("time_seconds", "How long.", &[]).unwrap();
        let family = |name: &str, kind, help: &str, labels: &[&str]| Family {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            labels: labels.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(
            metrics.families(),
            [
                family("empty", "gauge", "Nothing yet.", &["shard_id", "key"]),
                family("time_seconds", "histogram", "How long.", &[])
            ]
        );
        assert_eq!(metrics.encode().unwrap(), "");
    }

    #[test]
    fn a_name_is_registered_once() {
        let metrics = Metrics::default();
        metrics.counter("twice_total", "h").unwrap();
        assert!(metrics.counter("twice_total", "h").is_err());
        assert_eq!(metrics.families().len(), 1);
    }
}
