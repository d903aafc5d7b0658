//! Starts the probe: binds, attaches, drops privileges, takes baselines, serves.

use std::path::Path;
use std::sync::Arc;

use aya::Ebpf;
use parking_lot::Mutex;
use service::metrics::Metrics;
use service::process::StartError;
use service::server::{Server, Started};

use crate::compare::feed::Feed;
use crate::compare::gateway::urls::GatewayUrls;
use crate::compare::stats_client::StatsClient;
use crate::compare::watch::{CompareHandle, Watch};
use crate::config::Config;
use crate::error::ProbeError;
use crate::kernel::attach::Links;
use crate::kernel::log::KernelLog;
use crate::kernel::pin::folder::Folder;
use crate::kernel::pin::{Identity, PinnedSet};
use crate::kernel::statistics::Statistics;
use crate::kernel::{attach, object, preflight, privileges};
use crate::metrics::ProbeMetrics;
use crate::pods::Pods;
use crate::probe::Probe;
use crate::routes;
use crate::serve::features::features;
use crate::serve::state::ApiState;
use crate::serve::unread::Unread;
use crate::source::KernelSource;

/// A probe that is attached, bound, and unprivileged.
pub struct App {
    server: Server,
    metrics: Arc<Metrics>,
    probe: Arc<Probe>,
    gateways: GatewayUrls,
    pods: Option<Pods>,
    kernel_log: Option<KernelLog>,
}

impl Config {
    /// Binds the port, attaches the programs, and drops all privileges. Call it before the process has other threads,
    /// because privileges belong to a thread.
    ///
    /// # Errors
    /// When the port is in use, or the programs cannot be loaded or attached.
    pub fn build(self) -> Result<App, StartError> {
        let server = Server::bind(self.addr, self.workers)?;
        let pods = |settings| Pods::new(settings, self.shards.iter().len());
        let pods = self.pods.clone().map(pods).transpose().map_err(ProbeError::Pods)?;
        let metrics = Arc::new(Metrics::default());
        let probe_metrics = ProbeMetrics::register(&metrics, self.shards.count().get())?;
        let (mut probe, kernel_log) = self.attach(probe_metrics)?;
        probe.feed = Feed::new(self.links);
        for feature in features(&probe) {
            probe.metrics.feature(&feature);
        }
        Ok(App { server, metrics, probe: Arc::new(probe), gateways: self.gateways, pods, kernel_log })
    }

    fn attach(&self, metrics: ProbeMetrics) -> Result<(Probe, Option<KernelLog>), ProbeError> {
        let object = object::embedded()?;
        privileges::sufficient(privileges::of_this_process()?.effective)?;
        let cgroup = preflight::cgroup(self.cgroup.as_deref())?;
        let (mut ebpf, links) = self.load(object, &cgroup)?;
        let kernel_log = if self.switches.kernel_log { Some(KernelLog::take(&mut ebpf)?) } else { None };
        let (source, programs) = KernelSource::attach(ebpf, self.switches.protocol, &cgroup, links)?;
        let counting = source.counting();
        if let Some(pinned) = &counting.pinned {
            let (folder, gap) = (&pinned.directory, pinned.gap_seconds);
            if pinned.adopted {
                let since = counting.since;
                tracing::info!(folder, since, gap, "goes on with the pinned set");
            } else {
                tracing::info!(folder, "pinned");
            }
        }
        let statistics = Statistics::switch(self.program_stats);
        privileges::drop_all()?;
        tracing::info!(cgroup = %cgroup.display(), "attached; privileges dropped");
        let (shards, source) = (self.shards.clone(), Box::new(source));
        let probe = Probe::new(shards, cgroup, programs, self.switches, metrics, source)
            .with_statistics(statistics)
            .with_counting(counting);
        Ok((probe, kernel_log))
    }

    /// Loads the object with new maps, or with the maps of the pinned set.
    fn load(&self, object: &[u8], cgroup: &Path) -> Result<(Ebpf, Links), ProbeError> {
        let load = |pins: &[_]| object::load_pinned(object, self.switches, pins);
        let Some(folder) = &self.pin else { return Ok((load(&[])?, Links::Held(Vec::new()))) };
        let folder = Folder::open(folder)?;
        let identity = Identity::new(&self.shards, object, cgroup, attach::required())?;
        let (ebpf, set) = PinnedSet::begin(folder, &identity, load)?;
        Ok((ebpf, Links::Pinned(set)))
    }
}

impl App {
    /// Takes the first baselines, then serves.
    ///
    /// # Errors
    /// When a thread, runtime or client cannot be created.
    pub fn start(self) -> Result<Started, StartError> {
        let Self { server, metrics, probe, gateways, mut pods, kernel_log } = self;
        let shown = Arc::clone(&probe);
        metrics.before_exposition(move || shown.export());
        let (watch, comparisons) = first_look(&probe, gateways.clone(), pods.as_mut())?;
        let gateways = Arc::new(gateways);
        let stats = StatsClient::default();
        let unread = Unread::default();
        let (health, tasks) = (server.health(), server.tasks());
        // The first worker that starts takes the background tasks.
        let background = Mutex::new(Some((watch, pods, kernel_log)));
        let started = server.start(move |worker| {
            if let Some((watch, pods, kernel_log)) = background.lock().take() {
                drop(worker.tasks.spawn("watch", watch.run(tasks.stopping())));
                if let Some(pods) = pods {
                    drop(worker.tasks.spawn("pods", pods.run(tasks.stopping())));
                }
                if let Some(kernel_log) = kernel_log {
                    drop(worker.tasks.spawn("kernel-log", kernel_log.run(tasks.stopping())));
                }
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

/// Takes baselines of all shards that can be read, before the probe reports that it is ready.
fn first_look(
    probe: &Arc<Probe>,
    gateways: GatewayUrls,
    mut pods: Option<&mut Pods>,
) -> Result<(Watch, CompareHandle), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (watch, comparisons) = Watch::new(Arc::clone(probe), probe.shards.clone(), StatsClient::default());
    let mut watch = watch.with_gateways(gateways).with_pods(pods.as_deref().map(Pods::known));
    runtime.block_on(async {
        if let Some(pods) = pods.as_deref_mut() {
            pods.refresh().await;
        }
        watch.first_look().await;
    });
    // The clients' connections belong to the runtime above, which ends here.
    watch.renew_client(StatsClient::default());
    pods.map_or(Ok(()), Pods::renew_client).map_err(ProbeError::Pods)?;
    Ok((watch, comparisons))
}
