//! Reads kernel and store once both are at rest, and judges each node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use protocol::probe_api::{CauseKind, ShardCounts, StoreAnswer, StoreNode};

use super::report::Line;
use crate::accuracy::probe::{Probe, Stage};
use crate::accuracy::rule::RowVerdict;

/// The longest wait for rest.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long the counts must stay the same. The probe compares once a second.
const QUIET: Duration = Duration::from_millis(1_600);

/// How long the wait for an agreement may take after that.
const GRACE: Duration = Duration::from_secs(6);

/// Commands between nodes, which never rest.
const BETWEEN_NODES: [&str; 2] = ["replconf", "ping"];

/// Kernel and store at one moment.
pub(crate) struct Rest {
    pub(crate) answer: StoreAnswer,
    /// Counters of the kernel, by number of the node.
    pub(crate) counted: Vec<ShardCounts>,
}

impl Rest {
    /// Waits until the clients' commands are all counted, by kernel and store.
    pub(crate) fn read(stage: &Stage, probe: &Probe<'_>) -> Result<Self> {
        let (mut last, mut since) = (None, Instant::now());
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let answer = probe.store()?;
            let state = state(&answer);
            if last.as_ref() != Some(&state) {
                (last, since) = (Some(state), Instant::now());
            }
            let quiet = since.elapsed();
            let agrees = answer.nodes.iter().filter(|node| node.role == "primary").all(agrees);
            if (agrees && quiet >= QUIET) || quiet >= QUIET + GRACE || Instant::now() >= deadline {
                ensure!(!answer.nodes.is_empty(), "the probe reports no node");
                return Ok(Self { answer, counted: probe.counted()? });
            }
            stage.pause();
        }
    }

    /// The kernel's counters of a node.
    fn counted(&self, node: &StoreNode) -> Option<&ShardCounts> {
        self.counted.get(node.shard_id as usize)
    }

    /// The kernel's count of a command on a node.
    pub(crate) fn kernel(node: &StoreNode, name: &str) -> u64 {
        let found = node.reconciliation.commands.iter().find(|command| command.command == name);
        found.map_or(0, |command| command.kernel)
    }

    /// One line for each node of a role.
    pub(crate) fn lines(&self, row: &str, repeated: &BTreeMap<String, u64>) -> Vec<Line> {
        let alive = self.answer.nodes.iter().filter(|node| node.role == "primary" || node.role == "replica");
        alive
            .map(|node| self.line(row, node, repeated.get(&node.address).copied().unwrap_or_default()))
            .collect()
    }

    /// The line of one node, to which TCP sent so many payload bytes twice.
    pub(crate) fn line(&self, row: &str, node: &StoreNode, repeated: u64) -> Line {
        let found = &node.reconciliation;
        let counted = self.counted(node);
        let name = if self.answer.nodes.len() == 1 {
            row.to_owned()
        } else {
            format!("{row}: {} {}", node.role, node.shard_id)
        };
        Line {
            name,
            kernel: found.total.kernel,
            difference: found.total.difference,
            bytes: found.bytes.difference,
            unparsed: counted.map_or(0, ShardCounts::unparsed_segments),
            verdict: verdict(node, counted, repeated),
            note: note(node),
        }
    }
}

/// What must stay the same: the counts of clients' commands at primaries.
fn state(answer: &StoreAnswer) -> Vec<(u32, String, u64, u64)> {
    let primaries = answer.nodes.iter().filter(|node| node.role == "primary");
    let commands = primaries.flat_map(|node| node.reconciliation.commands.iter().map(move |one| (node, one)));
    let of_clients = commands.filter(|(_, one)| !BETWEEN_NODES.contains(&one.command.as_str()));
    of_clients.map(|(node, one)| (node.shard_id, one.command.clone(), one.kernel, one.store)).collect()
}

/// Whether commands and bytes agree. A command between nodes can be under way at any time.
fn agrees(node: &StoreNode) -> bool {
    let (total, bytes) = (&node.reconciliation.total, &node.reconciliation.bytes);
    total.agrees == Some(true) && bytes.difference == Some(0)
}

fn verdict(node: &StoreNode, counted: Option<&ShardCounts>, repeated: u64) -> RowVerdict {
    let found = &node.reconciliation;
    let (total, bytes) = (&found.total, &found.bytes);
    let (Some(difference), Some(of_bytes)) = (total.difference, bytes.difference) else {
        let cause = total.cause.clone().unwrap_or_else(|| "the node has no comparison".to_owned());
        return RowVerdict::Wrong(cause);
    };
    if let Some(counted) = counted.filter(|counted| counted.unparsed_segments() > 0) {
        let reasons = counted.unparsed.iter().filter(|(_, segments)| **segments > 0);
        let reasons: Vec<String> = reasons.map(|(reason, segments)| format!("{segments} {reason}")).collect();
        let names = found.commands.iter().filter(|one| one.difference != 0);
        let names: Vec<String> = names.map(|one| format!("{} {:+}", one.command, one.difference)).collect();
        return RowVerdict::Wrong(format!("unparsed: {}; {}", reasons.join(", "), names.join(", ")));
    }
    if of_bytes != 0 && u64::try_from(of_bytes) != Ok(repeated) {
        return RowVerdict::Wrong(format!("{of_bytes:+} bytes; TCP sent {repeated} twice"));
    }
    let cause = || total.cause.clone().unwrap_or_default();
    if node.role == "replica" {
        let is_over = |cause: Option<CauseKind>| matches!(cause, None | Some(CauseKind::Uncounted));
        let over = found.commands.iter().find(|command| command.difference > 0 && is_over(command.cause));
        return match over {
            Some(command) => RowVerdict::Wrong(format!("{} {:+}", command.command, command.difference)),
            None if difference == 0 => RowVerdict::Exact,
            None => {
                RowVerdict::Explained("commands of its primary are not on clients' connections".to_owned())
            }
        };
    }
    match (total.agrees, difference, of_bytes) {
        (Some(true), 0, 0) => RowVerdict::Exact,
        (Some(true), 0, _) => RowVerdict::Explained(format!("TCP sent {repeated} bytes twice")),
        (Some(true), ..) => RowVerdict::Explained(cause()),
        (None | Some(false), ..) => RowVerdict::Wrong(cause()),
    }
}

/// Exceptions and baselines that are not 0.
fn note(node: &StoreNode) -> String {
    let found = &node.reconciliation;
    let exceptions = found.exceptions.iter().filter(|(_, count)| **count > 0);
    let exceptions = exceptions.map(|(name, count)| format!("{} {count}", name.name()));
    let baselines =
        found.baselines.iter().map(|(name, count)| format!("new baseline: {} {count}", name.name()));
    exceptions.chain(baselines).collect::<Vec<_>>().join(", ")
}
