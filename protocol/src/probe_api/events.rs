//! Declares the events of `/api/events`: `hello`, then one `second` a second.

use serde::{Deserialize, Serialize};

use super::{Comparison, HotKeyOverlap, OfShard, Quantiles, StoreAnswer, Verdicts};

/// Addresses for the live page, as seen by a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageLinks {
    /// The gateway. The page shows its switches.
    pub gateway: Option<String>,
    /// The scenario starter.
    pub scenarios: Option<String>,
}

/// The event `hello`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PastSeconds {
    /// The addresses that the page calls.
    pub links: PageLinks,
    /// The last two minutes, oldest first.
    pub past: Vec<PastSecond>,
}

/// A past second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PastSecond {
    /// When the second ended.
    pub taken_at: f64,
    /// The shards, in order of id.
    pub shards: Vec<ShardRates>,
}

/// One shard in a past second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardRates {
    /// Data requests a second by the kernel's count.
    pub kernel_per_second: Option<f64>,
    /// Data requests a second by the shard's own count.
    pub app_per_second: Option<f64>,
    /// Request durations measured by the kernel.
    pub latency_ms: Option<Quantiles>,
}

/// The event `second`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When the second ended.
    pub taken_at: f64,
    /// The shards, in order of id.
    pub shards: Vec<OfShard<SecondOfShard>>,
    /// The verdicts on the shards.
    pub verdicts: Verdicts,
    /// The answer about a store; absent for the lab's shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreAnswer>,
}

/// One shard in the event `second`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecondOfShard {
    /// The rates of the second.
    #[serde(flatten)]
    pub rates: ShardRates,
    /// The comparison since the baseline.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The hot keys; null if one of the witnesses cannot be read.
    pub hot_keys: Option<HotKeyOverlap>,
}
