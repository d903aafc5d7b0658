//! `/api/shards`, `/api/keys` and `/api/gateways`: what was counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Quantiles;
use crate::body::TopKey;

/// `/api/shards`: counts since the kernel began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shards {
    /// When they were read.
    pub taken_at: f64,
    /// In order of id.
    pub shards: Vec<ShardCounts>,
}

/// One shard's counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardCounts {
    /// Its position in `SHARD_URLS`.
    pub shard_id: u32,
    /// `host:port`.
    pub address: String,
    /// Data requests.
    pub requests: ByOperation,
    /// Other requests.
    pub control_requests: u64,
    /// TCP payload.
    pub payload_bytes: ByDirection,
    /// Bytes from the IP header on.
    pub ip_bytes: ByDirection,
    /// Packets.
    pub packets: ByDirection,
    /// Segments that could not be parsed, by reason.
    pub unparsed: BTreeMap<String, u64>,
    /// Segments that brought nothing new.
    pub repeated_requests: u64,
    /// Data requests whose client left before an answer.
    pub aborted_requests: u64,
    /// Data requests that the shard never reads: behind its last answer, or on a connection it reset.
    #[serde(default)]
    pub never_read_requests: u64,
    /// The keys with most reads; absent from a probe that does not count keys.
    pub top_keys: Option<Vec<KernelKey>>,
    /// Request durations in milliseconds.
    pub latency_ms: Quantiles,
    /// Round-trip times in milliseconds; absent where they are switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Quantiles>,
    /// Absent where the program for them is not attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<ConnectionCounts>,
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

/// A shard's connections, of those that were set up while the probe watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// Set up.
    pub opened: u64,
    /// Ended.
    pub closed: u64,
    /// Of those, ended by a reset or time-out before the shard's side was done.
    #[serde(rename = "cut")]
    pub aborted_connections: u64,
    /// Open now.
    pub open: u64,
    /// Segments that the shard retransmitted.
    pub retransmitted_segments: u64,
    /// Segments with RST.
    pub resets: ByDirection,
    /// Connections older than the probe; absent if their end cannot be seen.
    #[serde(rename = "older", skip_serializing_if = "Option::is_none")]
    pub preexisting: Option<PreexistingConnections>,
}

/// Connections older than the probe, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreexistingConnections {
    /// Have carried payload or ended since.
    pub seen: u64,
    /// Ended.
    pub closed: u64,
    /// Open now.
    pub open: u64,
}

/// A key, as the kernel counted it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelKey {
    /// The key; of one longer than 64 bytes, as sent, a hash, an ellipsis, and its end.
    pub key: String,
    /// Reads since the key came into the table: exact.
    pub requests: u64,
    /// Reads it may have had before that, at most; 0 means that `requests` is exact since counting began.
    pub error: u64,
}

/// `/api/keys`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyTables {
    /// When they were read.
    pub taken_at: f64,
    /// In order of id.
    pub shards: Vec<ShardKeyTable>,
}

/// One shard's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardKeyTable {
    /// Its position in `SHARD_URLS`.
    pub shard_id: u32,
    /// Keys the kernel has room for.
    pub capacity: usize,
    /// Those it has.
    pub used: usize,
    /// How often one had to make room.
    pub evictions: u64,
    /// Most reads first.
    pub keys: Vec<KernelKey>,
}

/// `/api/gateways`: the hottest keys of all gateways together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateways {
    /// When they were asked.
    pub taken_at: f64,
    /// Each of them.
    pub gateways: Vec<GatewayReadout>,
    /// Requests of all since their last resets.
    pub requests: u64,
    /// The hottest keys, most first.
    pub top_keys: Vec<TopKey>,
    /// No key that is not listed had more.
    pub others_at_most: u64,
    /// Every count is exact, and no other key had more than the last one.
    pub exact: bool,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayReadout {
    /// Where it was asked.
    pub url: String,
    /// When its process began to count.
    pub started_at: Option<f64>,
    /// Its requests since the last reset.
    pub requests: Option<u64>,
    /// Why the two are absent.
    pub problem: Option<String>,
}
