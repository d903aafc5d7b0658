//! Declares `/api/node`: all that an aggregator reads of one node's probe.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ByDirection, Comparison, HotKeyOverlap};

/// The version of this form. An aggregator reads only its own version.
pub const NODE_VERSION: u32 = 1;

/// `/api/node`: the counts of one probe, absolute since it began to count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// [`NODE_VERSION`].
    pub version: u32,
    /// The node's name (`NODE_NAME`).
    #[serde(default)]
    pub node: Option<String>,
    /// The boot id of the node's kernel. Probes with the same one may count the same packets.
    pub kernel: String,
    /// When counting started. Together with `kernel` it identifies the counts.
    pub counting_since: f64,
    /// When the report was made.
    pub taken_at: f64,
    /// Whether another comparison soon could be final.
    #[serde(default)]
    pub settling: bool,
    /// The shards that the probe watches, or has counted requests of.
    pub shards: Vec<NodeShard>,
    /// All other shards.
    #[serde(default)]
    pub unwatched: Vec<NodeUnwatched>,
}

/// Shards that a probe does not watch for the same reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUnwatched {
    /// The reason.
    pub problem: String,
    /// Ranges of shard ids: first and last.
    pub shards: Vec<[u32; 2]>,
}

/// One shard of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeShard {
    /// The shard's position in `SHARD_URLS`.
    pub shard_id: u32,
    /// The watched addresses. Empty if the shard was watched earlier.
    pub addresses: Vec<String>,
    /// Why it is not watched, or not all of it, or not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Requests.
    pub requests: NodeRequests,
    /// All other counts. Absent in a report of requests only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<NodeDetails>,
}

/// The counts of one shard's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRequests {
    /// Reads.
    pub get: u64,
    /// Writes.
    pub set: u64,
    /// All other requests.
    pub control: u64,
    /// Segments without new bytes.
    pub repeated: u64,
    /// Data requests whose client closed before an answer.
    pub aborted: u64,
    /// Of them, requests that were answered later or were certainly not read.
    pub aborted_settled: u64,
    /// Data requests that the shard never read.
    pub never_read: u64,
    /// Data requests in all segments that arrived.
    pub arrived: u64,
    /// Data requests in segments that TCP dropped.
    pub dropped: u64,
    /// Segments with unparsed bytes, by reason, without zeros.
    #[serde(default)]
    pub unparsed: BTreeMap<String, u64>,
}

/// The other counts of one shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeDetails {
    /// Bytes of TCP payload.
    pub payload_bytes: ByDirection,
    /// Bytes including the IP header.
    pub ip_bytes: ByDirection,
    /// Packets.
    pub packets: ByDirection,
    /// Request durations.
    pub latency: NodeLatency,
    /// Connections; absent if the program for them is not attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<NodeConnections>,
    /// Round-trip times; absent if they are switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt: Option<NodeLatency>,
    /// The largest keys.
    pub keys: NodeKeys,
    /// The shard's own counts; absent if they cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<NodeApp>,
    /// The probe's comparison with them.
    pub comparison: Comparison,
    /// The hot keys of both.
    #[serde(default)]
    pub hot_keys: HotKeyOverlap,
}

/// Durations in the kernel's buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLatency {
    /// Sum of all durations in nanoseconds.
    pub sum: u64,
    /// Number of each bucket that is not empty, and its count.
    pub buckets: Vec<(u16, u64)>,
}

/// The counts of one shard's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConnections {
    /// Connections established.
    pub opened: u64,
    /// Connections ended.
    pub closed: u64,
    /// Of them, connections that ended without the shard's FIN.
    pub cut: u64,
    /// Segments that the shard retransmitted.
    pub retransmitted_segments: u64,
    /// Segments with RST.
    pub resets: ByDirection,
    /// Connections older than the probe that were seen.
    pub older_seen: u64,
    /// Of them, connections ended.
    pub older_closed: u64,
}

/// The largest keys of one shard: by all reads, and by the reads of the last ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKeys {
    /// Whether these are all keys that were ever read.
    pub complete: bool,
    /// Name, exact reads, and upper bound of earlier reads.
    pub keys: Vec<(String, u64, u64)>,
}

/// A shard's own counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeApp {
    /// Data requests since the process started.
    pub requests_received: u64,
    /// When the process started.
    pub started_at: f64,
    /// Requests in service and waiting.
    pub active_requests: u64,
}
