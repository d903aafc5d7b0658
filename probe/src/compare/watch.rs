//! Runs the loop: looks up the shards, reads them, compares, judges.

use std::sync::Arc;
use std::time::Instant;

use protocol::probe_api::Comparison;
use protocol::shard_urls::ShardUrls;
use service::clock::unix_seconds;
use service::members::Members;
use tokio_util::sync::CancellationToken;

use crate::blindness::Blindness;
use crate::compare::blind::{Alarm, Sight, Sighting};
use crate::compare::feed::ShardSample;
use crate::compare::gateway::Gateway;
use crate::compare::health::{Check, Health};
use crate::compare::hot_keys::HotKeysLedger;
use crate::compare::judge::Judge;
use crate::compare::reconcile::Ledger;
use crate::compare::reconcile::cause::Cause;
use crate::compare::rounds::{self, CompareHandle, Requests, Rounds};
use crate::compare::snapshot::Snapshot;
use crate::compare::stats_client::StatsClient;
use crate::pods::shards::ShardPods;
use crate::probe::Probe;
use crate::targets::Targets;

mod addresses;
mod bracket;
mod first_contact;
mod keys;
pub(crate) mod namespaces;

use self::bracket::{ShardReadout, bracket};
use self::first_contact::FirstContact;
use self::namespaces::Namespaces;

/// The loop's state, owned by one task.
pub struct Watch {
    probe: Arc<Probe>,
    shards: ShardUrls,
    stats: StatsClient,
    ledgers: Vec<Ledger>,
    hot_keys: Vec<HotKeysLedger>,
    gateway: Option<Gateway>,
    judge: Judge,
    health: Health,
    /// The readings of the last comparison, for the feed.
    seen: Vec<Option<ShardSample>>,
    /// The shards' pods, when the shards are pods.
    pods: Option<ShardPods>,
    /// The targets that the kernel has accepted.
    targets: Targets,
    /// The network namespaces that the shards' addresses are in.
    namespaces: Namespaces,
    /// Whether the shards' packets are seen.
    sight: Sight,
    alarm: Alarm,
    /// Whether the last comparison learned a namespace, so that the next one starts from zero.
    is_learning: bool,
    /// Per shard, why some of its addresses are not watched.
    unwatched: Vec<Option<String>>,
    contacts: Vec<FirstContact>,
    requests: Requests,
    start: Instant,
}

impl Watch {
    /// Creates a loop and the handle to request comparisons from it.
    #[must_use]
    pub fn new(probe: Arc<Probe>, shards: ShardUrls, stats: StatsClient) -> (Self, CompareHandle) {
        let (handle, requests) = CompareHandle::channel();
        let ledgers = shards.iter().map(|_| Ledger::default()).collect();
        let hot_keys = shards.iter().map(|_| HotKeysLedger::default()).collect();
        let (targets, unwatched) = (Targets::default(), shards.iter().map(|_| None).collect());
        let watch = Self {
            probe,
            stats,
            ledgers,
            hot_keys,
            gateway: None,
            judge: Judge::default(),
            health: Health::default(),
            seen: Vec::new(),
            pods: None,
            namespaces: Namespaces::new(shards.iter().len()),
            sight: Sight::default(),
            alarm: Alarm::default(),
            is_learning: false,
            targets,
            unwatched,
            contacts: shards.iter().map(|_| FirstContact::default()).collect(),
            requests,
            start: Instant::now(),
            shards,
        };
        (watch, handle)
    }

    /// Also reads these gateways. With an empty list no gateway is read.
    pub(crate) fn with_gateways(self, urls: Members) -> Self {
        let gateway = (!urls.is_empty()).then(|| Gateway::new(urls, self.ledgers.len()));
        Self { gateway, ..self }
    }

    /// Takes the shards' addresses from `pods` instead of resolving their names.
    pub(crate) fn with_pods(self, pods: Option<ShardPods>) -> Self {
        Self { pods, ..self }
    }

