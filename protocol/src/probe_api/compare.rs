//! Declares `/api/compare` and `/api/verdict`, which compare the witnesses.

use serde::{Deserialize, Serialize};

use super::{OfShard, OfShards, StoreAnswer};
use crate::verdict::Verdict;

/// `/api/compare`: the comparison of all shards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compare {
    /// When the comparison was taken.
    pub taken_at: f64,
    /// The comparison of each shard, in order of id.
    pub shards: Vec<OfShard<Comparison>>,
    /// The hot keys; empty if one of the witnesses cannot be read.
    #[serde(default)]
    pub hot_keys: OfShards<HotKeyOverlap>,
    /// The answer about a store; absent for the lab's shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreAnswer>,
}

/// The comparison of one shard, with counts since the baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Data requests by the kernel's count.
    pub kernel: Option<u64>,
    /// Data requests by the application's count.
    pub app: Option<u64>,
    /// Kernel − application.
    pub difference: Option<i64>,
    /// The bound: the largest difference that can be explained.
    pub bound: Option<u64>,
    /// Whether the counts agree within the bound; absent if there is no verdict.
    pub agrees: Option<bool>,
    /// A stable identifier for the cause of a difference or of a missing verdict.
    pub cause_kind: Option<CauseKind>,
    /// The cause in one sentence.
    pub cause: Option<String>,
    /// When the baseline was taken.
    pub since: Option<f64>,
    /// Requests sent by the gateway's own count, since `gateway_since`. Absent if no gateway is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<u64>,
    /// When the baseline with the gateway was taken. It is later for a gateway that started later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_since: Option<f64>,
    /// The node whose probe watches the shard. Absent if the probe does not know its node's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Lower bound of the requests since `gateway_since` that bypassed the gateway. It is exact while no requests are
    /// in flight. Absent if no gateway is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypassed: Option<u64>,
}

/// The cause of a difference or of a missing verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// No verdict: the kernel's counters cannot be read.
    KernelUnreadable,
    /// No verdict: the kernel does not watch all addresses of the shard.
    Unwatched,
    /// No verdict: the kernel does not see the shard's packets.
    Blind,
    /// No verdict: the shard's `/stats` cannot be read.
    ShardUnreadable,
    /// No verdict: the baseline has not been taken yet.
    Baseline,
    /// They agree: the requests are in flight.
    InFlight,
    /// They agree: clients disconnected before an answer, and the shard need not have read their requests.
    Aborted,
    /// They agree, but some requests bypassed the gateway.
    Bypassed,
    /// They agree, but the configured gateway cannot be read.
    GatewayUnreadable,
    /// The shard did not count requests, and no answer to them was seen: it has not read them.
    Unanswered,
    /// The same as `Unanswered`, with retransmissions: one request may have been counted twice.
    Retransmitted,
    /// The shard did not count requests although all were answered: they are shed before its counter.
    Shed,
    /// The shard did not count requests for an unknown reason.
    Uncounted,
    /// The kernel did not count requests, and there were unparsed segments.
    Unparsed,
    /// The kernel did not see the requests.
    Unseen,
    /// No agreement by name: scripts call commands, which only the store counts.
    Scripts,
    /// No agreement by name: a replica applies commands of its primary, which only the store counts.
    Replication,
    /// No verdict: commands wait in open transactions, or after a blocked command.
    Waiting,
    /// The store counts a part of the commands under no name, such as unknown subcommands.
    Unnamed,
    /// Store: queued commands were discarded with their transaction. The store counts them nowhere.
    Discarded,
}

/// The hot keys of one shard by both witnesses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HotKeyOverlap {
    /// Length of the window by the clock, in seconds.
    pub window_seconds: f64,
    /// Hot keys by the kernel's counts, hottest first.
    pub kernel: Vec<HotKey>,
    /// Hot keys by the application's counts, hottest first.
    pub app: Vec<HotKey>,
    /// Σ min / Σ max over the keys of both lists; absent if both are empty or the window is not full.
    pub overlap_ratio: Option<f64>,
}

/// A hot key, with its name in the kernel's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotKey {
    /// The key.
    pub key: String,
    /// The key's requests in the window.
    pub count: u64,
    /// The key's share of the shard's requests, 0 … 1.
    pub ratio: f64,
}

/// `/api/verdict`: the verdicts of kernel and gateway at the same time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// When the verdicts were taken; 0 before the first ones.
    pub taken_at: f64,
    /// The verdict from kernel counts alone.
    pub kernel: Option<Verdict<String>>,
    /// The gateway's own verdict.
    pub gateway: Option<Verdict<String>>,
    /// Whether the verdicts are the same; absent if they cannot be compared.
    pub agree: Option<bool>,
    /// A stable identifier for the cause of a difference or of a missing comparison.
    pub cause_kind: Option<VerdictDifference>,
    /// The cause in one sentence.
    pub cause: Option<String>,
}

/// Why two verdicts differ or cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictDifference {
    /// A verdict has just changed, and the other one follows later.
    Changing,
    /// The figure is at a threshold.
    Threshold,
    /// The kernel sees more requests than the gateway sent.
    Bypassed,
    /// The kernel sees fewer requests than the gateway sent.
    Unseen,
    /// The hot key has writes, which the kernel does not count by key.
    Writes,
    /// None of these causes.
    Unexplained,
    /// No gateway is configured.
    NoGateway,
    /// The gateway returned no verdict.
    GatewayUnreadable,
    /// The kernel's counts do not cover all shards.
    KernelBlind,
}
