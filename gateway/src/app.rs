//! Building the gateway from its settings, and starting it.

use axum::Router;
use service::metrics::Metrics;
use service::process::StartError;
use service::server::{Server, Started, Worker};
use service::traces::Traces;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::negative_cache::NegativeCache;
use crate::config::Config;
use crate::metrics::GatewayMetrics;
use crate::mitigation::{MitigationMetrics, Mitigations, Settings};
use crate::placement::Placement;
use crate::replicas::Replicas;
use crate::routes;
use crate::state::{Core, Shared};
use crate::stats::Stats;
use crate::upstream::in_flight::InFlight;
use crate::upstream::{Target, Upstream};

/// How often it is decided which keys have a series of their own.
const PROMOTION_PERIOD: Duration = Duration::from_secs(1);
/// How often it is looked whether a second has passed that can be judged.
const JUDGE_PERIOD: Duration = Duration::from_millis(200);

/// A gateway that has its port and everything else it needs, and does not serve yet.
pub struct Gateway {
    server: Server,
    cores: Cores,
}

/// Everything a core's router is made of: what is shared, and one client to the shards a core.
struct Cores {
    shared: Arc<Shared>,
    upstreams: Vec<Upstream>,
}

impl Config {
    /// Binds the port and registers every metric.
    ///
    /// # Errors
    /// When the port cannot be had, or a metric cannot be made.
    pub fn build(self) -> Result<Gateway, StartError> {
        let mut server = Server::bind(self.listen, self.workers)?;
        let placement = Placement::new(self.shards.clone(), self.placement, self.bounded_load_epsilon);
        let metrics = Arc::new(Metrics::default());
        let traces = Traces::start(self.traces, &metrics, &mut server)?;
        let stats = Stats::new(GatewayMetrics::register(&metrics, placement.count())?, self.key_statistics);
        let targets: Arc<[Target]> = self
            .shards
            .iter()
            .zip(stats.sent_counters())
            .map(|(url, sent)| Target { base: url.to_string(), sent })
            .collect();
        let in_flight = Arc::new(InFlight::new(targets.len()));
        let upstreams = (0..self.workers.get())
            .map(|_| {
                let (targets, keys) = (Arc::clone(&targets), Arc::clone(stats.keys()));
                Upstream::new(
                    targets,
                    keys,
                    traces.clone(),
                    Arc::clone(&in_flight),
                    self.connect_timeout,
                    self.upstream_timeout,
                )
            })
            .collect();
        let settings = Settings::at_start(self.cache_enabled, self.cache_ttl_seconds);
        let cache = Arc::new(Cache::new(settings.of_cache(), self.cache_max_bytes));
        let negatives = Arc::new(NegativeCache::default());
        let shards = targets.len();
        let replicas = Arc::new(Replicas::new(shards, Arc::clone(&in_flight), self.upstream_timeout));
        let switched = MitigationMetrics::register(&metrics)?;
        let shared = Arc::new(Shared {
            placement,
            mitigations: Mitigations::new(
                settings,
                Arc::clone(&cache),
                Arc::clone(&negatives),
                Arc::clone(&replicas),
                shards,
                switched,
            ),
            cache,
            negatives,
            replicas,
            stats,
            page_url: self.page_url,
            admin_origins: self.admin_origins,
            health: server.health(),
            metrics: Arc::clone(&metrics),
            traces,
        });
        // The registry outlives no request and must not keep itself alive.
        let seen = Arc::downgrade(&shared);
        metrics.before_exposition(move || {
            if let Some(shared) = seen.upgrade() {
                shared.stats.show_cache_size(shared.cache.held());
            }
        });
        Ok(Gateway { server, cores: Cores { shared, upstreams } })
    }
}

impl Gateway {
    /// Where it listens; tells the port when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// One core's routes. Worker 0 also gets the background tasks. To be called inside the core's runtime.
    pub fn router(&self, worker: &Worker) -> Router {
        self.cores.router(worker)
    }

    /// Serves, one thread and runtime a core.
    ///
    /// # Errors
    /// When a thread or runtime cannot be had.
    pub fn start(self) -> Result<Started, StartError> {
        let Self { server, cores } = self;
        Ok(server.start(move |worker| cores.router(worker))?)
    }
}

impl Cores {
    fn router(&self, worker: &Worker) -> Router {
        let upstream = self.upstreams[worker.index % self.upstreams.len()].clone();
        let core = Arc::new(Core { shared: Arc::clone(&self.shared), upstream, tasks: worker.tasks.clone() });
        if worker.index == 0 {
            let shared = Arc::clone(&self.shared);
            worker.tasks.every("key series", PROMOTION_PERIOD, move || shared.stats.promote());
            let shared = Arc::clone(&self.shared);
            worker.tasks.every("verdict", JUDGE_PERIOD, move || shared.stats.judge());
            let first = Arc::clone(&core);
            worker.tasks.every("mitigations", JUDGE_PERIOD, move || first.shared.mitigations.tick(&first));
        }
        routes::router(core)
    }
}
