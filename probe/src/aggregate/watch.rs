//! Runs the aggregator's loop: reads all probes, adds up, takes over comparisons, judges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use probe_common::requests::REASONS;
use protocol::probe_api::{CauseKind, Comparison, HotKeyOverlap, NodeReport, NodeShard};
use protocol::shard_urls::ShardUrls;
use service::clock::unix_seconds;
use service::members::Members;

use super::merge::{Merged, Watchers};
use super::nodes::Nodes;
use crate::compare::feed::ShardSample;
use crate::compare::gateway::Gateway;
use crate::compare::health::{Check, Health};
use crate::compare::judge::Judge;
use crate::compare::reconcile::cause::Cause;
use crate::compare::reconcile::{AppReading, Bracket};
use crate::compare::rounds::{CompareHandle, Requests, Rounds};
use crate::compare::snapshot::Snapshot;
use crate::compare::stats_client::StatsClient;
use crate::probe::Probe;
use crate::targets::{Target, Targets};

/// The loop's state, owned by one task.
pub(super) struct NodesWatch {
    probe: Arc<Probe>,
    stats: StatsClient,
    nodes: Nodes,
    merged: Arc<Mutex<Merged>>,
    gateway: Option<Gateway>,
    judge: Judge,
    health: Health,
    seen: Vec<Option<ShardSample>>,
    requests: Requests,
    /// Whether a probe could soon report a final comparison.
    settling: bool,
    start: Instant,
}

/// One shard in a round of reports.
struct View<'a> {
    /// The node whose comparison counts, and its report of the shard.
    report: Option<(&'a NodeReport, &'a NodeShard)>,
    /// Why its counts are not those of all its requests.
    problem: Option<String>,
    /// Whether its growth in this round is unknown.
    is_baseline: bool,
}

impl NodesWatch {
    /// Creates a loop and the handle to request comparisons from it.
    pub(super) fn new(
        probe: Arc<Probe>,
        shards: &ShardUrls,
        merged: Arc<Mutex<Merged>>,
        urls: Members,
        gateways: Members,
    ) -> (Self, CompareHandle) {
        let (handle, requests) = CompareHandle::channel();
        let stats = StatsClient::default();
        let watch = Self {
            probe,
            nodes: Nodes::new(urls, stats.renewed()),
            stats,
            merged,
            gateway: (!gateways.is_empty()).then(|| Gateway::new(gateways, shards.iter().len())),
            judge: Judge::default(),
            health: Health::default(),
            seen: Vec::new(),
            requests,
            settling: false,
            start: Instant::now(),
        };
        (watch, handle)
    }

    /// Reads all probes once.
    pub(super) async fn first_look(&mut self) {
        self.look().await;
    }

    /// Replaces the clients, for another runtime.
    pub(super) fn renew_clients(&mut self) {
        self.stats = self.stats.renewed();
        self.nodes.renew_client();
    }

    async fn compare(&mut self) -> Snapshot {
        let (probe, start) = (&Arc::clone(&self.probe), self.start);
        let stats = &self.stats.clone();
        let reports = self.nodes.read().await;
        let now = start.elapsed();
        let watchers = self.merged.lock().observe(now, &reports.iter().collect::<Vec<_>>());
        self.settling = reports.iter().any(|report| report.settling);
        let views: Vec<View<'_>> =
            (0..).zip(&watchers).map(|(id, all)| self.view(id, all, &reports)).collect();
        self.publish(&views);
        let mut shards: Vec<Comparison> = views.iter().map(View::comparison).collect();
        let (mut brackets, mut seen) = (Vec::new(), Vec::new());
        for (id, view) in (0..).zip(&views) {
            let bracket = self.bracket(id, now, view);
            let latency = probe.source().and_then(|mut source| source.latency(id)).unwrap_or_default();
            seen.push(bracket.as_ref().map(|bracket| ShardSample::of(bracket, latency)));
            brackets.push(bracket);
        }
        let hot_keys = self.count_keys(now, &views);
        let judged = if self.judge.is_due(now) {
            let problem = (0..).zip(&views).find_map(|(id, view): (u32, _)| {
                let why = view.problem.clone();
                let why = why.or_else(|| view.is_baseline.then(|| "its counts have just begun".to_owned()));
                why.map(|why| format!("shard {id}: {why}"))
            });
            let checks: Vec<Check> = (0..).zip(&views).map(|(id, view)| self.check(id, view)).collect();
            let evidence = self.health.since(checks.into_iter().map(Some));
            Some(self.judge.kernel(probe, start, problem, evidence).await)
        } else {
            None
        };
        if let Some(gateway) = &mut self.gateway {
            for (id, _) in views.iter().enumerate().filter(|(_, view)| view.is_baseline) {
                gateway.start_over(id);
            }
            let sent = gateway.read(stats).await;
            let after = self.nodes.read_requests().await;
            let again = self.merged.lock().observe(start.elapsed(), &after.iter().collect::<Vec<_>>());
            let is_read = |id: u32| again.get(id as usize).is_some_and(|all| !all.reports.is_empty());
            let read = |id| if is_read(id) { probe.counters(id) } else { None };
            gateway.compare(sent, &brackets, read, || start.elapsed(), &mut shards);
            if judged.is_some() {
                gateway.judge(stats).await;
            }
        }
        if let Some(kernel) = judged {
            let gateway = self.gateway.as_ref().map(Gateway::verdict);
            self.judge.compare(probe, start.elapsed(), kernel, gateway);
        }
        self.seen = seen;
        probe.metrics.compared(&shards);
        let apps = brackets.into_iter().map(|bracket| bracket?.app.ok()).collect();
        Snapshot { taken_at: unix_seconds(), shards, hot_keys, apps, ..Snapshot::default() }
    }

