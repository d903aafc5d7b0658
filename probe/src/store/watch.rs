//! Runs the loop of a store: follows its nodes, reads them, compares, judges, answers.

use std::sync::Arc;
use std::time::Instant;

use protocol::probe_api::{
    Comparison, HotKey, HotKeyOverlap, StoreAnswer, StoreReconciliation, StoreResult, Verdicts,
};
use protocol::verdict::Verdict;
use service::clock::unix_seconds;
use service::health::Health;
use service::names::Names;
use store::credentials::Credentials;
use store::error::StoreError;
use store::topology::Topology;

use super::answer::{self, Facts, KEYS, Timing, answer};
use super::discovery::{self, Discovery};
use super::fleet::Fleet;
use super::ledger::NodeLedger;
use super::link::Link;
use super::names::CommandNames;
use super::window::{AnswerWindow, Moment, NodeCounts};
use crate::compare::blind::{Alarm, Sight};
use crate::compare::feed::ShardSample;
use crate::compare::rounds::{self, CompareHandle, Requests, Rounds};
use crate::compare::snapshot::Snapshot;
use crate::compare::verdict::{KernelJudge, reading};
use crate::compare::watch::namespaces::Namespaces;
use crate::metrics::Lost;
use crate::probe::Probe;
use crate::targets::Targets;

mod addresses;
mod readout;

use self::readout::{Readout, evidence, read};

/// Largest number of nodes that are tried for the topology. After that the old one is kept for another second.
const TOPOLOGY_TRIES: usize = 3;

/// The loop's state, owned by one task.
pub(crate) struct StoreWatch {
    probe: Arc<Probe>,
    login: Option<Credentials>,
    /// Looks up the nodes' names.
    hosts: Names,
    server: String,
    is_cluster: bool,
    names: CommandNames,
    fleet: Fleet,
    /// By number of the node, as the next four.
    links: Vec<Link>,
    ledgers: Vec<NodeLedger>,
    reconciled: Vec<StoreReconciliation>,
    timings: Vec<Timing>,
    clients: Vec<Option<u64>>,
    judge: KernelJudge,
    verdict: Result<Verdict<String>, String>,
    window: AnswerWindow,
    targets: Targets,
    /// The network namespaces that the nodes' addresses are in.
    namespaces: Namespaces,
    /// For each node, whether the last reading learned its namespace, so that the next one starts from zero.
    learned: Vec<bool>,
    sight: Sight,
    alarm: Alarm,
    /// Why the kernel watches no addresses.
    rejected: Option<String>,
    requests: Requests,
    start: Instant,
}

impl Rounds for StoreWatch {
    fn probe(&self) -> &Arc<Probe> {
        &self.probe
    }

    fn requests(&mut self) -> &mut Requests {
        &mut self.requests
    }

    /// Follows the nodes, and takes one bracket of each.
    async fn look(&mut self) -> (Snapshot, Vec<Option<ShardSample>>) {
        self.follow().await;
        self.look_up().await;
        // The comparison by bytes notices a single node that is not seen.
        let blindness = self.sight.observe(&self.probe.cgroup, &[]);
        self.alarm.publish(&self.probe, &blindness);
        let (probe, start) = (&self.probe, self.start);
        let readouts = (0..).zip(&mut self.links).map(|(shard, link)| read(probe, shard, link, start));
        let readouts = futures_util::future::join_all(readouts).await;
        self.learned = self.learn_namespaces(&readouts);
        self.learn(&readouts).await;
        self.reconcile(&readouts);
        self.judge(&readouts).await;
        let answer = Arc::new(self.answer());
        *self.probe.store.lock() = Some(Arc::clone(&answer));
        self.probe.metrics.store.answered(&answer);
        let snapshot = self.snapshot(answer);
        self.probe.metrics.compared(&snapshot.shards);
        (snapshot, readouts.iter().map(|readout| readout.as_ref().map(|readout| readout.sample)).collect())
    }

    async fn look_again(&mut self) -> Snapshot {
        self.look().await.0
    }

    fn is_settling(&self, _: &Snapshot) -> bool {
        let mut nodes = self.ledgers.iter().zip(&self.reconciled);
        self.learned.contains(&true) || nodes.any(|(ledger, found)| ledger.is_settling(found))
    }
}

impl StoreWatch {
    /// A loop for what was discovered, and the handle to request comparisons from it.
    pub(crate) fn new(
        probe: Arc<Probe>,
        fleet: Fleet,
        found: &Discovery,
        login: Option<Credentials>,
        window: AnswerWindow,
    ) -> (Self, CompareHandle) {
        let (handle, requests) = CompareHandle::channel();
        let mut names = CommandNames::default();
        names.update(&found.commands, found.commands_from.clone());
        let watch = Self {
            probe,
            login,
            hosts: Names::default(),
            server: found.server.clone(),
            is_cluster: found.is_cluster,
            names,
            learned: Vec::new(),
            namespaces: Namespaces::new(fleet.capacity() as usize),
            fleet,
            links: Vec::new(),
            ledgers: Vec::new(),
            reconciled: Vec::new(),
            timings: Vec::new(),
            clients: Vec::new(),
            judge: KernelJudge::default(),
            verdict: Err("the first second has not passed".to_owned()),
            window,
            targets: Targets::default(),
            sight: Sight::default(),
            alarm: Alarm::default(),
            rejected: None,
            requests,
            start: Instant::now(),
        };
        (watch, handle)
    }

