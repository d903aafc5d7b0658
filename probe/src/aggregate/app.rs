//! Starts `probe aggregate`: binds, reads all probes once, serves.

use std::sync::Arc;

use parking_lot::Mutex;
use service::metrics::Metrics;
use service::process::{StartError, raise_open_files};
use service::server::{Server, Started};

use super::merge::Merged;
use super::settings::AggregateConfig;
use super::source::MergedSource;
use super::watch::NodesWatch;
use crate::compare::feed::Feed;
use crate::compare::rounds;
use crate::compare::stats_client::StatsClient;
use crate::kernel::cgroup::Cgroup;
use crate::kernel::object::Switches;
use crate::metrics::ProbeMetrics;
use crate::probe::Probe;
use crate::serving::{Background, Serving};

impl AggregateConfig {
    /// Reads all probes once, then serves.
    ///
    /// # Errors
    /// When the port is in use, or a thread or runtime cannot be created.
    pub fn start(self) -> Result<Started, StartError> {
        // A connection for each probe and gateway.
        raise_open_files();
        let Self { addr, workers, shards, probes, gateways, links } = self;
        let server = Server::bind(addr, workers)?;
        let metrics = Arc::new(Metrics::default());
        let registered = ProbeMetrics::register(&metrics, shards.count().get())?;
        let merged = Arc::new(Mutex::new(Merged::new(shards.iter().len())));
        let source = Box::new(MergedSource(Arc::clone(&merged)));
        let cgroup = Cgroup::at(std::path::PathBuf::new());
        let mut probe =
            Probe::new(shards.clone(), cgroup, Vec::new(), Switches::default(), registered, source)
                .with_counting(crate::kernel::pin::counting_from_now());
        probe.feed = Feed::new(links);
        *probe.nodes.lock() = Some(Vec::new());
        let probe = Arc::new(probe);
        let shown = Arc::clone(&probe);
        metrics.before_exposition(move || shown.export());
        let (mut watch, comparisons) =
            NodesWatch::new(Arc::clone(&probe), &shards, merged, probes, gateways.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(watch.first_look());
        // The clients' connections belong to this runtime, which ends here.
        watch.renew_clients();
        drop(runtime);
        let background: Background = ("nodes", Box::pin(rounds::run(watch, server.tasks().stopping())));
        let stats = StatsClient::default();
        Serving { server, metrics, probe, comparisons, gateways, stats }.start(vec![background])
    }
}
