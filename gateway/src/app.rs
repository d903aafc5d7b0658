//! Builds the gateway from its settings and starts it.

use axum::Router;
use axum::http::uri::InvalidUri;
use service::limits::{self, Needs};
use service::metrics::Metrics;
use service::names::Names;
use service::process::StartError;
use service::server::{Server, Started, Worker};
use service::traces::Traces;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::config::Config;
use crate::http1::connector::Connector;
use crate::metrics::breakers::BreakerMetrics;
use crate::metrics::{GatewayMetrics, MitigationMetrics, PeerMetrics};
use crate::mitigation::{Mitigations, Parts, Switches};
use crate::peers::Peers;
use crate::placement::Placement;
use crate::replicas::Replicas;
use crate::replicas::client::ShardClient;
use crate::routes;
use crate::sharing;
use crate::state::{Core, Shared};
use crate::stats::Stats;
use crate::upstream::check::{self, Checker};
use crate::upstream::first_contact;
use crate::upstream::in_flight::{InFlight, connections, share};
use crate::upstream::pool::SWEEP_PERIOD;
use crate::upstream::shard_health::ShardHealth;
use crate::upstream::{Shared as Calls, Target, Upstream};

/// How often the keys with a metric series of their own are chosen.
const PROMOTION_PERIOD: Duration = Duration::from_secs(1);
/// Memory of a gateway in bytes without cache and connections: program, statistics of keys, negative cache.
const OWN_BYTES: u64 = 80 << 20;
/// Memory of a connection to a shard and of its request in bytes.
const CALL_BYTES: u64 = 20 * 1024;
/// How often the gateway checks whether another second can be judged.
const JUDGE_PERIOD: Duration = Duration::from_millis(200);

/// A gateway with a bound port and registered metrics. It does not accept connections yet.
pub struct Gateway {
    server: Server,
    cores: Cores,
}

/// The inputs of every core's state: the shared state, and one shard client per core.
struct Cores {
    shared: Arc<Shared>,
    shards: Vec<ShardClient>,
    checks: Checks,
}

/// What the checks of shards need.
struct Checks {
    checker: Checker,
    deadline: Duration,
}

impl Config {
    /// Binds the port and registers every metric.
    ///
    /// # Errors
    /// The port cannot be bound, the exporter of traces cannot start, or a metric cannot be registered.
    pub fn build(self) -> Result<Gateway, StartError> {
        let mut server = Server::bind(self.listen, self.workers)?;
        server.needs(self.needs(limits::open_files()));
        let placement =
            Arc::new(Placement::new(self.shards.clone(), self.placement, self.bounded_load_epsilon));
        let metrics = Arc::new(Metrics::default());
        let traces = Traces::start(self.traces, &metrics, &mut server)?;
        server.overload().register(&metrics)?;
        let gateway_metrics = GatewayMetrics::register(&metrics, placement.count())?;
        let routing = gateway_metrics.routing.clone();
        let health = Arc::new(ShardHealth::new(self.shards.iter().count()));
        let stats = Stats::new(gateway_metrics, self.key_statistics, Arc::clone(&health));
        let targets: Arc<[Target]> = self
            .shards
            .iter()
            .zip(stats.sent_counters())
            .map(|(url, sent)| Ok(Target::new(url.to_string().parse()?, sent)))
            .collect::<Result<_, InvalidUri>>()
            .map_err(|err| StartError::Other(err.to_string()))?;
        let room = share(limits::open_files(), targets.len());
        let in_flight = Arc::new(InFlight::new(targets.len(), room, self.workers));
        let replicas = Arc::new(Replicas::new(
            targets.len(),
            Arc::clone(&in_flight),
            Arc::clone(&health),
            self.upstream_timeout,
        ));
        let calls = Calls {
            targets: Arc::clone(&targets),
            keys: Arc::clone(stats.keys()),
            traces: traces.clone(),
            in_flight: Arc::clone(&in_flight),
            health: Arc::clone(&health),
            overload: server.overload(),
            deadline: self.upstream_timeout,
        };
        let names = Names::default();
        let shards = (0..self.workers.get())
            .map(|_| ShardClient {
                replicas: Arc::clone(&replicas),
                placement: Arc::clone(&placement),
                upstream: Upstream::new(calls.clone(), Connector::new(names.clone(), self.connect_timeout)),
                metrics: routing.clone(),
                tasks: server.tasks(),
            })
            .collect();
        let switches = Switches::at_start(self.cache_enabled, self.cache_ttl_seconds);
        let cache = Arc::new(Cache::new(switches.for_cache(), self.cache_max_bytes));
        let peers =
            Peers::new(self.peers, names.clone(), server.overload(), PeerMetrics::register(&metrics)?);
        if !peers.is_empty() {
            let problem = "other gateways have not been asked for their settings";
            server.health().set_problem(sharing::TOPIC, Some(problem.into()));
        }
        first_contact::begin(&server.health(), targets.len());
        let shared = Arc::new(Shared {
            mitigations: Mitigations::new(
                peers.gateway(),
                switches,
                Parts {
                    cache: Arc::clone(&cache),
                    replicas: Arc::clone(&replicas),
                    placement: Arc::clone(&placement),
                    keys: Arc::clone(stats.keys()),
                    traces: traces.clone(),
                    metrics: MitigationMetrics::register(&metrics)?,
                },
            ),
            peers,
            placement,
            cache,
            replicas,
            stats,
            breakers: health,
            page_url: self.page_url,
            admin_origins: self.admin_origins,
            health: server.health(),
            overload: server.overload(),
            metrics: Arc::clone(&metrics),
            traces,
        });
        // Metrics are part of `Shared`. A strong reference here would be a cycle that is never freed.
        let seen = Arc::downgrade(&shared);
        let breakers = BreakerMetrics::register(&metrics, shared.placement.count())?;
        metrics.before_exposition(move || {
            if let Some(shared) = seen.upgrade() {
                shared.stats.show(shared.cache.held());
                breakers.show(shared.breakers.breakers());
            }
        });
        let checks = Checks {
            checker: Checker::new(targets, Connector::new(names, self.connect_timeout), server.overload()),
            deadline: self.upstream_timeout,
        };
        Ok(Gateway { server, cores: Cores { shared, shards, checks } })
    }
}