    /// Writes the commands to the kernel, watches the nodes, and takes baselines.
    pub(crate) async fn first_look(&mut self) -> Result<StoreAnswer, String> {
        let written = self.probe.source().and_then(|mut source| source.set_commands(self.names.specs()));
        written.map_err(|error| error.to_string())?;
        rounds::settle(self).await;
        Ok(self.answer())
    }

    /// Reports at `/ready` when the probe is blind.
    pub(crate) fn report_blindness_at(&mut self, health: Health) {
        self.alarm.health = health;
    }

    /// Closes all connections, because they belong to another runtime.
    pub(crate) fn renew_links(&mut self) {
        self.links.iter_mut().for_each(Link::drop_client);
    }

    /// The newest answer, with the verdict of the last second.
    pub(crate) fn newest(&self) -> Option<Arc<StoreAnswer>> {
        self.probe.store.lock().clone()
    }

    /// Takes over the cluster's newest topology.
    async fn follow(&mut self) {
        if self.is_cluster {
            match self.topology().await {
                Ok(topology) => {
                    let before = self.fleet.left_out(true);
                    let known = self.fleet.nodes().len();
                    let left_out = self.fleet.follow(&topology);
                    for _ in 0..left_out {
                        self.probe.metrics.lost(Lost::AddressOverLimit);
                    }
                    if self.fleet.left_out(true) != before || self.fleet.nodes().len() != known {
                        tracing::info!(
                            nodes = self.fleet.nodes().len(),
                            "the primaries of the cluster changed"
                        );
                        self.judge.start_over();
                        self.window.start_over();
                    }
                }
                Err(Some(error)) => tracing::warn!(%error, "the cluster's nodes cannot be read"),
                Err(None) => {}
            }
        }
        let (login, hosts) = (&self.login, &self.hosts);
        for (at, node) in self.fleet.nodes().iter().enumerate() {
            match self.links.get_mut(at) {
                Some(link) => link.move_to(&node.addresses),
                None => {
                    self.links.push(Link::new(node.addresses.clone(), hosts.clone(), login.clone()));
                    self.ledgers.push(NodeLedger::default());
                    self.reconciled.push(StoreReconciliation::default());
                    self.timings.push(Timing::default());
                    self.clients.push(None);
                }
            }
        }
        self.probe.shards.set(self.fleet.watched());
    }

