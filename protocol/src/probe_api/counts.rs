//! Declares the counts: `/api/shards`, `/api/keys` and `/api/gateways`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Quantiles;
use crate::body::TopKey;

/// `/api/shards`: counts since the kernel started counting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shards {
    /// When the counts were read.
    pub taken_at: f64,
    /// The shards, in order of id.
    pub shards: Vec<ShardCounts>,
}

/// One shard's counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardCounts {
    /// The shard's position in `SHARD_URLS`.
    pub shard_id: u32,
    /// `host:port`.
    pub address: String,
    /// Data requests.
    pub requests: ByOperation,
    /// All other (control) requests.
    pub control_requests: u64,
    /// Bytes of TCP payload.
    pub payload_bytes: ByDirection,
    /// Bytes including the IP header.
    pub ip_bytes: ByDirection,
    /// Packets.
    pub packets: ByDirection,
    /// Unparsed segments, by reason.
    pub unparsed: BTreeMap<String, u64>,
    /// Duplicate segments: segments without new data.
    pub repeated_requests: u64,
    /// Aborted data requests: the client closed the connection before the answer.
    pub aborted_requests: u64,
    /// Data requests that the shard never reads: after its last answer, or on a connection that it reset.
    #[serde(default)]
    pub never_read_requests: u64,
    /// The keys with the most reads; absent if the probe does not count keys.
    pub top_keys: Option<Vec<KernelKey>>,
    /// Request durations in milliseconds.
    pub latency_ms: Quantiles,
    /// Round-trip times in milliseconds; absent if they are switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Quantiles>,
    /// The connections; absent if the program for them is not attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<ConnectionCounts>,
}

impl ShardCounts {
    /// Data requests of both kinds.
    #[must_use]
    pub const fn data(&self) -> u64 {
        self.requests.get + self.requests.set
    }

    /// Unparsed segments of all reasons.
    #[must_use]
    pub fn unparsed_segments(&self) -> u64 {
        self.unparsed.values().sum()
    }
}

/// Data requests by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByOperation {
    /// Reads.
    pub get: u64,
    /// Writes.
    pub set: u64,
}

/// A count by direction, as the shard's socket sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByDirection {
    /// Towards the shard.
    pub receive: u64,
    /// From the shard.
    pub transmit: u64,
}

/// A shard's connections that were established while the probe was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// Connections established.
    pub opened: u64,
    /// Connections ended.
    pub closed: u64,
    /// Ended connections that ended by a reset or timeout before the shard's side was done.
    #[serde(rename = "cut")]
    pub aborted_connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Segments that the shard retransmitted.
    pub retransmitted_segments: u64,
    /// Segments with RST.
    pub resets: ByDirection,
    /// Older connections; absent if their end cannot be seen.
    #[serde(rename = "older", skip_serializing_if = "Option::is_none")]
    pub preexisting: Option<PreexistingConnections>,
}

/// Older connections, as far as they have been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreexistingConnections {
    /// Connections that have transferred payload or ended since.
    pub seen: u64,
    /// Connections ended.
    pub closed: u64,
    /// Connections open now.
    pub open: u64,
}

/// A key with the kernel's count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelKey {
    /// The key. A key of more than 64 bytes, as sent, is replaced by a hash, an ellipsis, and its end.
    pub key: String,
    /// Reads since the key entered the table: exact.
    pub requests: u64,
    /// Upper bound of its earlier reads. 0 means that `requests` is exact since counting started.
    pub error: u64,
}

/// `/api/keys`: the kernel's tables of keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyTables {
    /// When the tables were read.
    pub taken_at: f64,
    /// The shards, in order of id.
    pub shards: Vec<ShardKeyTable>,
}

/// One shard's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardKeyTable {
    /// The shard's position in `SHARD_URLS`.
    pub shard_id: u32,
    /// Maximum number of keys in the kernel's table.
    pub capacity: usize,
    /// Current number of keys in the table.
    pub used: usize,
    /// Number of keys evicted from the table.
    pub evictions: u64,
    /// The keys, most reads first.
    pub keys: Vec<KernelKey>,
}

/// `/api/gateways`: the hottest keys of all gateways together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateways {
    /// When the gateways were read.
    pub taken_at: f64,
    /// The result for each gateway.
    pub gateways: Vec<GatewayReadout>,
    /// Requests of all gateways since their last resets.
    pub requests: u64,
    /// The hottest keys, most first.
    pub top_keys: Vec<TopKey>,
    /// Upper bound of the count of every key that is not listed.
    pub others_at_most: u64,
    /// Whether every count is exact and no other key had more than the last one.
    pub exact: bool,
}

/// The result of reading one gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayReadout {
    /// The gateway's URL.
    pub url: String,
    /// When the gateway's process started counting.
    pub started_at: Option<f64>,
    /// The gateway's requests since the last reset.
    pub requests: Option<u64>,
    /// Why these two are absent.
    pub problem: Option<String>,
}
