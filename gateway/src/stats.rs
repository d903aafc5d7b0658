//! The gateway's counts: metrics, and the figures of `/stats`.
//!
//! Metrics never decrease. A reset sets the figures of `/stats` to 0.

use hotspot::window::Access;
use parking_lot::Mutex;
use prometheus::IntCounter;
use protocol::body::{CacheState, GatewayCounts, ShardRequests, TopKey};
use protocol::limits::GATEWAY_TOP_KEYS;
use protocol::{Key, ShardId};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::{FetchEnd, Read};
use crate::error::Error;
use crate::key_counts::KeyCounts;
use crate::metrics::{GatewayMetrics, ShardMetrics};
use crate::upstream::shard_health::ShardHealth;
use crate::verdicts::Verdicts;

/// Number of keys ranked to select those with a metric series. It exceeds the number of series, so that a tracked key
/// which is overtaken by a small margin still has its count.
const RANKED_KEYS: usize = 100;

/// The gateway's counts, shared by all cores.
pub(crate) struct Stats {
    metrics: GatewayMetrics,
    keys: Arc<KeyCounts>,
    verdicts: Verdicts,
    at_reset: Mutex<Figures>,
    started: Instant,
    started_at: f64,
}

/// The counters behind `/stats`, read at one moment.
#[derive(Clone, Default)]
struct Figures {
    hits: u64,
    misses: u64,
    coalesced: u64,
    sets: u64,
    sent: Vec<u64>,
}

impl Stats {
    /// If `counts_keys` is false, keys are not counted and no load is judged.
    pub(crate) fn new(metrics: GatewayMetrics, counts_keys: bool, health: Arc<ShardHealth>) -> Self {
        let at_reset = Mutex::new(Figures { sent: vec![0; metrics.shards.len()], ..Figures::default() });
        let series = Arc::clone(&metrics.keys);
        let keys = Arc::new(KeyCounts::new(series, metrics.shards.len(), counts_keys));
        let verdicts = Verdicts::new(Arc::clone(&keys), health);
        let (started, started_at) = (Instant::now(), service::clock::unix_seconds());
        Self { metrics, keys, verdicts, at_reset, started, started_at }
    }

    /// Counts a read by how it will be answered, even if its client disconnects before the answer.
    ///
    /// Every read with a valid key is exactly one of hit, miss and coalesced. Reads with an invalid key count as errors
    /// only.
    pub(crate) fn read(&self, key: &Key, home: ShardId, read: &Read, now: Instant) {
        let metrics = &self.metrics;
        match read {
            Read::Hit { stale, .. } => {
                metrics.hits.inc();
                metrics.stale.inc_by(u64::from(*stale));
            }
            Read::Miss(_) => metrics.misses.inc(),
            Read::Coalesced(_) => metrics.coalesced.inc(),
            Read::NegativeHit(_) => {
                metrics.coalesced.inc();
                metrics.negative_hits.inc();
            }
        }
        if let Some(shard) = self.shard(home) {
            if matches!(read, Read::Hit { .. }) { shard.gets_from_cache.inc() } else { shard.gets.inc() }
        }
        self.keys.received(key, home, Access::Read, now);
    }

    /// Counts a write.
    pub(crate) fn write(&self, key: &Key, shard: ShardId, now: Instant) {
        if let Some(metrics) = self.shard(shard) {
            metrics.sets.inc();
        }
        self.keys.received(key, shard, Access::Write, now);
    }

    /// Records the duration of an answered read.
    pub(crate) fn read_took(&self, shard: ShardId, took: Duration) {
        if let Some(metrics) = self.shard(shard) {
            metrics.get_duration.observe(took.as_secs_f64());
        }
    }

    /// Records the duration of an answered write.
    pub(crate) fn write_took(&self, shard: ShardId, took: Duration) {
        if let Some(metrics) = self.shard(shard) {
            metrics.set_duration.observe(took.as_secs_f64());
        }
    }

    /// Counts an error response.
    pub(crate) fn error(&self, err: &Error) {
        let shard = err.shard().map(|shard| shard.to_string()).unwrap_or_default();
        self.metrics.errors.with_label_values(&[err.blame().label(), err.kind().name(), &shard]).inc();
    }

