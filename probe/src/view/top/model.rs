//! Computes a frame's figures: rates and quantiles between two readings.

use std::collections::HashMap;

use protocol::probe_api::{
    AppLatency, Bucket, CauseKind, Compare, Comparison, KernelKey, Latencies, ShardCounts, ShardLatency,
    Shards, StoreAnswer, Verdicts,
};

use super::growth::between;
use crate::signal::latency::quantile;

/// All data of a probe at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) shards: Shards,
    pub(super) latencies: Latencies,
    pub(super) compare: Compare,
    pub(super) verdicts: Verdicts,
}

/// The figures of a frame.
#[derive(Debug)]
pub(super) struct Model {
    /// Name of the probe.
    pub(super) origin: String,
    /// Why there is no newer reading.
    pub(super) problem: Option<String>,
    /// The seconds between the two readings. `None` before the second reading.
    pub(super) span: Option<f64>,
    /// The rows, most loaded first.
    pub(super) rows: Vec<Row>,
    /// The verdicts of kernel and gateway.
    pub(super) verdicts: Verdicts,
    /// The answer about a store. `None` for the lab's shards.
    pub(super) store: Option<StoreAnswer>,
    previous: Option<Reading>,
}

/// One shard. Rates are per second, times in milliseconds. `None` means unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) shard_id: u32,
    pub(super) kernel_rate: Option<f64>,
    pub(super) app_rate: Option<f64>,
    pub(super) bytes_rate: Option<f64>,
    pub(super) kernel_ms: Quantiles,
    pub(super) app_ms: Quantiles,
    pub(super) open: Option<u64>,
    pub(super) resent_rate: Option<f64>,
    pub(super) verdict: ShardVerdict,
    /// The node that the shard is on.
    pub(super) node: Option<String>,
    pub(super) cause: Option<String>,
    /// The most requested keys first. `None` when the probe does not count keys.
    pub(super) keys: Option<Vec<(String, f64)>>,
}

/// The quantiles of one witness.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Quantiles {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// The comparison's verdict on a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ShardVerdict {
    #[default]
    None,
    Agrees,
    Bypassed,
    Differs,
}

impl Model {
    pub(super) fn new(origin: String) -> Self {
        let verdicts = Verdicts::default();
        Self { origin, problem: None, span: None, rows: Vec::new(), verdicts, store: None, previous: None }
    }

    /// Adds a reading.
    pub(super) fn observe(&mut self, now: Reading) {
        self.problem = None;
        let before = self.previous.take();
        let span = before.as_ref().map(|before| now.shards.taken_at - before.shards.taken_at);
        self.span = span.filter(|span| *span > 0.0);
        let mut rows: Vec<Row> =
            now.shards.shards.iter().map(|shard| row(shard, &now, before.as_ref(), self.span)).collect();
        rows.sort_by(|a, b| {
            let (load_a, load_b) = (a.kernel_rate.unwrap_or(-1.0), b.kernel_rate.unwrap_or(-1.0));
            load_b.total_cmp(&load_a).then(a.shard_id.cmp(&b.shard_id))
        });
        self.rows = rows;
        self.verdicts = now.verdicts.clone();
        self.store.clone_from(&now.compare.store);
        self.previous = Some(now);
    }

    /// Records a failed reading. The last successful one stays visible.
    pub(super) fn lost(&mut self, problem: String) {
        self.problem = Some(problem);
    }
}

