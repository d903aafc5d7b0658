//! Exports the verdict as metrics.

use prometheus::core::Collector;
use prometheus::{Error, GaugeVec, IntGauge, IntGaugeVec, Opts};

use crate::verdict::{Reason, State, Verdict};

/// The metric families of one verdict. A figure that the verdict lacks has no series.
pub struct HotPartition {
    states: Vec<(State, IntGauge)>,
    reasons: Vec<(Reason, IntGauge)>,
    shards: Vec<IntGauge>,
    max_over_mean: GaugeVec,
    lower_bound: GaugeVec,
    top_key_share: GaugeVec,
}

impl HotPartition {
    /// Creates and registers the families for a verdict on `shards` shards. Their names begin with `prefix`.
    ///
    /// # Errors
    /// Returns the errors of `register`, for example when a name is taken.
    pub fn register(
        prefix: &str,
        shards: u32,
        register: impl Fn(Box<dyn Collector>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let opts = |name: &str, help: &str| Opts::new(format!("{prefix}hot_partition_{name}"), help);
        let gauges = |name: &str, help: &str, label: &str| {
            let gauges = IntGaugeVec::new(opts(name, help), &[label])?;
            register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let figure = |name: &str, help: &str| {
            let figure = GaugeVec::new(opts(name, help), &[])?;
            register(Box::new(figure.clone())).map(|()| figure)
        };
        let states = gauges("state", "1 for the state of the verdict, else 0", "state")?;
        let reasons = gauges("reason", "1 for the reason of the verdict, else 0", "reason")?;
        let blamed = gauges("shard", "1 for the shard that the verdict names, else 0", "shard_id")?;
        let reason = |reason: Reason| (reason, reasons.with_label_values(&[reason.name()]));
        let shown = Self {
            states: State::ALL.map(|state| (state, states.with_label_values(&[label(state)]))).into(),
            reasons: Reason::ALL.map(reason).into(),
            shards: (0..shards).map(|id| blamed.with_label_values(&[&id.to_string()])).collect(),
            max_over_mean: figure(
                "max_over_mean",
                "Requests of the largest shard over the mean of all, in the judged window",
            )?,
            lower_bound: figure(
                "lower_bound",
                "Lower bound of the largest shard's load in fair shares (99.9 %); 1.2 is warm, 1.5 hot, 2 critical",
            )?,
            top_key_share: figure("top_key_share", "Lower bound of the top key's share of all requests")?,
        };
        shown.show_state(State::NotEnoughTraffic);
        Ok(shown)
    }

    /// Sets the metrics to `verdict`.
    pub fn show<K>(&self, verdict: &Verdict<K>) {
        self.show_state(verdict.state);
        for (reason, gauge) in &self.reasons {
            let down = *reason == Reason::ShardDown && !verdict.down.is_empty();
            gauge.set(i64::from(down || verdict.reason == Some(*reason)));
        }
        for (shard, gauge) in self.shards.iter().enumerate() {
            gauge.set(i64::from(verdict.shard_id == Some(shard) || verdict.down.contains(&shard)));
        }
        for (figure, value) in [
            (&self.max_over_mean, verdict.max_over_mean),
            (&self.lower_bound, verdict.lower_bound),
            (&self.top_key_share, verdict.p1),
        ] {
            match value {
                Some(value) => figure.with_label_values::<&str>(&[]).set(value),
                None => figure.reset(),
            }
        }
    }

    /// Sets the metrics to "no verdict": every series is 0, the figures are absent.
    pub fn show_nothing(&self) {
        let states = self.states.iter().map(|(_, gauge)| gauge);
        let all = states.chain(self.reasons.iter().map(|(_, gauge)| gauge)).chain(&self.shards);
        all.for_each(|gauge| gauge.set(0));
        for figure in [&self.max_over_mean, &self.lower_bound, &self.top_key_share] {
            figure.reset();
        }
    }

    fn show_state(&self, present: State) {
        for (state, gauge) in &self.states {
            gauge.set(i64::from(*state == present));
        }
    }
}

/// A state as a label value without spaces.
#[must_use]
pub fn label(state: State) -> &'static str {
    if state == State::NotEnoughTraffic { "not_enough_traffic" } else { state.name() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::Detector;
    use crate::judge::{Evidence, KeyLoad, Observation};
    use prometheus::{Registry, TextEncoder};

    fn shown(shards: u32) -> (Registry, HotPartition) {
        let registry = Registry::new();
        let shown = HotPartition::register("kernel_", shards, |c| registry.register(c)).unwrap();
        (registry, shown)
    }

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    /// Returns the samples other than 0 after one second with these requests. All requests of shard 1 are for one
    /// key.
    fn lines(requests: [u64; 3]) -> Vec<String> {
        let (registry, shown) = shown(3);
        let keys = vec![KeyLoad { key: "k", shard: 1, requests: requests[1] }];
        let observation =
            Observation { requests: requests.to_vec(), keys, seconds: 1.0, evidence: Vec::new() };
        shown.show(&Detector::default().observe(&observation, &observation));
        let text = text(&registry);
        let shown = text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
        shown.map(str::to_owned).collect()
    }

    #[test]
    fn a_verdict_is_one_state_one_reason_one_shard_and_its_figures() {
        let found = lines([100, 800, 100]);
        assert_eq!(found.len(), 6, "{found:?}");
        for expected in [
            "kernel_hot_partition_state{state=\"critical\"} 1",
            "kernel_hot_partition_reason{reason=\"hot_key\"} 1",
            "kernel_hot_partition_shard{shard_id=\"1\"} 1",
            "kernel_hot_partition_max_over_mean 2.4000000000000004",
            "kernel_hot_partition_top_key_share 0.8",
        ] {
            assert!(found.iter().any(|line| line == expected), "{expected}: {found:?}");
        }
    }

    #[test]
    fn a_shard_that_is_down_is_shown_beside_a_hot_one() {
        let (registry, shown) = shown(4);
        let keys = vec![KeyLoad { key: "k", shard: 1, requests: 900 }];
        let mut evidence = vec![Evidence::default(); 4];
        evidence[2].failed = 5;
        let observation = Observation { requests: vec![100, 900, 0, 100], keys, seconds: 1.0, evidence };
        shown.show(&Detector::default().observe(&observation, &observation));
        let text = text(&registry);
        for expected in [
            "reason{reason=\"hot_key\"}",
            "reason{reason=\"shard_down\"}",
            "shard{shard_id=\"1\"}",
            "shard{shard_id=\"2\"}",
        ] {
            assert!(text.contains(&format!("kernel_hot_partition_{expected} 1")), "{expected}: {text}");
        }
    }

    #[test]
    fn no_verdict_is_no_state() {
        let (registry, shown) = shown(2);
        let observation = Observation {
            requests: vec![900, 100],
            keys: Vec::<KeyLoad<&str>>::new(),
            seconds: 1.0,
            evidence: Vec::new(),
        };
        shown.show(&Detector::default().observe(&observation, &observation));
        shown.show_nothing();
        let text = text(&registry);
        let mut values = text.lines().filter(|line| !line.starts_with('#'));
        assert!(values.all(|line| line.ends_with(" 0")), "{text}");
    }

    #[test]
    fn without_traffic_there_are_no_figures() {
        assert_eq!(lines([1, 2, 3]), ["kernel_hot_partition_state{state=\"not_enough_traffic\"} 1"]);
    }
}
