//! `/api/compare` and `/api/verdict`: the witnesses side by side.

use serde::{Deserialize, Serialize};

use super::{OfShard, OfShards};
use crate::verdict::Verdict;

/// `/api/compare`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compare {
    /// When the comparison was taken.
    pub taken_at: f64,
    /// The counts, in order of id.
    pub shards: Vec<OfShard<Comparison>>,
    /// The hot keys; empty where one of the witnesses cannot be read.
    #[serde(default)]
    pub hot_keys: OfShards<HotKeyOverlap>,
}

/// The comparison of one shard, counts since the baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The kernel's data requests.
    pub kernel: Option<u64>,
    /// The application's.
    pub app: Option<u64>,
    /// Kernel − application.
    pub difference: Option<i64>,
    /// Largest difference that requests in flight can explain.
    pub bound: Option<u64>,
    /// The verdict; absent where there can be none.
    pub agrees: Option<bool>,
    /// Why there is a difference, or no verdict, in one word that stays.
    pub cause_kind: Option<CauseKind>,
    /// The same in a sentence.
    pub cause: Option<String>,
    /// When the baseline was taken.
    pub since: Option<f64>,
    /// What the gateway sent by its own count, since `gateway_since`; absent where no gateway is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<u64>,
    /// When the baseline with the gateway was taken: that of a gateway started later is later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_since: Option<f64>,
    /// Requests since then that surely reached the shard without the gateway; exactly so many while nothing is on its
    /// way. Absent where no gateway is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypassed: Option<u64>,
}

/// What a difference, or the lack of a verdict, comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// No verdict: the kernel's counters cannot be read.
    KernelUnreadable,
    /// No verdict: the kernel does not watch all addresses of the shard.
    Unwatched,
    /// No verdict: the shard's `/stats` cannot be read.
    ShardUnreadable,
    /// No verdict: the baseline does not stand yet.
    Baseline,
    /// They agree: the requests are in flight.
    InFlight,
    /// They agree: clients left before an answer, and the shard need not have read what they sent.
    Aborted,
    /// They agree, but the gateway did not send all of it.
    Bypassed,
    /// They agree, but the gateway, which is to be asked too, cannot be read.
    GatewayUnreadable,
    /// The shard did not count requests, and no answer to them was seen: it has not read them.
    Unanswered,
    /// The same, with retransmissions: one request may have been counted twice.
    Retransmitted,
    /// The shard did not count requests, though all were answered: they are shed ahead of its counter.
    Shed,
    /// The shard did not count requests, and it cannot be told why.
    Uncounted,
    /// The kernel did not count requests, and there were segments it could not parse.
    Unparsed,
    /// The kernel did not see requests at all.
    Unseen,
}

/// Both witnesses' hot keys of one shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HotKeyOverlap {
    /// How long the window is, by the clock.
    pub window_seconds: f64,
    /// What the kernel's counts make hot, hottest first.
    pub kernel: Vec<HotKey>,
    /// What the application calls hot, hottest first.
    pub app: Vec<HotKey>,
    /// Σ min / Σ max over the keys of both lists; absent where both are empty or the window is not full.
    pub overlap_ratio: Option<f64>,
}

/// A hot key, under the name it has in the kernel's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotKey {
    /// The key.
    pub key: String,
    /// Its requests in the window.
    pub count: u64,
    /// Their share of the shard's, 0 … 1.
    pub ratio: f64,
}

/// `/api/verdict`: both verdicts of one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// When they were given; 0 before there is any.
    pub taken_at: f64,
    /// From kernel counts alone.
    pub kernel: Option<Verdict<String>>,
    /// The gateway's own.
    pub gateway: Option<Verdict<String>>,
    /// Whether they are the same; absent where that cannot be told.
    pub agree: Option<bool>,
    /// Why there is a difference, or no comparison, in one word that stays.
    pub cause_kind: Option<VerdictDifference>,
    /// The same in a sentence.
    pub cause: Option<String>,
}

/// Why two verdicts differ, or why that cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictDifference {
    /// One follows the other's change.
    Changing,
    /// The figure is at a threshold.
    Threshold,
    /// The kernel sees more requests than the gateway sent.
    Bypassed,
    /// The gateway sent more than the kernel sees.
    Unseen,
    /// The hot key is one that is written.
    Writes,
    /// Nothing of that.
    Unexplained,
    /// No gateway is asked.
    NoGateway,
    /// The gateway was asked and gave no verdict.
    GatewayUnreadable,
    /// The kernel's counts are not those of all shards.
    KernelBlind,
}
