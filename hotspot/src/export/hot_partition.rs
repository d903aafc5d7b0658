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
                "Requests of the largest shard divided by the mean of all shards, in the judged window",
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
