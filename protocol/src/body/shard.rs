//! Declares `/health`, `/stats` and `/admin/reset` of a shard.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use super::{HotKey, TopKey};
use crate::verdict::Verdict;
use crate::{Key, ShardId};

/// A shard's `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardHealth {
    /// Always [`super::OK`].
    pub status: Cow<'static, str>,
    /// The shard that answers.
    pub shard_id: ShardId,
}

/// A shard's `POST /admin/reset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReset {
    /// Always [`super::RESET`].
    pub status: Cow<'static, str>,
    /// The shard that was reset.
    pub shard_id: ShardId,
}

/// A shard's `GET /stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardStats {
    /// The shard that answers.
    pub shard_id: ShardId,
    /// Keys in the store.
    pub total_keys: u64,
    /// Served data requests plus those in flight, since the last reset.
    pub total_accesses: u64,
    /// Data requests received since the process started. A reset does not change them.
    pub requests_received: u64,
    /// Unix seconds at which this process started counting. It differs between two runs.
    pub started_at: f64,
    /// Requests in service or queued.
    pub active_requests: u64,
    /// Data requests that were answered with success, since the process started.
    pub requests_served: u64,
    /// Data requests refused for their content (4xx, 507), since the process started.
    pub requests_rejected: u64,
    /// Data requests shed with 503 because the queue was full, since the process started.
    pub requests_shed: u64,
    /// The most accessed keys since the last reset, most first.
    pub top_keys: Vec<TopKey>,
    /// Keys with more than 30 % of the accesses of the last 10 s.
    pub hot_keys: Vec<HotKey>,
    /// The verdict on this shard's own keys only.
    pub verdict: Verdict<Key>,
}
