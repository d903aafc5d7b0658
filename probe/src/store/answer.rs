//! Makes the answer: is the store hot, where, which key, what helps.

use std::collections::BTreeMap;
use std::time::Duration;

use hotspot::hot_keys::HOT_SHARE;
use hotspot::judge::{MIN_RATE, MIN_REQUESTS};
use probe_common::resp::{UNTIMED, Untimed as Why};
use protocol::probe_api::{
    Quantiles, StoreAnswer, StoreKey, StoreMeasure, StoreMitigation, StoreNode, StoreReconciliation,
    StoreResult, Untimed,
};
use protocol::verdict::{Reason, State, Verdict};
use service::clock::unix_seconds;
use store::slot::slot;

use super::fleet::{Fleet, FleetNode};
use super::mitigation::{Load, predict};
use super::window::NodeGrowth;
use crate::signal::raw_key::bytes_of;

/// Number of keys in an answer.
pub(crate) const KEYS: usize = 20;

/// A primary of whose bytes the kernel sees less cannot be judged.
const MAX_UNSEEN: f64 = 0.5;

/// The latency of a node's commands since the probe attached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timing {
    pub(crate) latency: Quantiles,
    /// By family of commands, only those with commands.
    pub(crate) families: BTreeMap<String, Quantiles>,
    /// Commands whose latency is not measured, by the kernel's number of the reason.
    pub(crate) untimed: [u64; UNTIMED],
}

impl Timing {
    fn by_reason(&self) -> BTreeMap<Untimed, u64> {
        Untimed::ALL.into_iter().zip(self.untimed).filter(|(_, count)| *count > 0).collect()
    }
}

const _: () = assert!(Untimed::ALL.len() == UNTIMED && Untimed::Depth as usize == Why::Depth as usize);

/// What an answer is made of.
pub(crate) struct Facts<'a> {
    pub(crate) server: &'a str,
    pub(crate) is_cluster: bool,
    pub(crate) commands_from: &'a str,
    pub(crate) fleet: &'a Fleet,
    /// By number of the node.
    pub(crate) grown: &'a [NodeGrowth],
    pub(crate) span: Duration,
    /// The verdict on the primaries, or why there is none.
    pub(crate) verdict: &'a Result<Verdict<String>, String>,
    /// By number of the node.
    pub(crate) reconciled: &'a [StoreReconciliation],
    /// By number of the node.
    pub(crate) timings: &'a [Timing],
    /// Clients of each node; `None` if its own counts cannot be read.
    pub(crate) clients: &'a [Option<u64>],
}

/// Why the primaries cannot be judged: one of them is not on this machine.
pub(crate) fn unseen(fleet: &Fleet, is_cluster: bool, reconciled: &[StoreReconciliation]) -> Option<String> {
    let nodes = fleet.nodes().iter().zip(reconciled).enumerate();
    let mut judged = nodes.filter(|(_, (node, _))| node.is_judged(is_cluster));
    judged.find_map(|(id, (node, found))| {
        let share = found.unseen_share.filter(|share| *share > MAX_UNSEEN)?;
        Some(format!(
            "{:.0} % of the bytes of shard {id} ({}) did not use a watched socket: run the probe on the \
             primaries' host and give the plain port",
            100.0 * share,
            node.address()
        ))
    })
}

/// Makes the answer.
pub(crate) fn answer(facts: &Facts<'_>) -> StoreAnswer {
    let none = NodeGrowth::default();
    let grown = |id: usize| facts.grown.get(id).unwrap_or(&none);
    let judged: Vec<usize> = (0..)
        .zip(facts.fleet.nodes())
        .filter(|(_, node)| node.is_judged(facts.is_cluster))
        .map(|(id, _)| id)
        .collect();
    let commands: u64 = judged.iter().map(|id| grown(*id).commands()).sum();
    let keys = keys(facts, &judged, commands);
    let untimed = Timing::default();
    let timing = |id: usize| facts.timings.get(id).unwrap_or(&untimed);
    let nodes = facts.fleet.nodes().iter().enumerate();
    let nodes = nodes.map(|(id, node)| {
        let of_verdict = judged.contains(&id);
        StoreNode {
            shard_id: u32::try_from(id).unwrap_or(u32::MAX),
            address: node.address(),
            node_id: node.id.clone(),
            role: role(node).to_owned(),
            primary: node.primary,
            slots: node.slots.iter().map(|range| format!("{}-{}", range.first, range.last)).collect(),
            commands: grown(id).commands(),
            share: if of_verdict { ratio(grown(id).commands(), commands) } else { 0.0 },
            reconciliation: facts.reconciled.get(id).cloned().unwrap_or_default(),
            latency_ms: timing(id).latency,
            family_latency_ms: timing(id).families.clone(),
            untimed: timing(id).by_reason(),
        }
    });
    let (result, sentence) = judge(facts, &judged, commands, &keys);
    let mitigations =
        if result == StoreResult::Hot { mitigations(facts, &judged, &keys) } else { Vec::new() };
    let sentence = [Some(sentence), place(facts, result, &keys), best(&mitigations)];
    StoreAnswer {
        taken_at: unix_seconds(),
        result,
        sentence: sentence.into_iter().flatten().collect::<Vec<_>>().join(" "),
        window_seconds: facts.span.as_secs_f64(),
        commands,
        server: facts.server.to_owned(),
        cluster: facts.is_cluster,
        commands_from: facts.commands_from.to_owned(),
        verdict: facts.verdict.as_ref().ok().cloned(),
        keys,
        mitigations,
        nodes: nodes.collect(),
    }
}

fn role(node: &FleetNode) -> &'static str {
    if node.has_failed { "failed" } else { node.role_name() }
}

