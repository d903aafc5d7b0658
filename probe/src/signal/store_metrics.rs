//! Exports the comparison with a store: commands by name, bytes, exceptions.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use probe_common::latency::Latency;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};
use protocol::probe_api::{
    NewBaseline, StoreAnswer, StoreException, StoreKey, StoreNode, StoreReconciliation, StoreResult, Untimed,
};
use service::metrics::Metrics;

use super::latency::DurationMetric;
use super::series::{raise, set};

/// Command names with series of their own, for each node. All others share one series.
pub(crate) const NAMES: usize = 20;

/// The label of the other names.
const OTHER: &str = "other";

/// The metric families of a store. Without one they have no series.
pub(crate) struct StoreMetrics {
    commands: IntCounterVec,
    untimed: IntCounterVec,
    durations: DurationMetric,
    command_difference: IntGaugeVec,
    bytes_difference: IntGaugeVec,
    unseen: GaugeVec,
    exceptions: IntGaugeVec,
    baselines: IntCounterVec,
    nodes: IntGaugeVec,
    result: IntGaugeVec,
    keys: GaugeVec,
    /// The labels of each series in `keys`.
    shown_keys: Mutex<BTreeSet<[String; 3]>>,
    /// The labels of each node's series in `nodes`.
    roles: Mutex<Vec<[String; 3]>>,
    /// The names with series of their own, by node.
    names: Mutex<BTreeMap<u32, BTreeSet<String>>>,
}

impl StoreMetrics {
    /// Registers all families.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Ok(Self {
            commands: metrics.counters(
                "kernel_store_commands_total",
                "Commands that reached the node's socket, by name; names after the first 20 are `other`.",
                &["shard_id", "command"],
            )?,
            untimed: metrics.counters(
                "kernel_store_untimed_commands_total",
                "Commands whose latency is not measured, by reason.",
                &["shard_id", "reason"],
            )?,
            durations: DurationMetric::of_families(metrics)?,
            command_difference: metrics.gauges(
                "reconciliation_store_command_difference",
                "Commands counted by the kernel minus calls and rejected calls of the node, since the baseline.",
                &["shard_id", "command"],
            )?,
            bytes_difference: metrics.gauges(
                "reconciliation_store_bytes_difference",
                "Bytes counted by the kernel minus bytes that the node has read from clients, since the baseline.",
                &["shard_id"],
            )?,
            unseen: metrics.fractions(
                "reconciliation_store_unseen_bytes_ratio",
                "Share of the node's bytes from clients that did not use a watched socket (Unix socket, TLS).",
                &["shard_id"],
            )?,
            exceptions: metrics.gauges(
                "reconciliation_store_exceptions",
                "Commands that only the kernel or only the node counts, by reason, since the baseline.",
                &["shard_id", "exception"],
            )?,
            baselines: metrics.counters(
                "reconciliation_store_baselines_total",
                "New baselines of the comparison, by reason.",
                &["shard_id", "reason"],
            )?,
            nodes: metrics.gauges(
                "probe_store_node",
                "1 for each node of the store, with its address and role.",
                &["shard_id", "address", "role"],
            )?,
            result: metrics.gauges(
                "probe_store_result",
                "1 for the result of the answer, else 0.",
                &["result"],
            )?,
            keys: metrics.fractions(
                "probe_store_key_share",
                "Share of all keyed commands to primaries, for the largest keys of the answer; without a cluster, slot is empty.",
                &["shard_id", "slot", "key"],
            )?,
            shown_keys: Mutex::default(),
            roles: Mutex::default(),
            names: Mutex::default(),
        })
    }

    /// Updates everything from an answer. The number of series is bounded by the nodes and the commands of the table.
    pub(crate) fn answered(&self, answer: &StoreAnswer) {
        let mut roles = self.roles.lock();
        for node in &answer.nodes {
            self.node(node, &mut roles);
        }
        for result in StoreResult::ALL {
            self.result.with_label_values(&[result.name()]).set(i64::from(result == answer.result));
        }
        let slot = |key: &StoreKey| key.slot.map(|slot| slot.to_string()).unwrap_or_default();
        let labels = |key: &StoreKey| [key.shard_id.to_string(), slot(key), key.key.clone()];
        let mut shown = self.shown_keys.lock();
        let now: BTreeSet<[String; 3]> = answer.keys.iter().map(labels).collect();
        for [shard, slot, key] in shown.difference(&now) {
            drop(self.keys.remove_label_values(&[shard, slot, key]));
        }
        *shown = now;
        for key in &answer.keys {
            let [shard, slot, name] = labels(key);
            self.keys.with_label_values(&[&shard, &slot, &name]).set(key.share);
        }
    }

    fn node(&self, node: &StoreNode, roles: &mut Vec<[String; 3]>) {
        let id = node.shard_id.to_string();
        let found = &node.reconciliation;
        self.differences(node.shard_id, &id, found);
        set(&self.bytes_difference, &id, found.bytes.difference);
        match found.unseen_share {
            Some(share) => self.unseen.with_label_values(&[&id]).set(share),
            // Removing fails when there was no series, which is fine.
            None => drop(self.unseen.remove_label_values(&[&id])),
        }
        for exception in StoreException::ALL {
            let count = found.exceptions.get(&exception).copied().unwrap_or_default();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.exceptions.with_label_values(&[id.as_str(), exception.name()]).set(count);
        }
        for reason in NewBaseline::ALL {
            let count = found.baselines.get(&reason).copied().unwrap_or_default();
            raise(&self.baselines, &[&id, reason.name()], count);
        }
        for why in Untimed::ALL {
            let count = node.untimed.get(&why).copied().unwrap_or_default();
            raise(&self.untimed, &[&id, why.name()], count);
        }
        let labels = [id, node.address.clone(), node.role.clone()];
        match roles.iter_mut().find(|old| old[0] == labels[0]) {
            Some(old) if *old == labels => {}
            Some(old) => {
                drop(self.nodes.remove_label_values(&[&old[0], &old[1], &old[2]]));
                self.nodes.with_label_values(&[&labels[0], &labels[1], &labels[2]]).set(1);
                *old = labels;
            }
            None => {
                self.nodes.with_label_values(&[&labels[0], &labels[1], &labels[2]]).set(1);
                roles.push(labels);
            }
        }
    }

    /// The differences of the names with series. A name without a comparison has none.
    fn differences(&self, shard: u32, id: &str, found: &StoreReconciliation) {
        let names = self.names.lock();
        let Some(names) = names.get(&shard) else { return };
        let of = |name: &str| found.commands.iter().find(|command| command.command == name);
        for name in names {
            set_of(&self.command_difference, &[id, name], of(name).map(|command| command.difference));
        }
        let others = found.commands.iter().filter(|command| !names.contains(&command.command));
        let sum = others.map(|command| command.difference).reduce(|sum, more| sum + more);
        set_of(&self.command_difference, &[id, OTHER], sum);
    }

    /// Updates the latencies of a node's commands by family.
    pub(crate) fn timed<'a>(&self, shard: u32, families: impl Iterator<Item = (&'a str, Latency)>) {
        for (family, latency) in families {
            self.durations.timed(vec![shard.to_string(), family.to_owned()], latency);
        }
    }

    /// Updates the counts of a node's commands. `unknown` is one of the names.
    pub(crate) fn counted<'a>(&self, shard: u32, counts: impl Iterator<Item = (&'a str, u64)>) {
        let mut names = self.names.lock();
        let names = names.entry(shard).or_default();
        let (id, mut others) = (shard.to_string(), 0);
        for (name, count) in counts.filter(|(_, count)| *count > 0) {
            if names.contains(name) || names.len() < NAMES {
                names.insert(name.to_owned());
                raise(&self.commands, &[&id, name], count);
            } else {
                others += count;
            }
        }
        if others > 0 {
            raise(&self.commands, &[&id, OTHER], others);
        }
    }
}