    /// Sets what happens when the probe is blind.
    pub(crate) fn with_alarm(self, alarm: Alarm) -> Self {
        Self { alarm, ..self }
    }

    /// Watches the shards that are found, and waits for baselines that become final quickly.
    pub async fn first_look(&mut self) {
        self.look_up().await;
        rounds::settle(self).await;
    }

    /// Replaces the client, for another runtime.
    pub(crate) fn renew_client(&mut self) {
        self.stats = self.stats.renewed();
    }

    /// Runs until `stopping`, then reads the counters a last time and detaches.
    pub async fn run(mut self, stopping: CancellationToken) {
        // Look up before the first comparison, because a later change of a shard's addresses drops its state.
        self.look_up().await;
        rounds::run(self, stopping).await;
    }

    /// Takes one bracket of every shard, all concurrently.
    async fn compare(&mut self) -> Snapshot {
        let (probe, start) = (&Arc::clone(&self.probe), self.start);
        let stats = &self.stats.clone();
        let (targets, are_pods) = (&self.targets, self.pods.is_some());
        let readouts = self.shards.iter().zip(&self.hot_keys).zip(&self.unwatched);
        let readouts = readouts.map(|((url, hot_keys), unwatched)| async move {
            // The kernel's counts of a partly watched shard are not comparable, so the shard is not read at all. In a
            // cluster, another node's probe may watch it.
            if unwatched.is_some() {
                return None;
            }
            // The name in `url` may lead to another pod than the one that the kernel counts.
            let url = if are_pods { targets.at_address(url) } else { url.clone() };
            bracket(probe, stats, &url, start, |now| hot_keys.is_due(now)).await
        });
        let readouts = futures_util::future::join_all(readouts).await;
        let now = start.elapsed();
        let awaited: Vec<bool> = (self.contacts.iter_mut().zip(&readouts))
            .map(|(contact, readout)| contact.observe(now, readout.as_ref()))
            .collect();
        let checks: Vec<Option<Check>> = (readouts.iter().zip(&awaited))
            .map(|(readout, awaited)| check(readout.as_ref(), *awaited))
            .collect();
        let learned = self.learn_namespaces(&readouts);
        self.is_learning = learned.contains(&true);
        let blindness = self.look_for_packets(&readouts, &learned);
        let obstacles = self.obstacles(&blindness, &learned, &awaited);
        let (mut brackets, mut keys, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for (shard, (readout, obstacle)) in readouts.into_iter().zip(&obstacles).enumerate() {
            seen.push(readout.as_ref().map(|readout| ShardSample::of(&readout.bracket, readout.latency)));
            if readout.is_some() && obstacle.is_some() {
                self.start_over(shard);
            }
            let readout = readout.filter(|_| obstacle.is_none());
            let (bracket, of_keys) = readout.map(|readout| (readout.bracket, readout.keys)).unzip();
            brackets.push(bracket);
            keys.push(of_keys);
        }
        // Compare the keys before any other wait, so that both witnesses are read at nearly the same moment.
        let hot_keys = keys::compare(probe, &mut self.hot_keys, keys, start.elapsed());
        let mut shards: Vec<Comparison> = self
            .ledgers
            .iter_mut()
            .zip(&brackets)
            .zip(obstacles)
            .map(|((ledger, bracket), obstacle)| match (obstacle, bracket) {
                (Some(cause), _) => cause.alone(),
                (None, Some(bracket)) => ledger.observe(bracket),
                (None, None) => Cause::kernel_unreadable().alone(),
            })
            .collect();
        let judged = if self.judge.is_due(start.elapsed()) {
            let unwatched =
                self.unwatched.iter().enumerate().find_map(|(shard, why)| Some((shard, why.as_ref()?)));
            let problem =
                unwatched.map(|(shard, why)| format!("shard {shard} is only partly watched: {why}"));
            let problem = problem.or_else(|| blindness.problem());
            let evidence = self.health.since(checks.into_iter());
            Some(self.judge.kernel(probe, start, problem, evidence).await)
        } else {
            None
        };
        if let Some(gateway) = &mut self.gateway {
            let sent = gateway.read(stats).await;
            let read = |shard| probe.counters(shard);
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
        for (comparison, _) in shards.iter_mut().zip(&brackets).filter(|(_, bracket)| bracket.is_some()) {
            comparison.node.clone_from(&probe.node);
        }
        let apps = brackets.into_iter().map(|bracket| bracket?.app.ok()).collect();
        let snapshot = Snapshot { taken_at: unix_seconds(), shards, hot_keys, apps, ..Snapshot::default() };
        probe.metrics.compared(&snapshot.shards);
        snapshot
    }
}

impl Rounds for Watch {
    fn probe(&self) -> &Arc<Probe> {
        &self.probe
    }

    fn requests(&mut self) -> &mut Requests {
        &mut self.requests
    }

    async fn look(&mut self) -> (Snapshot, Vec<Option<ShardSample>>) {
        self.look_up().await;
        let snapshot = self.compare().await;
        (snapshot, std::mem::take(&mut self.seen))
    }

    async fn look_again(&mut self) -> Snapshot {
        self.compare().await
    }

    fn is_settling(&self, snapshot: &Snapshot) -> bool {
        self.ledgers.iter().zip(&snapshot.shards).any(|(ledger, shard)| ledger.is_settling(shard))
            || self.gateway.as_ref().is_some_and(Gateway::is_settling)
            || self.is_learning
    }
}

impl Watch {
    /// Returns for which shards the probe is blind, and publishes it. `learned` are the shards whose readings are from
    /// before a change of the kernel's table.
    fn look_for_packets(&mut self, readouts: &[Option<ShardReadout>], learned: &[bool]) -> Blindness {
        let targets = self.targets.shards.iter().map(Some).chain(std::iter::repeat(None));
        let shards = readouts.iter().zip(learned).zip(targets);
        let sightings = shards.map(|((readout, learned), target)| match readout {
            None => Sighting::Unwatched,
            Some(readout) if *learned || readout.bracket.app.is_err() => Sighting::Unknown,
            Some(readout) if readout.is_seen => Sighting::Seen,
            // The name of a pod may lead to it by an address that only the network translates.
            Some(readout)
                if readout.ends.is_some_and(|ends| target.is_some_and(|target| target.has(ends.server))) =>
            {
                Sighting::Unseen
            }
            Some(_) => Sighting::Unknown,
        });
        let sightings: Vec<Sighting> = sightings.collect();
        let blindness = self.sight.observe(&self.probe.cgroup, &sightings);
        for ((shard, why), sighting) in (0..).zip(&blindness.shards).zip(sightings) {
            let is_known = why.is_some() || matches!(sighting, Sighting::Seen | Sighting::Unseen);
            self.probe.metrics.blind(shard, is_known.then_some(why.is_some()));
        }
        self.alarm.publish(&self.probe, &blindness);
        blindness
    }

    /// Returns for each shard why there is no verdict on it.
    fn obstacles(&self, blindness: &Blindness, learned: &[bool], awaited: &[bool]) -> Vec<Option<Cause>> {
        let baselines = learned.iter().zip(awaited);
        let shards = self.unwatched.iter().zip(&blindness.shards).zip(baselines);
        let obstacles = shards.map(|((unwatched, blind), (learned, awaited))| {
            let unwatched = unwatched.as_deref().map(Cause::unwatched);
            let blind = || blind.as_deref().map(Cause::blind);
            // The kernel may have counted sockets of other namespaces until now.
            unwatched.or_else(blind).or_else(|| (*learned || *awaited).then(Cause::baseline))
        });
        obstacles.collect()
    }
}

/// Whether a shard answered `/stats`. Before the first contact that is unknown.
fn check(readout: Option<&ShardReadout>, is_awaited: bool) -> Option<Check> {
    let bracket = &readout?.bracket;
    let is_readable = (!is_awaited).then_some(bracket.app.is_ok());
    Some(Check { is_readable, answered: bracket.answered })
}

#[cfg(test)]
mod tests;
