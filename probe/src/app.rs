//! Starts the probe: binds, attaches, drops privileges, takes baselines, serves.

use std::sync::Arc;

use protocol::shard_urls::ShardUrls;
use service::limits::Needs;
use service::members::Members;
use service::metrics::Metrics;
use service::process::StartError;
use service::server::{Server, Started};
use service::tasks::Tasks;

use crate::compare::blind::Alarm;
use crate::compare::feed::Feed;
use crate::compare::stats_client::StatsClient;
use crate::compare::watch::Watch;
use crate::config::Config;
use crate::error::ProbeError;
use crate::kernel::log::KernelLog;
use crate::metrics::ProbeMetrics;
use crate::pods::PodWatch;
use crate::pods::selection::Selection;
use crate::pods::shards::ShardPods;
use crate::probe::{Probe, SHARD_PODS};
use crate::serve::features::features;
use crate::serving::{self, Background, Serving};

/// A probe that is attached, bound, and unprivileged.
pub struct App {
    server: Server,
    metrics: Arc<Metrics>,
    probe: Arc<Probe>,
    shards: ShardUrls,
    gateways: Members,
    pods: Option<(Selection, PodWatch)>,
    kernel_log: Option<KernelLog>,
    /// The process's tasks, if the process is to end when the probe is blind.
    ends_when_blind: Option<Tasks>,
}

impl Config {
    /// What the probe needs beside its clients' connections.
    #[must_use]
    pub fn needs(&self) -> Needs {
        serving::needs(self.memory_limit, self.shards.iter().len())
    }

    /// Binds the port, attaches the programs, and drops all privileges. Call it before the process has other threads,
    /// because privileges belong to a thread.
    ///
    /// # Errors
    /// When the port is in use, or the programs cannot be loaded or attached.
    pub fn build(self) -> Result<App, StartError> {
        let mut server = Server::bind(self.addr, self.workers)?;
        server.needs(self.needs());
        let watched = |selection: Selection| Ok((selection.clone(), PodWatch::new(selection)?));
        let pods = self.pods.clone().map(watched).transpose().map_err(ProbeError::Pods)?;
        let metrics = Arc::new(Metrics::default());
        let probe_metrics = ProbeMetrics::register(&metrics, self.shards.count().get())?;
        let (mut probe, kernel_log) = self.kernel().attach(Some(self.shards.clone()), probe_metrics)?;
        probe.feed = Feed::new(self.links);
        probe.node = self.node;
        let ends_when_blind = self.exit_when_blind.then(|| server.tasks());
        let (probe, shards, gateways) = (Arc::new(probe), self.shards, self.gateways);
        Ok(App { server, metrics, probe, shards, gateways, pods, kernel_log, ends_when_blind })
    }
}

impl App {
    /// Takes the first baselines, then serves.
    ///
    /// # Errors
    /// When a thread, runtime or client cannot be created.
    pub fn start(self) -> Result<Started, StartError> {
        let Self { server, metrics, probe, shards, gateways, mut pods, kernel_log, ends_when_blind } = self;
        let shown = Arc::clone(&probe);
        metrics.before_exposition(move || {
            shown.export();
            shown.metrics.features(features(&shown));
        });
        let stats = StatsClient::default();
        let (watch, comparisons) = Watch::new(Arc::clone(&probe), shards, stats.clone());
        let watch = watch
            .with_gateways(gateways.clone())
            .with_alarm(Alarm { health: server.health(), ends_when_blind });
        let found = pods.as_ref().map(|(selection, pods)| (selection, pods.found()));
        if let Some((_, found)) = &found {
            // The cell is empty, because each probe is started once.
            let _ = probe.pods.set(vec![(SHARD_PODS, found.clone())]);
        }
        let shards = probe.shards.all().len();
        let watch = watch.with_pods(found.map(|(selection, found)| ShardPods::new(found, selection, shards)));
        let watch = first_look(watch, pods.as_mut().map(|(_, pods)| pods))?;
        let stopping = || server.tasks().stopping();
        let mut background: Vec<Background> = vec![("watch", Box::pin(watch.run(stopping())))];
        background.extend(pods.map(|(_, pods)| -> Background { ("pods", Box::pin(pods.run(stopping()))) }));
        let kernel_log =
            kernel_log.map(|log| -> Background { ("kernel-log", Box::pin(log.run(stopping()))) });
        background.extend(kernel_log);
        Serving { server, metrics, probe, comparisons, gateways, stats: stats.renewed() }.start(background)
    }
}

/// Takes baselines of all shards that can be read, before the probe reports that it is ready.
fn first_look(mut watch: Watch, pods: Option<&mut PodWatch>) -> Result<Watch, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(pods) = pods {
            pods.first().await;
        }
        watch.first_look().await;
    });
    // The client's connections belong to the runtime above, which ends here.
    watch.renew_client();
    Ok(watch)
}