    /// Tries up to three nodes. Returns `Err(None)` before the first attempt.
    async fn topology(&mut self) -> Result<Topology, Option<StoreError>> {
        let mut failed = None;
        let nodes = self.fleet.nodes().iter().zip(&mut self.links);
        let alive = nodes.filter(|(node, _)| node.role.is_some() && !node.has_failed);
        for (node, link) in alive.take(TOPOLOGY_TRIES) {
            let Some(url) = node.addresses.first() else { continue };
            match link.topology(url).await {
                Ok(topology) => return Ok(topology),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed)
    }

    /// Reads roles where no cluster reports them, and reads the list of commands again when a node counts an unknown name.
    async fn learn(&mut self, readouts: &[Option<Readout>]) {
        let mut unknown = None;
        for (at, readout) in readouts.iter().enumerate() {
            let info = readout.as_ref().and_then(|readout| readout.bracket.info.as_ref().ok());
            if let Some(clients) = self.clients.get_mut(at) {
                // This probe is one of them.
                *clients = info.map(|info| info.clients.saturating_sub(1));
            }
            let Some(info) = info else { continue };
            if !self.is_cluster {
                self.fleet.set_role(at, info.role);
            }
            if self.names.source == "COMMAND" && info.calls.keys().any(|name| !self.names.has(name)) {
                unknown = Some(at);
            }
        }
        let Some(link) = unknown.and_then(|at| self.links.get_mut(at)) else { return };
        if let Ok((commands, source)) = discovery::commands(link).await
            && source == self.names.source
            && self.names.update(&commands, source)
        {
            let written = self.probe.source().and_then(|mut source| source.set_commands(self.names.specs()));
            if let Err(error) = written {
                tracing::error!(%error, "the kernel rejected the new commands");
            }
            self.ledgers.iter_mut().for_each(NodeLedger::start_over);
        }
    }

    fn reconcile(&mut self, readouts: &[Option<Readout>]) {
        let nodes = self.ledgers.iter_mut().zip(readouts).zip(&mut self.reconciled).zip(&self.learned);
        for (((ledger, readout), found), learned) in nodes {
            *found = match readout {
                Some(readout) if !learned => ledger.observe(&self.names, &readout.bracket),
                _ => StoreReconciliation::default(),
            };
        }
        for (shard, readout) in (0..).zip(readouts) {
            let Some(readout) = readout else { continue };
            if let Some(timing) = self.timings.get_mut(shard as usize) {
                timing.clone_from(&readout.timing);
            }
            let counts = &readout.bracket.after.commands.by_number;
            let all = std::iter::once((0, "unknown")).chain(self.names.numbered());
            let named = all.filter_map(|(number, name)| Some((name, *counts.get(number)?)));
            self.probe.metrics.store.counted(shard, named);
        }
    }

    /// Judges the primaries, once a second.
    async fn judge(&mut self, readouts: &[Option<Readout>]) {
        if !self.judge.is_due(self.start.elapsed()) {
            return;
        }
        let evidence = readouts.iter().map(|readout| evidence(readout.as_ref())).collect();
        self.verdict = match self.problem() {
            Some(problem) => {
                self.judge.start_over();
                Err(problem)
            }
            None => match reading::read(&self.probe, self.start, evidence).await {
                Some(mut reading) => {
                    reading.replicas = self.fleet.left_out(self.is_cluster);
                    let counts = reading.shards.iter().zip(readouts).map(|(shard, readout)| NodeCounts {
                        reads: readout.as_ref().map_or(0, |readout| readout.reads),
                        writes: readout.as_ref().map_or(0, |readout| readout.writes),
                        table: Arc::clone(&shard.table),
                    });
                    self.count(Moment { at: reading.at, nodes: counts.collect() });
                    Ok(self.judge.observe(reading))
                }
                None => Err("the kernel's counters cannot be read".to_owned()),
            },
        };
        let verdict = self.verdict.clone();
        let cause = verdict.as_ref().err().map(|why| format!("no verdict from the kernel: {why}"));
        let verdicts =
            Verdicts { taken_at: unix_seconds(), kernel: verdict.ok(), cause, ..Verdicts::default() };
        self.probe.metrics.judged(&verdicts);
        *self.probe.verdicts.lock() = Arc::new(verdicts);
    }

    /// Counts keys for the answer and the metrics.
    fn count(&mut self, moment: Moment) {
        for (shard, node) in (0..).zip(&moment.nodes) {
            self.probe.metrics.keys.counted(shard, moment.at, &node.table, node.reads + node.writes);
        }
        self.probe.metrics.keys.decide(moment.at);
        self.window.observe(moment);
    }

    /// Why the primaries cannot be judged.
    fn problem(&self) -> Option<String> {
        if let Some(why) = &self.probe.blindness.lock().detached {
            return Some(why.clone());
        }
        if let Some(why) = &self.rejected {
            return Some(format!("the kernel rejected the nodes' addresses: {why}"));
        }
        let nodes = self.fleet.nodes().iter().zip(&self.targets.shards).enumerate();
        let mut judged = nodes.filter(|(_, (node, _))| node.is_judged(self.is_cluster));
        let unwatched = judged.find_map(|(at, (_, target))| {
            let problem = target.problem.as_ref()?;
            Some(format!("shard {at} is only partly watched: {problem}"))
        });
        unwatched.or_else(|| answer::unseen(&self.fleet, self.is_cluster, &self.reconciled))
    }

    fn answer(&self) -> StoreAnswer {
        let (grown, span) = self.window.growth(KEYS);
        answer(&Facts {
            server: &self.server,
            is_cluster: self.is_cluster,
            commands_from: &self.names.source,
            fleet: &self.fleet,
            grown: &grown,
            span,
            verdict: &self.verdict,
            reconciled: &self.reconciled,
            timings: &self.timings,
            clients: &self.clients,
        })
    }

    fn snapshot(&self, answer: Arc<StoreAnswer>) -> Snapshot {
        let unwatched = |at: usize| self.targets.shards.get(at).and_then(|target| target.problem.as_ref());
        let shards = answer.nodes.iter().enumerate().map(|(at, node)| match unwatched(at) {
            Some(why) => Comparison { cause: Some(why.clone()), ..Comparison::default() },
            None => node.reconciliation.total.clone(),
        });
        let hot = answer.keys.iter().filter(|_| answer.result == StoreResult::Hot);
        let hot_keys = (0..).zip(&answer.nodes).map(|(id, node): (u32, _)| {
            let of_node = hot.clone().filter(|key| key.shard_id == id);
            let of_node = of_node.map(|key| HotKey {
                key: key.key.clone(),
                count: key.count,
                ratio: if node.share > 0.0 { key.share / node.share } else { 0.0 },
            });
            HotKeyOverlap {
                window_seconds: answer.window_seconds,
                kernel: of_node.filter(|key| key.ratio > hotspot::hot_keys::HOT_SHARE).collect(),
                ..HotKeyOverlap::default()
            }
        });
        let (shards, hot_keys) = (shards.collect(), hot_keys.collect());
        Snapshot { taken_at: unix_seconds(), shards, hot_keys, store: Some(answer), ..Snapshot::default() }
    }
}

#[cfg(test)]
mod tests;
