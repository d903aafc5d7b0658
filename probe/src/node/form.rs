//! Converts counts to the form of `/api/node` and back.

use probe_common::connections::Connections;
use probe_common::latency::{BUCKETS, Latency};
use probe_common::requests::{Reason, Requests};
use probe_common::traffic::{Flow, Traffic};
use protocol::probe_api::{ByDirection, NodeConnections, NodeLatency, NodeRequests};

pub(crate) fn requests(counts: &Requests) -> NodeRequests {
    let unparsed = Reason::ALL.iter().zip(counts.unparsed).filter(|(_, count)| *count > 0);
    NodeRequests {
        get: counts.get,
        set: counts.set,
        control: counts.control,
        repeated: counts.duplicate_segments,
        aborted: counts.aborted,
        aborted_settled: counts.aborted_settled,
        never_read: counts.never_read,
        arrived: counts.arrived,
        dropped: counts.dropped,
        unparsed: unparsed.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
    }
}

pub(crate) fn requests_from(form: &NodeRequests) -> Requests {
    Requests {
        get: form.get,
        set: form.set,
        control: form.control,
        duplicate_segments: form.repeated,
        aborted: form.aborted,
        aborted_settled: form.aborted_settled,
        never_read: form.never_read,
        arrived: form.arrived,
        dropped: form.dropped,
        unparsed: Reason::ALL.map(|reason| form.unparsed.get(reason.name()).copied().unwrap_or(0)),
    }
}

/// The payload, bytes and packets by direction.
pub(crate) fn traffic(counts: &Traffic) -> [ByDirection; 3] {
    let both =
        |of: fn(&Flow) -> u64| ByDirection { receive: of(&counts.receive), transmit: of(&counts.transmit) };
    [both(|flow| flow.payload_bytes), both(|flow| flow.ip_bytes), both(|flow| flow.packets)]
}

pub(crate) fn traffic_from([payload, ip, packets]: [ByDirection; 3]) -> Traffic {
    Traffic {
        receive: Flow { payload_bytes: payload.receive, ip_bytes: ip.receive, packets: packets.receive },
        transmit: Flow { payload_bytes: payload.transmit, ip_bytes: ip.transmit, packets: packets.transmit },
    }
}

pub(crate) fn latency(counts: &Latency) -> NodeLatency {
    let buckets = (0..).zip(counts.buckets.iter().take(BUCKETS)).filter(|(_, count)| **count > 0);
    NodeLatency { sum: counts.sum, buckets: buckets.map(|(bucket, count)| (bucket, *count)).collect() }
}

/// Ignores buckets that do not exist.
pub(crate) fn latency_from(form: &NodeLatency) -> Latency {
    let mut counts = Latency { sum: form.sum, ..Latency::default() };
    for (bucket, count) in &form.buckets {
        if let Some(to) = counts.buckets.iter_mut().take(BUCKETS).nth(usize::from(*bucket)) {
            *to = *count;
        }
    }
    counts
}

pub(crate) fn connections(counts: &Connections) -> NodeConnections {
    NodeConnections {
        opened: counts.opened,
        closed: counts.closed,
        cut: counts.aborted_connections,
        retransmitted_segments: counts.retransmitted,
        resets: ByDirection { receive: counts.resets_received, transmit: counts.resets_sent },
        older_seen: counts.preexisting_seen,
        older_closed: counts.preexisting_closed,
    }
}

pub(crate) fn connections_from(form: &NodeConnections) -> Connections {
    Connections {
        opened: form.opened,
        closed: form.closed,
        aborted_connections: form.cut,
        retransmitted: form.retransmitted_segments,
        resets_received: form.resets.receive,
        resets_sent: form.resets.transmit,
        preexisting_seen: form.older_seen,
        preexisting_closed: form.older_closed,
    }
}

#[cfg(test)]
mod tests {
    use probe_common::requests::REASONS;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_requests()(n in prop::array::uniform9(any::<u64>()), unparsed in prop::array::uniform::<_, REASONS>(any::<u64>()))
            -> Requests
        {
            let [get, set, control, duplicate_segments, aborted, aborted_settled, never_read, arrived, dropped] = n;
            Requests {
                get, set, control, duplicate_segments, aborted, aborted_settled, never_read, arrived, dropped, unparsed,
            }
        }
    }

    proptest! {
        #[test]
        fn counts_survive_their_form(
            counts in any_requests(),
            n in prop::array::uniform8(any::<u64>()),
            buckets in prop::collection::vec((0..BUCKETS, any::<u64>()), 0..32),
        ) {
            prop_assert_eq!(requests_from(&requests(&counts)), counts);
            let [a, b, c, d, e, f, g, h] = n;
            let flows = Traffic {
                receive: Flow { payload_bytes: a, ip_bytes: b, packets: c },
                transmit: Flow { payload_bytes: d, ip_bytes: e, packets: f },
            };
            prop_assert_eq!(traffic_from(traffic(&flows)), flows);
            let all = Connections {
                opened: a, closed: b, aborted_connections: c, retransmitted: d,
                resets_received: e, resets_sent: f, preexisting_seen: g, preexisting_closed: h,
            };
            prop_assert_eq!(connections_from(&connections(&all)), all);
            let mut timed = Latency { sum: a, ..Latency::default() };
            for (bucket, count) in buckets {
                timed.buckets[bucket] = count;
            }
            prop_assert_eq!(latency_from(&latency(&timed)), timed);
        }
    }

    #[test]
    fn a_bucket_that_does_not_exist_is_ignored() {
        let form = NodeLatency { sum: 1, buckets: vec![(255, 7), (9_999, 7)] };
        assert_eq!(latency_from(&form).count(), 0);
    }
}