/// The largest keys of the primaries.
fn keys(facts: &Facts<'_>, judged: &[usize], commands: u64) -> Vec<StoreKey> {
    let all = judged.iter().filter_map(|id| Some((*id, facts.grown.get(*id)?)));
    let mut keys: Vec<StoreKey> = all
        .flat_map(|(id, grown)| {
            grown.keys.iter().map(move |(key, count, error)| StoreKey {
                key: key.clone(),
                slot: bytes_of(key).filter(|_| facts.is_cluster).map(|raw| slot(&raw)),
                shard_id: u32::try_from(id).unwrap_or(u32::MAX),
                count: *count,
                error: *error,
                share: ratio(*count, commands),
            })
        })
        .collect();
    keys.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
    keys.truncate(KEYS);
    keys
}

fn judge(facts: &Facts<'_>, judged: &[usize], commands: u64, keys: &[StoreKey]) -> (StoreResult, String) {
    let verdict = match facts.verdict {
        Ok(verdict) => verdict,
        Err(why) => return (StoreResult::CannotSay, format!("No verdict: {why}.")),
    };
    if verdict.state == State::NotEnoughTraffic {
        return (StoreResult::CannotSay, verdict.sentence.clone());
    }
    if let [one] = judged {
        return single(facts, *one, commands, keys);
    }
    let result = if verdict.state >= State::Hot { StoreResult::Hot } else { StoreResult::Balanced };
    (result, verdict.sentence.clone())
}

/// A single primary cannot be compared with others, so its keys decide.
fn single(facts: &Facts<'_>, primary: usize, commands: u64, keys: &[StoreKey]) -> (StoreResult, String) {
    let seconds = facts.span.as_secs_f64();
    let load = format!("{commands} keyed commands in {seconds:.0} s");
    #[expect(clippy::cast_precision_loss, reason = "commands of a window")]
    if commands < MIN_REQUESTS || (commands as f64) < MIN_RATE * seconds {
        let needed = format!("at least {MIN_REQUESTS} and {MIN_RATE} a second are needed");
        return (StoreResult::CannotSay, format!("Not enough traffic to judge: {load}, {needed}."));
    }
    match keys.first().filter(|key| key.share > HOT_SHARE) {
        Some(key) => {
            let share = percent(key.share);
            (
                StoreResult::Hot,
                format!("Key {:?} is {share} of the {load} of the only primary, shard {primary}.", key.key),
            )
        }
        None => {
            let limit = percent(HOT_SHARE);
            (
                StoreResult::Balanced,
                format!("No key has more than {limit} of the {load} of the only primary."),
            )
        }
    }
}

/// Where the hot key is.
fn place(facts: &Facts<'_>, result: StoreResult, keys: &[StoreKey]) -> Option<String> {
    let key = hot_key(facts, keys).filter(|_| result == StoreResult::Hot)?;
    let node = facts.fleet.nodes().get(key.shard_id as usize)?;
    let slot = key.slot.map(|slot| format!("in slot {slot} ")).unwrap_or_default();
    let error = if key.error == 0 { String::new() } else { format!(" to {}", key.count + key.error) };
    Some(format!(
        "Key {:?} is {slot}at {} ({}): {}{error} commands in {:.0} s.",
        key.key,
        node.address(),
        role(node),
        key.count,
        facts.span.as_secs_f64()
    ))
}

/// The key that the verdict names, or the largest one of a single primary.
fn hot_key<'a>(facts: &Facts<'_>, keys: &'a [StoreKey]) -> Option<&'a StoreKey> {
    let verdict = facts.verdict.as_ref().ok()?;
    match (&verdict.key, verdict.reason) {
        (Some(name), _) => {
            let named = |key: &&StoreKey| key.key == *name && verdict.shard_id == Some(key.shard_id as usize);
            keys.iter().find(named)
        }
        (None, Some(Reason::Placement | Reason::ShardDown)) => None,
        (None, _) => keys.first().filter(|key| key.share > HOT_SHARE),
    }
}

fn mitigations(facts: &Facts<'_>, judged: &[usize], keys: &[StoreKey]) -> Vec<StoreMitigation> {
    let none = NodeGrowth::default();
    let grown: Vec<&NodeGrowth> = judged.iter().map(|id| facts.grown.get(*id).unwrap_or(&none)).collect();
    let total: u64 = grown.iter().map(|node| node.commands()).sum();
    let blamed = facts.verdict.as_ref().ok().and_then(|verdict| verdict.shard_id);
    let largest = || grown.iter().enumerate().max_by_key(|(_, node)| node.commands()).map(|(at, _)| at);
    let hottest = blamed.and_then(|id| judged.iter().position(|one| *one == id)).or_else(largest);
    let Some(hottest) = hottest else { return Vec::new() };
    let (Some(node), Some(id)) = (grown.get(hottest), judged.get(hottest)) else { return Vec::new() };
    let replicas = facts.fleet.nodes().iter().filter(|node| {
        node.primary.is_some_and(|primary| primary as usize == *id) && !node.has_failed && node.role.is_some()
    });
    predict(&Load {
        shares: grown.iter().map(|node| ratio(node.commands(), total)).collect(),
        hottest,
        key: hot_key(facts, keys).map(|key| key.share),
        reads: ratio(node.reads, node.commands()),
        replicas: replicas.count(),
        clients: facts.clients.get(*id).copied().flatten(),
    })
}

/// What helps most.
fn best(mitigations: &[StoreMitigation]) -> Option<String> {
    let best = mitigations.first().filter(|best| best.mitigation != StoreMeasure::Nothing)?;
    let what = best.mitigation.words();
    Some(format!("Best: {what}; the hottest node would get {}.", percent(best.hottest_share)))
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[expect(clippy::cast_precision_loss, reason = "shares of counts")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
