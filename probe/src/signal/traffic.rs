//! Defines the signal `traffic`: byte and packet counters, with their metrics.

use probe_common::traffic::Traffic;
use prometheus::IntCounterVec;
use service::metrics::Metrics;

use super::series::{raise, remove};
use crate::kernel::per_shard::PerShard;

/// The map `TRAFFIC`.
pub type TrafficMap = PerShard<Traffic>;

impl TrafficMap {
    /// The map's name in the object.
    pub const NAME: &str = "TRAFFIC";
}

/// The metrics of bytes and packets.
pub(crate) struct TrafficMetrics {
    payload_bytes: IntCounterVec,
    ip_bytes: IntCounterVec,
    packets: IntCounterVec,
}

impl TrafficMetrics {
    /// Registers all metrics of the signal.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let flow: &[&str] = &["shard_id", "direction"];
        Ok(Self {
            payload_bytes: metrics.counters(
                "kernel_shard_payload_bytes_total",
                "TCP payload of the shard's sockets, including retransmissions.",
                flow,
            )?,
            ip_bytes: metrics.counters(
                "kernel_shard_ip_bytes_total",
                "IP bytes of the shard's sockets; a batch of segments counts one IP header.",
                flow,
            )?,
            packets: metrics.counters(
                "kernel_shard_packets_total",
                "Packets of the shard's sockets; every segment of a batch counts.",
                flow,
            )?,
        })
    }

    /// Removes the series of a shard.
    pub(crate) fn forget(&self, shard: &str) {
        for direction in ["receive", "transmit"] {
            [&self.payload_bytes, &self.ip_bytes, &self.packets]
                .into_iter()
                .for_each(|counter| remove(counter, &[shard, direction]));
        }
    }

    /// Updates the metrics with one shard's bytes and packets.
    pub(crate) fn read(&self, shard: u32, traffic: &Traffic) {
        let id = shard.to_string();
        for (direction, flow) in [("receive", &traffic.receive), ("transmit", &traffic.transmit)] {
            raise(&self.payload_bytes, &[&id, direction], flow.payload_bytes);
            raise(&self.ip_bytes, &[&id, direction], flow.ip_bytes);
            raise(&self.packets, &[&id, direction], flow.packets);
        }
    }
}
