//! Subtracts one probe's earlier counts from its new ones.

use probe_common::connections::Connections;
use probe_common::latency::Latency;
use probe_common::requests::Requests;
use probe_common::traffic::{Flow, Traffic};

/// Counts that only grow.
pub(super) trait Growth {
    /// By how much the counts grew since `before`. A count that fell did not grow.
    fn since(&self, before: &Self) -> Self;
}

impl Growth for Requests {
    fn since(&self, before: &Self) -> Self {
        let mut unparsed = self.unparsed;
        for (now, before) in unparsed.iter_mut().zip(before.unparsed) {
            *now = now.saturating_sub(before);
        }
        Self {
            get: self.get.saturating_sub(before.get),
            set: self.set.saturating_sub(before.set),
            control: self.control.saturating_sub(before.control),
            duplicate_segments: self.duplicate_segments.saturating_sub(before.duplicate_segments),
            aborted: self.aborted.saturating_sub(before.aborted),
            aborted_settled: self.aborted_settled.saturating_sub(before.aborted_settled),
            never_read: self.never_read.saturating_sub(before.never_read),
            arrived: self.arrived.saturating_sub(before.arrived),
            dropped: self.dropped.saturating_sub(before.dropped),
            unparsed,
        }
    }
}

impl Growth for Flow {
    fn since(&self, before: &Self) -> Self {
        Self {
            payload_bytes: self.payload_bytes.saturating_sub(before.payload_bytes),
            ip_bytes: self.ip_bytes.saturating_sub(before.ip_bytes),
            packets: self.packets.saturating_sub(before.packets),
        }
    }
}

impl Growth for Traffic {
    fn since(&self, before: &Self) -> Self {
        Self { receive: self.receive.since(&before.receive), transmit: self.transmit.since(&before.transmit) }
    }
}

impl Growth for Latency {
    fn since(&self, before: &Self) -> Self {
        let mut grown = *self;
        grown.sum = self.sum.saturating_sub(before.sum);
        for (now, before) in grown.buckets.iter_mut().zip(before.buckets) {
            *now = now.saturating_sub(before);
        }
        grown
    }
}

impl Growth for Connections {
    fn since(&self, before: &Self) -> Self {
        Self {
            opened: self.opened.saturating_sub(before.opened),
            closed: self.closed.saturating_sub(before.closed),
            aborted_connections: self.aborted_connections.saturating_sub(before.aborted_connections),
            retransmitted: self.retransmitted.saturating_sub(before.retransmitted),
            resets_received: self.resets_received.saturating_sub(before.resets_received),
            resets_sent: self.resets_sent.saturating_sub(before.resets_sent),
            preexisting_seen: self.preexisting_seen.saturating_sub(before.preexisting_seen),
            preexisting_closed: self.preexisting_closed.saturating_sub(before.preexisting_closed),
        }
    }
}
