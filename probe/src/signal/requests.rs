//! Defines the signal `requests`: request counters, with their metrics.

use probe_common::requests::{Reason, Requests};
use prometheus::IntCounterVec;
use service::metrics::Metrics;

use super::series::{raise, remove};
use crate::kernel::per_shard::PerShard;

/// The map `REQUESTS`.
pub type RequestsMap = PerShard<Requests>;

impl RequestsMap {
    /// The map's name in the object.
    pub const NAME: &str = "REQUESTS";
}

pub(crate) struct RequestMetrics {
    requests: IntCounterVec,
    control_requests: IntCounterVec,
    duplicate_segments: IntCounterVec,
    aborted: IntCounterVec,
    unparsed: IntCounterVec,
}

impl RequestMetrics {
    /// Registers all metrics of the signal.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let shard: &[&str] = &["shard_id"];
        Ok(Self {
            requests: metrics.counters(
                "kernel_shard_requests_total",
                "Data requests whose head reached the shard's socket, by operation.",
                &["shard_id", "operation"],
            )?,
            control_requests: metrics.counters(
                "kernel_shard_control_requests_total",
                "Other requests whose head reached the shard's socket, including the probe's /stats.",
                shard,
            )?,
            duplicate_segments: metrics.counters(
                "kernel_shard_repeated_segments_total",
                "Segments to the shard without new bytes: retransmissions.",
                shard,
            )?,
            aborted: metrics.counters(
                "kernel_shard_aborted_requests_total",
                "Data requests whose client closed the connection before an answer; the shard may not have read them.",
                shard,
            )?,
            unparsed: metrics.counters(
                "kernel_shard_unparsed_total",
                "Segments to the shard with bytes that were not parsed, by reason.",
                &["shard_id", "reason"],
            )?,
        })
    }

    /// Removes the series of a shard.
    pub(crate) fn forget(&self, shard: &str) {
        ["get", "set"].into_iter().for_each(|operation| remove(&self.requests, &[shard, operation]));
        [&self.control_requests, &self.duplicate_segments, &self.aborted]
            .into_iter()
            .for_each(|counter| remove(counter, &[shard]));
        Reason::ALL.iter().for_each(|reason| remove(&self.unparsed, &[shard, reason.name()]));
    }

    /// Updates the metrics with one shard's requests.
    pub(crate) fn read(&self, shard: u32, requests: &Requests) {
        let id = shard.to_string();
        raise(&self.requests, &[&id, "get"], requests.get);
        raise(&self.requests, &[&id, "set"], requests.set);
        raise(&self.control_requests, &[&id], requests.control);
        raise(&self.duplicate_segments, &[&id], requests.duplicate_segments);
        raise(&self.aborted, &[&id], requests.aborted);
        for (reason, count) in Reason::ALL.iter().zip(requests.unparsed) {
            raise(&self.unparsed, &[&id, reason.name()], count);
        }
    }
}
