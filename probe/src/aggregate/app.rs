//! Starts `probe aggregate`: binds, reads all probes once, serves.

use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use service::limits::Needs;
use service::members::Members;
use service::metrics::Metrics;
use service::process::{StartError, raise_open_files};
use service::server::{Server, Started};

use super::merge::Merged;
use super::settings::{AggregateConfig, PROBES, Processes};
use super::source::MergedSource;
use super::watch::NodesWatch;
use crate::compare::feed::Feed;
use crate::compare::gateway::GATEWAYS;
use crate::compare::rounds;
use crate::compare::stats_client::StatsClient;
use crate::error::ProbeError;
use crate::kernel::cgroup::Cgroup;
use crate::kernel::object::Switches;
use crate::metrics::ProbeMetrics;
use crate::pods::PodWatch;
use crate::pods::urls::PodUrls;
use crate::probe::Probe;
use crate::serve::features::features;
use crate::serving::{self, Background, Serving};

impl AggregateConfig {
    /// What the aggregator needs beside its clients' connections.
    #[must_use]
    pub fn needs(&self) -> Needs {
        serving::needs(self.memory_limit, self.shards.iter().len())
    }

    /// Reads all probes once, then serves.
    ///
    /// # Errors
    /// When the port is in use, or a thread or runtime cannot be created.
    pub fn start(self) -> Result<Started, StartError> {
        // A connection for each probe and gateway.
        raise_open_files();
        let needs = self.needs();
        let Self { addr, workers, shards, probes, gateways, links, .. } = self;
        let mut server = Server::bind(addr, workers)?;
        server.needs(needs);
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
        metrics.before_exposition(move || {
            shown.export();
            shown.metrics.features(features(&shown));
        });
        let mut pods: Vec<(&'static str, PodWatch)> = Vec::new();
        let mut members = |processes, kind, feature| match processes {
            Processes::Listed(members) => Ok(members),
            Processes::Pods(selection) => {
                let watch = PodWatch::new(selection.clone()).map_err(ProbeError::Pods)?;
                let finder = Arc::new(PodUrls::new(watch.found(), &selection));
                pods.push((feature, watch));
                Ok::<_, StartError>(Members::found_by(kind, finder))
            }
        };
        let probes = members(probes, PROBES, "probe_pods")?;
        let gateways = members(gateways, GATEWAYS, "gateway_pods")?;
        let found = pods.iter().map(|(name, watch)| (*name, watch.found())).collect();
        // The cell is empty, because each probe is started once.
        let _ = probe.pods.set(found);
        let (mut watch, comparisons) =
            NodesWatch::new(Arc::clone(&probe), &shards, merged, probes, gateways.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            join_all(pods.iter_mut().map(|(_, pods)| pods.first())).await;
            watch.first_look().await;
        });
        // The clients' connections belong to this runtime, which ends here.
        watch.renew_clients();
        drop(runtime);
        let stopping = || server.tasks().stopping();
        let mut background: Vec<Background> = vec![("nodes", Box::pin(rounds::run(watch, stopping())))];
        for (name, pods) in pods {
            background.push((name, Box::pin(pods.run(stopping()))));
        }
        let stats = StatsClient::default();
        Serving { server, metrics, probe, comparisons, gateways, stats }.start(background)
    }
}
