//! Starts `probe watch`: reads the store, attaches, drops privileges, takes baselines, serves.

use std::sync::Arc;
use std::time::Duration;

use probe_common::MAX_SHARDS;
use service::members::Members;
use service::metrics::Metrics;
use service::names::Names;
use service::process::StartError;
use service::server::{Server, Started};
use store::urls::HostPort;
use tokio::runtime::Runtime;

use super::discovery::{self, Discovery};
use super::fleet::Fleet;
use super::link::Link;
use super::settings::WatchConfig;
use super::watch::StoreWatch;
use super::window::AnswerWindow;
use crate::attach::KernelSettings;
use crate::compare::gateway::GATEWAYS;
use crate::compare::rounds::{self, CompareHandle};
use crate::compare::stats_client::StatsClient;
use crate::kernel::object::Switches;
use crate::kernel::protocol::Protocol;
use crate::metrics::ProbeMetrics;
use crate::probe::Probe;
use crate::serve::features::features;
use crate::serving::{self, Background, Serving};

/// Length of the window of the long-running answer, at least; at most twice as long.
const WINDOW: Duration = Duration::from_secs(10);

/// A probe that is attached to a store's nodes.
pub(crate) struct Attached {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) probe: Arc<Probe>,
    pub(crate) watch: StoreWatch,
    pub(crate) comparisons: CompareHandle,
}

impl WatchConfig {
    /// Reads the store, attaches, drops privileges, takes baselines, and serves. Call it before the process has other
    /// threads, because privileges belong to a thread.
    ///
    /// # Errors
    /// When the store does not answer, the port is in use, or the programs cannot be attached.
    pub fn start(self) -> Result<Started, StartError> {
        let mut server = Server::bind(self.addr, self.workers)?;
        server.needs(serving::needs(self.memory_limit, MAX_SHARDS as usize));
        let runtime = runtime()?;
        let found = self.discover(&runtime).map_err(StartError::Other)?;
        let Attached { metrics, probe, mut watch, comparisons } =
            self.attach(&found, AnswerWindow::moving(WINDOW))?;
        let shown = Arc::clone(&probe);
        metrics.before_exposition(move || {
            shown.export();
            shown.metrics.features(features(&shown));
        });
        watch.report_blindness_at(server.health());
        let first = runtime.block_on(watch.first_look()).map_err(StartError::Other)?;
        tracing::info!(
            server = first.server,
            nodes = first.nodes.len(),
            commands_from = first.commands_from,
            "watches the store"
        );
        // The connections belong to the runtime above, which ends here.
        watch.renew_links();
        drop(runtime);
        let background: Background = ("store", Box::pin(rounds::run(watch, server.tasks().stopping())));
        let gateways = Members::parse(GATEWAYS, None)?;
        Serving { server, metrics, probe, comparisons, gateways, stats: StatsClient::default() }
            .start(vec![background])
    }

    /// Reads the store's nodes and commands.
    pub(crate) fn discover(&self, runtime: &Runtime) -> Result<Discovery, String> {
        let names = Names::default();
        let link =
            |url: &HostPort| (url.clone(), Link::new(vec![url.clone()], names.clone(), self.login.clone()));
        let mut seeds: Vec<(HostPort, Link)> = self.urls.iter().map(link).collect();
        let found = runtime.block_on(discovery::discover(&mut seeds)).map_err(|error| error.to_string())?;
        if let Some(why) = &found.no_counts {
            tracing::warn!(%why, "kernel and store cannot be compared");
        }
        Ok(found)
    }

    /// Attaches the programs and drops all privileges.
    pub(crate) fn attach(&self, found: &Discovery, window: AnswerWindow) -> Result<Attached, StartError> {
        let fleet = Fleet::new(&found.topology);
        let metrics = Arc::new(Metrics::default());
        let probe_metrics = ProbeMetrics::register(&metrics, fleet.capacity())?;
        let switches = Switches { shards: fleet.capacity(), protocol: Protocol::Resp, ..Switches::default() };
        let kernel = KernelSettings {
            cgroup: self.cgroup.clone(),
            switches,
            program_stats: self.program_stats,
            pin: None,
        };
        let (probe, _) = kernel.attach(None, probe_metrics)?;
        let probe = Arc::new(probe);
        let (watch, comparisons) =
            StoreWatch::new(Arc::clone(&probe), fleet, found, self.login.clone(), window);
        Ok(Attached { metrics, probe, watch, comparisons })
    }
}

pub(crate) fn runtime() -> Result<Runtime, StartError> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
