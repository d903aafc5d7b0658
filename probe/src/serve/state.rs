//! Defines the state shared by the handlers.

use std::sync::Arc;

use service::members::Members;

use crate::compare::rounds::CompareHandle;
use crate::compare::stats_client::StatsClient;
use crate::probe::Probe;

/// The state of the handlers.
#[derive(Clone)]
pub struct ApiState {
    /// The attached probe.
    pub probe: Arc<Probe>,
    /// Requests fresh comparisons.
    pub comparisons: CompareHandle,
    /// Reads the statistics of shards and gateways.
    pub stats: StatsClient,
    /// The gateways, if any are configured.
    pub gateways: Arc<Members>,
}
