//! State of the handlers: shared and per core.

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use service::health::Health;
use service::metrics::Metrics;
use service::origin::Origins;
use service::overload::Overload;
use service::problem::Problem;
use service::tasks::Tasks;
use service::traces::Traces;
use std::sync::Arc;

use crate::cache::Cache;
use crate::error::Error;
use crate::mitigation::Mitigations;
use crate::peers::Peers;
use crate::placement::Placement;
use crate::replicas::Replicas;
use crate::replicas::client::ShardClient;
use crate::stats::Stats;
use crate::upstream::shard_health::ShardHealth;

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
    pub(crate) breakers: Arc<ShardHealth>,
    pub(crate) page_url: Option<HeaderValue>,
    pub(crate) admin_origins: Origins,
    pub(crate) health: Health,
    pub(crate) overload: Overload,
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
        match err {
            Error::Internal { .. } => tracing::error!(%err, "a bug"),
            Error::NoDescriptor => self.shared.overload.no_descriptor(),
            _ => {}
        }
        Problem::from(err).into_response()
    }
}
