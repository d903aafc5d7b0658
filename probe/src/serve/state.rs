//! State shared by the handlers.

use std::sync::Arc;

use crate::compare::gateway::urls::GatewayUrls;
use crate::compare::stats_client::StatsClient;
use crate::compare::watch::CompareHandle;
use crate::probe::Probe;
use crate::serve::unread::Unread;

/// What the handlers need.
#[derive(Clone)]
pub struct ApiState {
    /// The attached probe.
    pub probe: Arc<Probe>,
    /// The way to a fresh comparison.
    pub comparisons: CompareHandle,
    /// The way to what shards and gateways say themselves.
    pub stats: StatsClient,
    /// The gateways, where any are to be asked.
    pub gateways: Arc<GatewayUrls>,
    /// Room for answers that wait to be read.
    pub unread: Unread,
}