    /// Completes the counts by key, and sets the gauge of the cache's size.
    pub(crate) fn show(&self, size: u64) {
        self.keys.complete_series();
        self.metrics.cache_size.set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// Selects the keys that have their own metric series. Call it every second.
    pub(crate) fn promote(&self) {
        let ranked = self.keys.top(RANKED_KEYS);
        let top: Vec<_> = ranked.into_iter().map(|count| (count.key.clone(), count.lower_bound())).collect();
        self.metrics.keys.update(&top, self.started.elapsed());
    }

    /// Judges the shards' loads at most once a second.
    pub(crate) fn judge(&self) {
        if let Some(verdict) = self.verdicts.judge() {
            self.metrics.hot_partition.show(&verdict);
        }
    }

    /// Counts a background refresh by its result.
    pub(crate) fn refreshed(&self, end: FetchEnd) {
        let [stored, failed, overtaken] = &self.metrics.refreshes;
        match end {
            FetchEnd::Stored => stored.inc(),
            FetchEnd::Failed => failed.inc(),
            FetchEnd::Overtaken => overtaken.inc(),
        }
    }

    /// Client requests and requests sent to the shards, by key.
    pub(crate) fn keys(&self) -> &Arc<KeyCounts> {
        &self.keys
    }

    /// The start time of the process in Unix seconds, and the number of requests since the last reset.
    pub(crate) fn received(&self) -> (f64, u64) {
        let at_reset = self.at_reset.lock();
        let figures = self.figures().since(&at_reset);
        (self.started_at, figures.gets() + figures.sets)
    }

    /// The verdict on the requests sent to the shards.
    pub(crate) fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// Sets the figures of `/stats` to 0. Metrics keep their values.
    pub(crate) fn reset(&self) {
        let mut at_reset = self.at_reset.lock();
        *at_reset = self.figures();
        self.verdicts.clear();
    }

    /// The counts of `/stats`.
    pub(crate) fn report(&self, cache: CacheState, cache_size: u64) -> GatewayCounts {
        // The lock excludes a reset between the two reads.
        let (figures, sent) = {
            let at_reset = self.at_reset.lock();
            let figures = self.figures();
            let sent = figures.sent.clone();
            (figures.since(&at_reset), sent)
        };
        let by_shard = |counts: Vec<u64>| {
            let shards = (0..).map(ShardId).zip(counts);
            shards.map(|(shard_id, requests)| ShardRequests { shard_id, requests }).collect()
        };
        let gets = figures.gets();
        GatewayCounts {
            num_shards: u32::try_from(self.metrics.shards.len()).unwrap_or(u32::MAX),
            cache_enabled: cache.cache_enabled,
            cache_ttl_seconds: cache.cache_ttl_seconds,
            cache_size,
            cache_hits: figures.hits,
            cache_misses: figures.misses,
            cache_coalesced: figures.coalesced,
            cache_hit_ratio: if gets == 0 { 0.0 } else { figures.hits as f64 / gets as f64 },
            total_requests: gets + figures.sets,
            started_at: self.started_at,
            shard_requests: by_shard(figures.sent),
            shard_requests_total: by_shard(sent),
            top_keys: self
                .keys
                .top(GATEWAY_TOP_KEYS)
                .into_iter()
                .map(|count| TopKey { key: count.key, count: count.count, error: count.error })
                .collect(),
        }
    }

    /// The counters of requests sent, one per shard.
    pub(crate) fn sent_counters(&self) -> impl Iterator<Item = IntCounter> + '_ {
        self.metrics.shards.iter().map(|shard| shard.sent.clone())
    }

    fn shard(&self, shard: ShardId) -> Option<&ShardMetrics> {
        self.metrics.shards.get(shard.index())
    }

    fn figures(&self) -> Figures {
        let shards = &self.metrics.shards;
        Figures {
            hits: self.metrics.hits.get(),
            misses: self.metrics.misses.get(),
            coalesced: self.metrics.coalesced.get(),
            sets: shards.iter().map(|shard| shard.sets.get()).sum(),
            sent: shards.iter().map(|shard| shard.sent.get()).collect(),
        }
    }
}

impl Figures {
    fn gets(&self) -> u64 {
        self.hits + self.misses + self.coalesced
    }

    fn since(self, earlier: &Self) -> Self {
        Self {
            hits: self.hits - earlier.hits,
            misses: self.misses - earlier.misses,
            coalesced: self.coalesced - earlier.coalesced,
            sets: self.sets - earlier.sets,
            sent: self.sent.iter().zip(&earlier.sent).map(|(now, then)| now - then).collect(),
        }
    }
}
