//! Exports the comparison with a store: commands by name, bytes, exceptions.

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};
use protocol::probe_api::{NewBaseline, StoreAnswer, StoreException, StoreNode};
use service::metrics::Metrics;

use super::series::{raise, set};

/// The metric families of a store. Without one they have no series.
pub(crate) struct StoreMetrics {
    commands: IntCounterVec,
    command_difference: IntGaugeVec,
    bytes_difference: IntGaugeVec,
    unseen: GaugeVec,
    exceptions: IntGaugeVec,
    baselines: IntCounterVec,
    nodes: IntGaugeVec,
    /// The labels of each node's series in `nodes`.
    roles: Mutex<Vec<[String; 3]>>,
}

impl StoreMetrics {
    /// Registers all families.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Ok(Self {
            commands: metrics.counters(
                "kernel_store_commands_total",
                "Commands that reached the node's socket, by name; all unknown names are `unknown`.",
                &["shard_id", "command"],
            )?,
            command_difference: metrics.gauges(
                "reconciliation_store_command_difference",
                "Commands counted by the kernel minus calls and rejected calls of the node, since the baseline.",
                &["shard_id", "command"],
            )?,
            bytes_difference: metrics.gauges(
                "reconciliation_store_bytes_difference",
                "Bytes counted by the kernel minus those that the node has read from clients, since the baseline.",
                &["shard_id"],
            )?,
            unseen: metrics.fractions(
                "reconciliation_store_unseen_bytes_ratio",
                "Share of the node's bytes from clients that crossed no watched socket: Unix socket, TLS.",
                &["shard_id"],
            )?,
            exceptions: metrics.gauges(
                "reconciliation_store_exceptions",
                "Commands that only one witness counts, by reason, since the baseline.",
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
            roles: Mutex::default(),
        })
    }

    /// Updates everything from an answer. The number of series is bounded by the nodes and the commands of the table.
    pub(crate) fn answered(&self, answer: &StoreAnswer) {
        let mut roles = self.roles.lock();
        for node in &answer.nodes {
            self.node(node, &mut roles);
        }
    }

    fn node(&self, node: &StoreNode, roles: &mut Vec<[String; 3]>) {
        let id = node.shard_id.to_string();
        let found = &node.reconciliation;
        for command in &found.commands {
            self.command_difference
                .with_label_values(&[id.as_str(), command.command.as_str()])
                .set(command.difference);
        }
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

    /// Updates a command's count. `name` is that of the table, or `unknown`.
    pub(crate) fn counted(&self, shard: u32, name: &str, count: u64) {
        raise(&self.commands, &[&shard.to_string(), name], count);
    }
}
