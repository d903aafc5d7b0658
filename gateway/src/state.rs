//! State of the handlers: shared and per core.

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use service::health::Health;
use service::metrics::Metrics;
use service::origin::Origins;
use service::problem::Problem;
use service::tasks::Tasks;
use service::traces::Traces;
use std::sync::Arc;

use crate::cache::Cache;
use crate::error::{Blame, Error};
use crate::mitigation::Mitigations;
use crate::peers::Peers;
use crate::placement::Placement;
use crate::replicas::Replicas;
use crate::replicas::client::ShardClient;
use crate::stats::Stats;

/// The state of one core.
pub struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) shards: ShardClient,
    pub(crate) tasks: Tasks,
}

/// The state that all cores share.
pub(crate) struct Shared {
    pub(crate) placement: Arc<Placement>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) mitigations: Mitigations,
    pub(crate) peers: Peers,
    pub(crate) stats: Stats,
    pub(crate) page_url: Option<HeaderValue>,
    pub(crate) admin_origins: Origins,
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Traces,
}

impl Shared {
    /// Resets statistics, windows and cache. The switches stay.
    pub(crate) fn reset(&self) {
        self.stats.reset();
        self.mitigations.reset();
        self.cache.clear();
    }
}

impl Core {
    /// Counts an error and converts it to a response.
    pub(crate) fn refuse(&self, err: Error) -> Response {
        self.shared.stats.error(&err);
        if err.blame() == Blame::Gateway {
            tracing::error!(%err, "a bug");
        }
        Problem::from(err).into_response()
    }
}