fn row(shard: &ShardCounts, now: &Reading, before: Option<&Reading>, span: Option<f64>) -> Row {
    let id = shard.shard_id;
    let counted = before.and_then(|before| before.shards.shards.iter().find(|shard| shard.shard_id == id));
    let timed_before = before.and_then(|before| timed(&before.latencies, id));
    let timed = timed(&now.latencies, id);
    let compared = now.compare.shards.iter().find(|shard| shard.shard_id == id).map(|shard| &shard.of_shard);
    // The counts of a shard that is not watched stay as they are.
    let is_watched = compared.is_none_or(|shard| shard.cause_kind != Some(CauseKind::Unwatched));
    let counted = counted.filter(|_| is_watched);
    let timed_before = timed_before.filter(|_| is_watched);
    let rate = |count: fn(&ShardCounts) -> Option<u64>| rate(count(counted?)?, count(shard)?, span?);
    Row {
        shard_id: id,
        kernel_rate: rate(|shard| Some(shard.data())),
        app_rate: app_rate(timed_before, timed),
        bytes_rate: rate(|shard| Some(shard.payload_bytes.receive + shard.payload_bytes.transmit)),
        kernel_ms: quantiles(timed_before.map(|timed| &timed.kernel), timed.map(|timed| &timed.kernel)),
        app_ms: quantiles(
            timed_before.and_then(|timed| timed.app.as_ref()).map(|app| &app.latency),
            timed.and_then(|timed| timed.app.as_ref()).map(|app| &app.latency),
        ),
        open: shard
            .connections
            .filter(|_| is_watched)
            .map(|all| all.open + all.preexisting.map_or(0, |preexisting| preexisting.open)),
        resent_rate: rate(|shard| shard.connections.map(|connections| connections.retransmitted_segments)),
        verdict: compared.map(verdict).unwrap_or_default(),
        node: compared.and_then(|shard| shard.node.clone()),
        cause: compared.and_then(|shard| shard.cause.clone()),
        keys: shard.top_keys.as_ref().map(|keys| {
            keys_by_rate(counted.and_then(|shard| shard.top_keys.as_deref()).unwrap_or_default(), keys, span)
        }),
    }
}

fn timed(latencies: &Latencies, shard: u32) -> Option<&ShardLatency> {
    latencies.shards.iter().find(|timed| timed.shard_id == shard)
}

/// The growth per second. `None` when counting restarted in between.
fn rate(before: u64, now: u64, span: f64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a counter grows by far less than 2^53 in some seconds")]
    now.checked_sub(before).map(|growth| growth as f64 / span)
}

/// The shard's own rate, over the time between its own readings.
fn app_rate(before: Option<&ShardLatency>, now: Option<&ShardLatency>) -> Option<f64> {
    let app = |timed: Option<&ShardLatency>| -> Option<AppLatency> { timed?.app.clone() };
    let (before, now) = (app(before)?, app(now)?);
    let span = now.taken_at - before.taken_at;
    if span > 0.0 { rate(before.requests, now.requests, span) } else { None }
}

fn quantiles(before: Option<&Vec<Bucket>>, now: Option<&Vec<Bucket>>) -> Quantiles {
    let Some(grown) = before.zip(now).and_then(|(before, now)| between(before, now)) else {
        return Quantiles::default();
    };
    Quantiles { p50: quantile(&grown, 50), p99: quantile(&grown, 99) }
}

fn verdict(shard: &Comparison) -> ShardVerdict {
    match (shard.agrees, shard.bypassed) {
        (None, _) => ShardVerdict::None,
        (Some(false), _) => ShardVerdict::Differs,
        (Some(true), Some(1..)) => ShardVerdict::Bypassed,
        (Some(true), _) => ShardVerdict::Agrees,
    }
}

/// Keys that grew between the readings. A newly listed key is left out, because its earlier count is unknown.
fn keys_by_rate(before: &[KernelKey], now: &[KernelKey], span: Option<f64>) -> Vec<(String, f64)> {
    let Some(span) = span else { return Vec::new() };
    let before: HashMap<&str, u64> = before.iter().map(|key| (key.key.as_str(), key.requests)).collect();
    let rates = now.iter().filter_map(|key| {
        let rate = rate(*before.get(key.key.as_str())?, key.requests, span)?;
        (rate > 0.0).then(|| (key.key.clone(), rate))
    });
    let mut rates: Vec<(String, f64)> = rates.collect();
    rates.sort_by(|(key_a, a), (key_b, b)| b.total_cmp(a).then_with(|| key_a.cmp(key_b)));
    rates
}

#[cfg(test)]
mod tests;
