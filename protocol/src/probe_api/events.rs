//! `/api/events`: the live page's events, `hello` and then one `second` a second.

use serde::{Deserialize, Serialize};

use super::{Comparison, HotKeyOverlap, OfShard, Quantiles, Verdicts};

/// Addresses that a page needs, as a browser finds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageLinks {
    /// The gateway, whose switches the page shows.
    pub gateway: Option<String>,
    /// The scenario starter.
    pub scenarios: Option<String>,
}

/// The event `hello`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PastSeconds {
    /// What the page calls.
    pub links: PageLinks,
    /// The last two minutes, oldest first.
    pub past: Vec<PastSecond>,
}

/// A second that has gone by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PastSecond {
    /// When it ended.
    pub taken_at: f64,
    /// In order of id.
    pub shards: Vec<ShardRates>,
}

/// One shard's second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardRates {
    /// Data requests a second by the kernel's count.
    pub kernel_per_second: Option<f64>,
    /// The same by the shard's own.
    pub app_per_second: Option<f64>,
    /// Durations by the kernel.
    pub latency_ms: Option<Quantiles>,
}

/// The event `second`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When it ended.
    pub taken_at: f64,
    /// In order of id.
    pub shards: Vec<OfShard<SecondOfShard>>,
    /// Whether a shard is hot.
    pub verdicts: Verdicts,
}

/// One shard in the event `second`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecondOfShard {
    /// What happened in it.
    #[serde(flatten)]
    pub rates: ShardRates,
    /// The counts since the baseline.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The hot keys; null where one of the witnesses cannot be read.
    pub hot_keys: Option<HotKeyOverlap>,
}
