//! Serves the HTTP interface of an attached probe, and runs its background tasks.

use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use service::limits::Needs;
use service::members::Members;
use service::metrics::Metrics;
use service::process::StartError;
use service::server::{Server, Started};

use crate::compare::rounds::CompareHandle;
use crate::compare::stats_client::StatsClient;
use crate::probe::Probe;
use crate::routes;
use crate::serve::state::ApiState;

/// Memory of a probe in bytes without shards and connections.
const OWN_BYTES: u64 = 48 << 20;
/// Memory of a shard's counts, keys and history in bytes.
const SHARD_BYTES: u64 = 140 * 1024;
/// Connections to a shard or probe at the same time.
const CALLS: u64 = 2;
/// Descriptors for maps, programs, links, and connections to gateways.
const OTHER_DESCRIPTORS: u64 = 192;

/// What a probe of so many shards needs beside its clients' connections.
pub(crate) fn needs(memory_limit: Option<u64>, shards: usize) -> Needs {
    let shards = shards as u64;
    Needs {
        memory_limit,
        bytes: OWN_BYTES + shards * SHARD_BYTES,
        descriptors: OTHER_DESCRIPTORS + shards * CALLS,
    }
}

/// A task that runs until the process stops, with its name.
pub(crate) type Background = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// What the handlers need.
pub(crate) struct Serving {
    pub(crate) server: Server,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) probe: Arc<Probe>,
    pub(crate) comparisons: CompareHandle,
    pub(crate) gateways: Members,
    pub(crate) stats: StatsClient,
}

impl Serving {
    /// Starts the workers. The first one runs the background tasks too.
    pub(crate) fn start(self, background: Vec<Background>) -> Result<Started, StartError> {
        let Self { server, metrics, probe, comparisons, gateways, stats } = self;
        server.overload().register(&metrics)?;
        let gateways = Arc::new(gateways);
        let health = server.health();
        let background = Mutex::new(background);
        let started = server.start(move |worker| {
            for (name, task) in background.lock().drain(..) {
                drop(worker.tasks.spawn(name, task));
            }
            let state = ApiState {
                probe: Arc::clone(&probe),
                comparisons: comparisons.clone(),
                stats: stats.clone(),
                gateways: Arc::clone(&gateways),
            };
            routes::router(state, health.clone(), Arc::clone(&metrics))
        })?;
        Ok(started)
    }
}
