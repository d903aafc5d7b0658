//! Declares the verdict: state, reason, figures and one sentence for people.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How hot the hottest shard is, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Too few requests to judge.
    #[serde(rename = "not enough traffic")]
    NotEnoughTraffic,
    /// No shard gets significantly more than its share.
    Balanced,
    /// The largest shard has at least 1.2 fair shares (99.9 %), or a shard is down.
    Warm,
    /// The largest shard has at least 1.5 fair shares (99.9 %).
    Hot,
    /// The largest shard has at least 2 fair shares (99.9 %).
    Critical,
}

impl State {
    /// All states, ascending.
    pub const ALL: [Self; 5] =
        [Self::NotEnoughTraffic, Self::Balanced, Self::Warm, Self::Hot, Self::Critical];

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotEnoughTraffic => "not enough traffic",
            Self::Balanced => "balanced",
            Self::Warm => "warm",
            Self::Hot => "hot",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The reason of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// One key carries at least half of the shard's excess.
    HotKey,
    /// Many warm keys met on one shard.
    Placement,
    /// A shard does not answer.
    ShardDown,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::HotKey, Self::Placement, Self::ShardDown];

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HotKey => "hot_key",
            Self::Placement => "placement",
            Self::ShardDown => "shard_down",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `verdict` of `/stats`. Unknown figures are null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict<K> {
    /// The state, after hysteresis.
    pub state: State,
    /// The reason, if the state is `warm` or higher.
    pub reason: Option<Reason>,
    /// The hottest shard, or the shard that is down.
    pub shard_id: Option<usize>,
    /// The hot key, if it is the reason.
    pub key: Option<K>,
    /// Largest shard's requests over the mean.
    pub max_over_mean: Option<f64>,
    /// L: lower bound of the largest shard's load in fair shares (99.9 %).
    pub lower_bound: Option<f64>,
    /// Coefficient of variation of the shards' requests.
    pub cv: Option<f64>,
    /// The top key's share of all requests, by its lower bound.
    pub p1: Option<f64>,
    /// Number of shards times `p1`: above 1, no placement can balance the load.
    pub n_p1: Option<f64>,
    /// χ² against an even split.
    pub chi2: Option<f64>,
    /// Probability of a χ² at least as large when the split is even.
    pub p: Option<f64>,
    /// Requests in the judged window.
    pub requests: u64,
    /// Measured length of the window in seconds.
    pub window_seconds: f64,
    /// The verdict in one sentence.
    pub sentence: String,
    /// The shards that are down; absent if none is. They are listed with any reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub down: Vec<usize>,
}

impl<K> Verdict<K> {
    /// The same verdict with keys of another type.
    pub fn map_key<L>(self, to: impl FnOnce(K) -> L) -> Verdict<L> {
        Verdict {
            key: self.key.map(to),
            state: self.state,
            reason: self.reason,
            shard_id: self.shard_id,
            max_over_mean: self.max_over_mean,
            lower_bound: self.lower_bound,
            cv: self.cv,
            p1: self.p1,
            n_p1: self.n_p1,
            chi2: self.chi2,
            p: self.p,
            requests: self.requests,
            window_seconds: self.window_seconds,
            sentence: self.sentence,
            down: self.down,
        }
    }
}