/// Sets a gauge. Without a value the series is removed.
fn set_of(gauge: &IntGaugeVec, labels: &[&str], value: Option<i64>) {
    match value {
        Some(value) => gauge.with_label_values(labels).set(value),
        // Removing fails when there was no series, which is fine.
        None => drop(gauge.remove_label_values(labels)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_no_longer_in_the_answer_has_no_series() {
        let metrics = Metrics::default();
        let store = StoreMetrics::register(&metrics).unwrap();
        let answer = |key: &str, result| StoreAnswer {
            keys: vec![StoreKey { key: key.to_owned(), slot: Some(7), share: 0.5, ..StoreKey::default() }],
            result,
            ..StoreAnswer::default()
        };
        store.answered(&answer("a", StoreResult::Hot));
        store.answered(&answer("b", StoreResult::Balanced));
        let text = metrics.encode().unwrap();
        let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
        assert_eq!(
            series("probe_store_key_share{"),
            [r#"probe_store_key_share{key="b",shard_id="0",slot="7"} 0.5"#]
        );
        assert_eq!(
            series("probe_store_result{"),
            [
                r#"probe_store_result{result="balanced"} 1"#,
                r#"probe_store_result{result="cannot_say"} 0"#,
                r#"probe_store_result{result="hot"} 0"#
            ]
        );
    }

    #[test]
    fn the_names_of_a_node_are_bounded_and_their_sum_is_all_commands() {
        let metrics = Metrics::default();
        let store = StoreMetrics::register(&metrics).unwrap();
        let all: Vec<String> = (0..30).map(|n| format!("cmd{n}")).collect();
        for round in 1..4_u64 {
            store.counted(2, all.iter().map(|name| (name.as_str(), round * 5)));
        }
        let text = metrics.encode().unwrap();
        let lines: Vec<&str> =
            text.lines().filter(|line| line.starts_with("kernel_store_commands_total{")).collect();
        let sum: u64 =
            lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!((lines.len(), sum), (NAMES + 1, 30 * 15), "{text}");
        assert!(text.contains("command=\"other\",shard_id=\"2\"} 150"), "{text}");
    }
}
