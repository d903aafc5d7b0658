//! Builds a shard from its settings and starts it.

use axum::Router;
use hotspot::export::key_series::KeySeries;
use protocol::Key;
use service::limits::Needs;
use service::metrics::Metrics;
use service::process::StartError;
use service::server::{Server, Started};
use service::traces::Traces;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capacity::Capacity;
use crate::config::Config;
use crate::handlers;
use crate::metrics::ShardMetrics;
use crate::request_counts::{RequestCounts, RequestOutcome};
use crate::routes;
use crate::state::Shard;
use crate::stats::Stats;
use crate::store::Store;
use crate::timer::Timer;

/// How often the `key` metrics and the hot keys are updated.
const TICK: Duration = Duration::from_secs(1);
/// Memory of a shard in bytes without store and connections: program and statistics of keys.
const OWN_BYTES: u64 = 48 << 20;
/// Number of largest keys that compete for a metric series. It exceeds the number of tracked keys, so that a tracked
/// key just outside the largest still has its count.
const COMPARED_KEYS: usize = 200;

/// A shard with a bound port and registered metrics. It does not accept connections yet.
pub struct App {
    server: Server,
    metrics: Arc<Metrics>,
    shard_metrics: Arc<ShardMetrics>,
    shard: Arc<Shard>,
}

impl Config {
    /// What the shard needs beside its clients' connections.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let bytes = OWN_BYTES + self.store.bytes;
        Needs { memory_limit: self.memory_limit, bytes, descriptors: 0 }
    }

    /// Binds the port and registers the metrics.
    ///
    /// # Errors
    /// The port cannot be bound, a thread cannot be started, or a metric cannot be registered.
    pub fn build(self) -> Result<App, StartError> {
        let mut server = Server::bind(self.addr, self.workers)?;
        server.needs(self.needs());
        let metrics = Arc::new(Metrics::default());
        let shard_metrics = Arc::new(ShardMetrics::register(&metrics, self.shard_id)?);
        let key_series = KeySeries::new(
            shard_metrics.key_access.clone(),
            &[&self.shard_id.to_string()],
            shard_metrics.key_access_untracked.clone(),
        );
        let shard = Arc::new(Shard {
            id: self.shard_id,
            started_at: service::clock::unix_seconds(),
            counts: RequestCounts::new(Arc::clone(&shard_metrics), key_series),
            capacity: Capacity::new(self.service_time, self.limits, self.seed),
            timer: Timer::start()?,
            store: Store::new(self.store),
            stats: Stats::default(),
            traces: Traces::start(self.traces, &metrics, &mut server)?,
            overload: server.overload(),
        });
        server.overload().register(&metrics)?;
        let refused = Arc::clone(&shard);
        server.on_refused(move |method, uri| {
            if let Some(operation) = handlers::data::operation(method, uri) {
                refused.counts.receive(operation).end(RequestOutcome::Rejected);
            }
        });
        if let Some(limit) = shard.capacity.limit() {
            shard_metrics.active_limit.with_label_values(&[&shard.id.to_string()]).set(gauge(limit as u64));
        }
        let (gauges, read) = (Arc::clone(&shard_metrics), Arc::clone(&shard));
        metrics.before_exposition(move || {
            gauges.active.set(gauge(read.capacity.active() as u64));
            gauges.stored_keys.set(gauge(read.store.keys()));
            gauges.stored_bytes.set(gauge(read.store.bytes()));
        });
        Ok(App { server, metrics, shard_metrics, shard })
    }
}

impl App {
    /// The listening address. Port 0 in the settings is replaced by the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// All routes.
    pub fn router(&self) -> Router {
        routes::router(Arc::clone(&self.shard), self.server.health(), Arc::clone(&self.metrics))
    }

    /// Starts to accept connections.
    ///
    /// # Errors
    /// A thread or a runtime cannot be created.
    pub fn start(self) -> Result<Started, StartError> {
        let router = self.router();
        let Self { server, shard_metrics, shard, .. } = self;
        Ok(server.start(move |worker| {
            if worker.index == 0 {
                let mut keys = KeyTick::new(Arc::clone(&shard), Arc::clone(&shard_metrics));
                worker.tasks.every("key metrics", TICK, move || keys.tick());
            }
            router.clone()
        })?)
    }
}

/// Updates the metrics with a `key` label from the statistics.
struct KeyTick {
    shard: Arc<Shard>,
    metrics: Arc<ShardMetrics>,
    start: Instant,
    shown: HashSet<Key>,
}

impl KeyTick {
    fn new(shard: Arc<Shard>, metrics: Arc<ShardMetrics>) -> Self {
        Self { shard, metrics, start: Instant::now(), shown: HashSet::new() }
    }

    fn tick(&mut self) {
        let top: Vec<_> =
            self.shard.stats.top(COMPARED_KEYS).iter().map(|c| (c.key.clone(), c.lower_bound())).collect();
        self.shard.counts.keys().update(&top, self.start.elapsed());

        let id = self.shard.id.to_string();
        let hot: HashSet<Key> = self.shard.stats.hot().into_iter().map(|hot| hot.key).collect();
        for key in &hot {
            self.metrics.hot_key.with_label_values(&[id.as_str(), key.as_str()]).set(1);
        }
        for key in self.shown.difference(&hot) {
            // The series was created when the key became hot, and is removed only here.
            let _ = self.metrics.hot_key.remove_label_values(&[id.as_str(), key.as_str()]);
        }
        self.shown = hot;
    }
}

/// A count as a gauge's value.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