impl Config {
    /// What the gateway needs beside its clients' connections, with this limit of open files.
    #[must_use]
    pub fn needs(&self, open_files: u64) -> Needs {
        let shards = self.shards.iter().count();
        let calls = connections(share(open_files, shards) * shards) as u64;
        Needs {
            memory_limit: self.memory_limit,
            bytes: OWN_BYTES + self.cache_max_bytes + calls * CALL_BYTES,
            descriptors: calls,
        }
    }
}

impl Gateway {
    /// The listening address. Port 0 in the settings is replaced by the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Builds the routes of one core. Worker 0 also starts the background tasks. Call it inside the core's runtime.
    pub fn router(&self, worker: &Worker) -> Router {
        routes::router(self.cores.core(worker))
    }

    /// Serves requests with one thread and one runtime per core. Returns when the other gateways were asked for their
    /// settings, after two seconds at most.
    ///
    /// # Errors
    /// A thread or a runtime cannot be created.
    pub fn start(self) -> Result<Started, StartError> {
        let Self { server, cores } = self;
        let shared = Arc::clone(&cores.shared);
        let started = server.start(move |worker| routes::routes(cores.core(worker)))?;
        shared.peers.wait_until_asked(sharing::START_TIMEOUT);
        Ok(started)
    }
}

impl Cores {
    /// The state of a core. Starts its background tasks, too.
    fn core(&self, worker: &Worker) -> Arc<Core> {
        let shards = self.shards[worker.index % self.shards.len()].clone();
        let pool = Arc::clone(shards.upstream.pool());
        worker.tasks.every("idle connections", SWEEP_PERIOD, move || pool.sweep());
        if worker.index == 0 {
            let shared = Arc::clone(&self.shared);
            worker.tasks.every("key series", PROMOTION_PERIOD, move || shared.stats.promote());
            let shared = Arc::clone(&self.shared);
            worker.tasks.every("verdict", JUDGE_PERIOD, move || shared.stats.judge());
            let (shared, shards) = (Arc::clone(&self.shared), shards.clone());
            worker.tasks.every("mitigations", JUDGE_PERIOD, move || shared.mitigations.tick(&shards));
            if !self.shared.peers.is_empty() {
                let run = sharing::run(Arc::clone(&self.shared), worker.tasks.stopping());
                drop(worker.tasks.spawn("peers", run));
            }
            let Checks { checker, deadline } = &self.checks;
            let breakers = || Arc::clone(&self.shared.breakers);
            let (ready, stopping) = (self.shared.health.clone(), worker.tasks.stopping());
            let contact = first_contact::run(checker.clone(), breakers(), ready, stopping);
            drop(worker.tasks.spawn("first contact", contact));
            check::start(&worker.tasks, checker.clone(), breakers(), *deadline);
        }
        Arc::new(Core { shared: Arc::clone(&self.shared), shards, tasks: worker.tasks.clone() })
    }
}