    fn view<'a>(&self, shard: u32, watchers: &Watchers, reports: &'a [NodeReport]) -> View<'a> {
        let report = watchers.reports.first().and_then(|at| reports.get(*at));
        let of_shard = |report: &'a NodeReport| report.shards.iter().find(|one| one.shard_id == shard);
        let report = report.and_then(|report| Some((report, of_shard(report)?)));
        let problem = match report {
            Some((_, of_shard)) => of_shard.problem.clone(),
            None => Some(self.nodes.why_unwatched(shard, reports)),
        };
        View { report, problem, is_baseline: watchers.is_baseline }
    }

    /// Publishes who watches which shard.
    fn publish(&self, views: &[View<'_>]) {
        let target = |view: &View<'_>| {
            let addresses = view.report.map(|(_, shard)| shard.addresses.as_slice()).unwrap_or_default();
            let addresses = addresses.iter().filter_map(|address| address.parse().ok()).collect();
            Target { addresses, problem: view.problem.clone() }
        };
        let shards = views.iter().map(target).collect();
        *self.probe.targets.lock() = Targets { shards, ..Targets::default() };
        *self.probe.nodes.lock() = Some(self.nodes.statuses());
    }

    /// The sums of a shard at `now`, to be compared with the gateways'. `None` if they do not have all its requests.
    fn bracket(&self, shard: u32, now: Duration, view: &View<'_>) -> Option<Bracket> {
        let details = view.report?.1.details.as_ref()?;
        if view.problem.is_some() || view.is_baseline {
            return None;
        }
        let requests = self.merged.lock().shard(shard)?.requests();
        let app = details.app.map(|app| AppReading {
            requests_received: app.requests_received,
            started_at: app.started_at,
            active_requests: app.active_requests,
        });
        Some(Bracket {
            from: now,
            to: now,
            kernel_before: requests.data(),
            kernel_after: requests.data(),
            undecided: requests.undecided(),
            // The probe's own comparison has taken these into account.
            aborted: 0,
            answered: 0,
            repeated: 0,
            unparsed: [0; REASONS],
            app: app.ok_or_else(|| "the node's probe cannot read it".to_owned()),
            unix_seconds: unix_seconds(),
        })
    }

    /// Whether the shard answered its node's probe.
    fn check(&self, shard: u32, view: &View<'_>) -> Check {
        let details = view.report.and_then(|(_, shard)| shard.details.as_ref());
        let is_unreadable = |kind| kind == Some(CauseKind::ShardUnreadable);
        let is_readable = details.and_then(|details| match details.app {
            Some(_) => Some(true),
            None => is_unreadable(details.comparison.cause_kind).then_some(false),
        });
        let answered = self.merged.lock().shard(shard).map_or(0, |sum| sum.latency.count());
        Check { is_readable, answered }
    }

    /// Counts the keys of the watched shards. Returns the hot keys as the probes compare them.
    fn count_keys(&self, now: Duration, views: &[View<'_>]) -> Vec<HotKeyOverlap> {
        let metrics = &self.probe.metrics;
        let hot_keys = (0..).zip(views).map(|(id, view)| {
            let details = view.report.and_then(|(_, shard)| shard.details.as_ref());
            let Some(details) = details else {
                metrics.overlapped(id, None);
                return HotKeyOverlap::default();
            };
            if let Some((table, reads)) =
                self.merged.lock().shard(id).map(|sum| (sum.keys.table(), sum.requests().get))
            {
                metrics.keys.counted(id, now, &Arc::new(table), reads);
            }
            metrics.overlapped(id, details.hot_keys.overlap_ratio);
            details.hot_keys.clone()
        });
        let hot_keys = hot_keys.collect();
        metrics.keys.decide(now);
        hot_keys
    }
}

impl View<'_> {
    /// The node's comparison, or why there is none.
    fn comparison(&self) -> Comparison {
        let details = self.report.and_then(|(report, shard)| Some((report, shard.details.as_ref()?)));
        let Some((report, details)) = details else {
            let why = self.problem.as_deref().unwrap_or_default();
            return Cause::unwatched(why).alone();
        };
        Comparison { node: report.node.clone(), ..details.comparison.clone() }
    }
}

impl Rounds for NodesWatch {
    fn probe(&self) -> &Arc<Probe> {
        &self.probe
    }

    fn requests(&mut self) -> &mut Requests {
        &mut self.requests
    }

    async fn look(&mut self) -> (Snapshot, Vec<Option<ShardSample>>) {
        self.nodes.look_up().await;
        let snapshot = self.compare().await;
        (snapshot, std::mem::take(&mut self.seen))
    }

    async fn look_again(&mut self) -> Snapshot {
        self.compare().await
    }

    fn is_settling(&self, _: &Snapshot) -> bool {
        self.settling || self.gateway.as_ref().is_some_and(Gateway::is_settling)
    }
}
