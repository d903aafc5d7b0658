//! Defines the signal `connections`: connection counters, with their JSON and metrics.

use probe_common::connections::Connections;
use probe_common::latency::Latency;
use prometheus::{IntCounterVec, IntGaugeVec};
use protocol::probe_api::{ByDirection, ConnectionCounts, PreexistingConnections};
use service::metrics::Metrics;

use super::series::{raise, remove, set};
use crate::kernel::attach;
use crate::kernel::per_shard::PerShard;
use crate::signal::latency::DurationMetric;

/// The map `CONNECTIONS`.
pub(crate) type ConnectionsMap = PerShard<Connections>;

impl ConnectionsMap {
    /// The map's name in the object.
    pub(crate) const NAME: &str = "CONNECTIONS";

    /// The program that fills the map.
    pub(crate) const PROGRAM: &str = attach::SOCKET_EVENTS;

    /// The program that reports the end of older connections.
    pub(crate) const PREEXISTING_PROGRAM: &str = attach::SOCKET_RELEASED;
}

/// One shard's connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionReading {
    /// The counters.
    pub(crate) counted: Connections,
    /// Open connections, new and preexisting ones.
    pub(crate) open: (u64, u64),
    /// Whether the program that reports the end of older connections is attached.
    pub(crate) follows_preexisting: bool,
    /// Round-trip times, if they are measured.
    pub(crate) round_trips: Option<Latency>,
}

impl From<&ConnectionReading> for ConnectionCounts {
    fn from(reading: &ConnectionReading) -> Self {
        let counted = &reading.counted;
        Self {
            opened: counted.opened,
            closed: counted.closed,
            aborted_connections: counted.aborted_connections,
            open: reading.open.0,
            retransmitted_segments: counted.retransmitted,
            resets: ByDirection { receive: counted.resets_received, transmit: counted.resets_sent },
            preexisting: reading.follows_preexisting.then_some(PreexistingConnections {
                seen: counted.preexisting_seen,
                closed: counted.preexisting_closed,
                open: reading.open.1,
            }),
        }
    }
}

pub(crate) struct ConnectionMetrics {
    opened: IntCounterVec,
    closed: IntCounterVec,
    aborted_connections: IntCounterVec,
    open: IntGaugeVec,
    retransmitted: IntCounterVec,
    resets: IntCounterVec,
    preexisting_seen: IntCounterVec,
    preexisting_closed: IntCounterVec,
    preexisting_open: IntGaugeVec,
    round_trips: DurationMetric,
}

impl ConnectionMetrics {
    /// Registers all metrics of the signal.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let shard: &[&str] = &["shard_id"];
        Ok(Self {
            round_trips: DurationMetric::of_round_trips(metrics)?,
            opened: metrics.counters(
                "kernel_shard_connections_opened_total",
                "Connections to the shard opened since the probe attached.",
                shard,
            )?,
            closed: metrics.counters(
                "kernel_shard_connections_closed_total",
                "Connections opened since the probe attached that have ended.",
                shard,
            )?,
            aborted_connections: metrics.counters(
                "kernel_shard_connections_cut_total",
                "Closed connections that ended by a reset or timeout before the shard's FIN.",
                shard,
            )?,
            open: metrics.gauges(
                "kernel_shard_connections_open",
                "Connections opened since the probe attached that are open.",
                shard,
            )?,
            retransmitted: metrics.counters(
                "kernel_shard_retransmitted_segments_total",
                "Segments retransmitted by the shard's sockets, by TCP's own count.",
                shard,
            )?,
            resets: metrics.counters(
                "kernel_shard_resets_total",
                "RST segments that reached the shard's sockets (receive) or came from its address (transmit).",
                &["shard_id", "direction"],
            )?,
            preexisting_seen: metrics.counters(
                "kernel_shard_older_connections_seen_total",
                "Connections older than the probe that carried payload or ended since it attached.",
                shard,
            )?,
            preexisting_closed: metrics.counters(
                "kernel_shard_older_connections_closed_total",
                "Connections older than the probe that the shard has closed since.",
                shard,
            )?,
            preexisting_open: metrics.gauges(
                "kernel_shard_older_connections_open",
                "Connections older than the probe that were seen and are open.",
                shard,
            )?,
        })
    }

    /// Removes the series of a shard.
    pub(crate) fn forget(&self, shard: &str) {
        let counters = [
            &self.opened,
            &self.closed,
            &self.aborted_connections,
            &self.retransmitted,
            &self.preexisting_seen,
            &self.preexisting_closed,
        ];
        counters.into_iter().for_each(|counter| remove(counter, &[shard]));
        ["receive", "transmit"].into_iter().for_each(|direction| remove(&self.resets, &[shard, direction]));
        set(&self.open, shard, None);
        set(&self.preexisting_open, shard, None);
        self.round_trips.forget(shard);
    }

    /// Updates the metrics with one shard's connections.
    pub(crate) fn read(&self, shard: u32, reading: &ConnectionReading) {
        let id = shard.to_string();
        let gauge = |value: u64| Some(i64::try_from(value).unwrap_or(i64::MAX));
        let counted = &reading.counted;
        raise(&self.opened, &[&id], counted.opened);
        raise(&self.closed, &[&id], counted.closed);
        raise(&self.aborted_connections, &[&id], counted.aborted_connections);
        raise(&self.retransmitted, &[&id], counted.retransmitted);
        raise(&self.resets, &[&id, "receive"], counted.resets_received);
        raise(&self.resets, &[&id, "transmit"], counted.resets_sent);
        set(&self.open, &id, gauge(reading.open.0));
        if reading.follows_preexisting {
            raise(&self.preexisting_seen, &[&id], counted.preexisting_seen);
            raise(&self.preexisting_closed, &[&id], counted.preexisting_closed);
            set(&self.preexisting_open, &id, gauge(reading.open.1));
        }
        if let Some(round_trips) = reading.round_trips {
            self.round_trips.timed(vec![shard.to_string()], round_trips);
        }
    }
}
