//! Serves the HTTP interface of an attached probe, and runs its background tasks.

use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use service::members::Members;
use service::metrics::Metrics;
use service::process::StartError;
use service::server::{Server, Started};

use crate::compare::rounds::CompareHandle;
use crate::compare::stats_client::StatsClient;
use crate::probe::Probe;
use crate::routes;
use crate::serve::state::ApiState;
use crate::serve::unread::Unread;

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
        let gateways = Arc::new(gateways);
        let unread = Unread::default();
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
                unread: unread.clone(),
            };
            routes::router(state, health.clone(), Arc::clone(&metrics))
        })?;
        Ok(started)
    }
}
