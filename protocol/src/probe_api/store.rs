//! Declares `/api/store`, the answer of `probe watch`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CauseKind, Comparison, Quantiles};
use crate::verdict::Verdict;

/// The answer of `probe watch` about a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreAnswer {
    /// When the answer was made.
    pub taken_at: f64,
    /// Whether the store is hot.
    pub result: StoreResult,
    /// The answer in one or more sentences.
    pub sentence: String,
    /// Length of the window of the counts, in seconds.
    pub window_seconds: f64,
    /// Keyed commands to primaries in the window.
    pub commands: u64,
    /// `redis` or `valkey`, with its version.
    pub server: String,
    /// Whether the store is a cluster.
    pub cluster: bool,
    /// The source of the list of commands.
    pub commands_from: String,
    /// The verdict on the primaries.
    pub verdict: Option<Verdict<String>>,
    /// The largest keys of primaries in the window, largest first.
    pub keys: Vec<StoreKey>,
    /// What would help, best first; empty while nothing is hot.
    pub mitigations: Vec<StoreMitigation>,
    /// The nodes, primaries first.
    pub nodes: Vec<StoreNode>,
}

/// Whether a store is hot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreResult {
    /// No shard is hot.
    Balanced,
    /// A shard or key is hot.
    Hot,
    /// There is too little traffic, or a part of it cannot be seen.
    #[default]
    CannotSay,
}

impl StoreResult {
    /// All results.
    pub const ALL: [Self; 3] = [Self::Balanced, Self::Hot, Self::CannotSay];

    /// The name in JSON and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Hot => "hot",
            Self::CannotSay => "cannot_say",
        }
    }
}

/// A key of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreKey {
    /// The key. Bytes that are no text are written as `\xNN`.
    pub key: String,
    /// Its slot; absent outside of a cluster, and for a key of more than 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// The node that received the commands.
    pub shard_id: u32,
    /// Commands with this key in the window. Exact if `error` is 0.
    pub count: u64,
    /// Upper bound of the commands that `count` lacks.
    pub error: u64,
    /// Share of all keyed commands to primaries, 0 … 1.
    pub share: f64,
}

/// A mitigation and its predicted effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreMitigation {
    /// The mitigation.
    pub mitigation: StoreMeasure,
    /// Predicted share of the hottest node, of the commands that clients send now.
    pub hottest_share: f64,
    /// Assumptions and conditions.
    pub note: String,
}

/// A measure against a hot key of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreMeasure {
    /// No change.
    Nothing,
    /// Reads go to the replicas too.
    ReplicaReads,
    /// Clients cache the key (`CLIENT TRACKING`).
    ClientSideCache,
    /// The key is split into one part a shard.
    SplitKey,
    /// One copy of the key a shard, each under its own name.
    MoreCopies,
    /// Slots are moved to other shards.
    MoveSlots,
}

impl StoreMeasure {
    /// The measure in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Nothing => "no change",
            Self::ReplicaReads => "replica reads",
            Self::ClientSideCache => "client-side cache",
            Self::SplitKey => "split the key",
            Self::MoreCopies => "more copies of the key",
            Self::MoveSlots => "move slots",
        }
    }
}

/// One node of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreNode {
    /// The number of the node. It stays the same through a failover.
    pub shard_id: u32,
    /// `host:port`.
    pub address: String,
    /// The cluster's id of the node.
    pub node_id: String,
    /// `primary` or `replica`; `gone` after the node has left the cluster.
    pub role: String,
    /// The primary of a replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<u32>,
    /// Ranges of slots, such as `0-5460`.
    pub slots: Vec<String>,
    /// Keyed commands in the window.
    pub commands: u64,
    /// Share of the keyed commands to primaries, 0 … 1; 0 for other nodes.
    pub share: f64,
    /// The comparison of kernel and store.
    pub reconciliation: StoreReconciliation,
    /// From a command to the first byte of its reply, since the probe attached.
    #[serde(default)]
    pub latency_ms: Quantiles,
    /// The same by family of commands, such as `string`; only families with commands.
    #[serde(default)]
    pub family_latency_ms: BTreeMap<String, Quantiles>,
    /// Commands since then whose latency is not measured, by reason; only those that occurred.
    #[serde(default)]
    pub untimed: BTreeMap<Untimed, u64>,
}

