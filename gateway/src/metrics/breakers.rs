//! The metrics of the circuit breakers.

use prometheus::{IntCounter, IntGauge};
use protocol::body::BreakerState;
use service::metrics::Metrics;
use std::num::NonZeroU32;

use crate::upstream::shard_health::BreakerView;

/// The series of the circuit breakers, one entry a shard.
pub(crate) struct BreakerMetrics(Vec<(IntGauge, IntCounter, IntCounter)>);

impl BreakerMetrics {
    /// Registers the metrics. All series exist from the start.
    ///
    /// # Errors
    /// A name is already registered.
    pub(crate) fn register(metrics: &Metrics, shards: NonZeroU32) -> Result<Self, prometheus::Error> {
        let state = metrics.gauges(
            "gateway_shard_breaker_state",
            "State of a shard's circuit breaker: 0 closed, 1 half-open, 2 open.",
            &["shard_id"],
        )?;
        let opened = metrics.counters(
            "gateway_shard_breaker_opened_total",
            "Times that a shard's circuit breaker opened.",
            &["shard_id"],
        )?;
        let refused = metrics.counters(
            "gateway_shard_breaker_refused_total",
            "Requests that failed at once because a shard's circuit breaker was not closed.",
            &["shard_id"],
        )?;
        let series = |shard: u32| {
            let shard = shard.to_string();
            Ok((
                state.get_metric_with_label_values(&[&shard])?,
                opened.get_metric_with_label_values(&[&shard])?,
                refused.get_metric_with_label_values(&[&shard])?,
            ))
        };
        Ok(Self((0..shards.get()).map(series).collect::<Result<_, prometheus::Error>>()?))
    }

    /// Shows the breakers, in order of the shards' ids.
    pub(crate) fn show(&self, breakers: impl Iterator<Item = BreakerView>) {
        for ((state, opened, refused), breaker) in self.0.iter().zip(breakers) {
            state.set(match breaker.state {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            });
            opened.inc_by(breaker.opened.saturating_sub(opened.get()));
            refused.inc_by(breaker.refused.saturating_sub(refused.get()));
        }
    }
}
