//! Exports the verdict as metrics.

use prometheus::core::Collector;
use prometheus::{Error, GaugeVec, IntGaugeVec, Opts};

use crate::verdict::{Reason, State, Verdict};

/// The metric families of one verdict. A figure that the verdict lacks has no series.
pub struct HotPartition {
    states: IntGaugeVec,
    reasons: IntGaugeVec,
    blamed: IntGaugeVec,
    shards: u32,
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
        let shown = Self {
            states: gauges("state", "1 for the state of the verdict, else 0", "state")?,
            reasons: gauges("reason", "1 for the reason of the verdict, else 0", "reason")?,
            blamed: gauges("shard", "1 for the shard that the verdict names, else 0", "shard_id")?,
            shards,
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
        shown.show_all(|state| state == State::NotEnoughTraffic, |_| false, |_| false);
        Ok(shown)
    }

    /// Sets the metrics to `verdict`.
    pub fn show<K>(&self, verdict: &Verdict<K>) {
        let reason = |reason: Reason| {
            let down = reason == Reason::ShardDown && !verdict.down.is_empty();
            down || verdict.reason == Some(reason)
        };
        let blamed = |shard: usize| verdict.shard_id == Some(shard) || verdict.down.contains(&shard);
        self.show_all(|state| state == verdict.state, reason, blamed);
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
        self.show_all(|_| false, |_| false, |_| false);
        self.reset_figures();
    }

    /// Removes all series.
    pub fn withdraw(&self) {
        [&self.states, &self.reasons, &self.blamed].into_iter().for_each(IntGaugeVec::reset);
        self.reset_figures();
    }

    fn reset_figures(&self) {
        [&self.max_over_mean, &self.lower_bound, &self.top_key_share].into_iter().for_each(GaugeVec::reset);
    }

    fn show_all(
        &self,
        state: impl Fn(State) -> bool,
        reason: impl Fn(Reason) -> bool,
        blamed: impl Fn(usize) -> bool,
    ) {
        for each in State::ALL {
            self.states.with_label_values(&[label(each)]).set(i64::from(state(each)));
        }
        for each in Reason::ALL {
            self.reasons.with_label_values(&[each.name()]).set(i64::from(reason(each)));
        }
        for (id, shard) in (0..self.shards).zip(0..) {
            self.blamed.with_label_values(&[id.to_string()]).set(i64::from(blamed(shard)));
        }
    }
}

/// A state as a label value without spaces.
#[must_use]
pub fn label(state: State) -> &'static str {
    if state == State::NotEnoughTraffic { "not_enough_traffic" } else { state.name() }
}