/// Why the latency of commands is not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Untimed {
    /// The connection is older than the probe, and its replies are not in step yet.
    Joined,
    /// Commands or replies could not be followed, and the replies are not in step again yet.
    Lost,
    /// The store sends without being asked: a subscription, `MONITOR`, a replica.
    Streaming,
    /// `CLIENT REPLY`: some commands have no reply.
    ReplyOff,
    /// The command may wait for data.
    Blocking,
    /// The command was queued in a transaction.
    Transaction,
    /// More than 64 commands of the connection waited for replies.
    Depth,
}

impl Untimed {
    /// All reasons, in the order of the kernel's counters.
    pub const ALL: [Self; 7] = [
        Self::Joined,
        Self::Lost,
        Self::Streaming,
        Self::ReplyOff,
        Self::Blocking,
        Self::Transaction,
        Self::Depth,
    ];

    /// The name in JSON and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Lost => "lost",
            Self::Streaming => "streaming",
            Self::ReplyOff => "reply_off",
            Self::Blocking => "blocking",
            Self::Transaction => "transaction",
            Self::Depth => "depth",
        }
    }
}

/// The comparison of one node, since its baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreReconciliation {
    /// All commands.
    pub total: Comparison,
    /// Commands by name, only those with traffic.
    pub commands: Vec<CommandComparison>,
    /// Bytes from clients.
    pub bytes: Comparison,
    /// Share of the bytes that did not use a watched socket, 0 … 1; absent without bytes.
    pub unseen_share: Option<f64>,
    /// Commands in each named exception, since the baseline.
    pub exceptions: BTreeMap<StoreException, u64>,
    /// New baselines since the start, by reason.
    pub baselines: BTreeMap<NewBaseline, u64>,
}

/// One command's comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandComparison {
    /// The name, in lower case.
    pub command: String,
    /// Counted by the kernel, without the discarded ones.
    pub kernel: u64,
    /// Calls and rejected calls.
    pub store: u64,
    /// Kernel − store.
    pub difference: i64,
    /// Largest difference that commands in flight can explain.
    pub bound: u64,
    /// Why the difference is not 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseKind>,
}

/// Why kernel and store count differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreException {
    /// Queued in a transaction and discarded with it. Only the kernel counts them.
    Discarded,
    /// Sent after `QUIT`, counted in segments, or on a connection that the store closed. The store does not count them.
    BehindClose,
    /// Sent by clients that closed before an answer, also after a blocked command. The store may not have read them.
    Aborted,
    /// Unknown names. The store counts them under no name.
    Unknown,
    /// Called by scripts. Only the store counts them.
    Scripted,
    /// Applied from the primary's stream. Only the store counts them.
    Replicated,
}

impl StoreException {
    /// All exceptions.
    pub const ALL: [Self; 6] =
        [Self::Discarded, Self::BehindClose, Self::Aborted, Self::Unknown, Self::Scripted, Self::Replicated];

    /// The name in JSON and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discarded => "discarded",
            Self::BehindClose => "behind_close",
            Self::Aborted => "aborted",
            Self::Unknown => "unknown",
            Self::Scripted => "scripted",
            Self::Replicated => "replicated",
        }
    }
}

/// Why a comparison has a new baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewBaseline {
    /// The process has restarted: another `run_id`.
    Restart,
    /// The counts fell: `CONFIG RESETSTAT`.
    Reset,
    /// The role has changed: a failover.
    Role,
    /// The list of commands or the addresses have changed.
    Watched,
}

impl NewBaseline {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Restart, Self::Reset, Self::Role, Self::Watched];

    /// The name in JSON and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reset => "reset",
            Self::Role => "role",
            Self::Watched => "watched",
        }
    }
}
