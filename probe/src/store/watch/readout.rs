//! Reads one node: the kernel, the node, the kernel again.

use std::sync::Arc;
use std::time::Instant;

use hotspot::judge::Evidence;
use probe_common::latency::Latency;
use service::clock::unix_seconds;
use store::commands::Family;

use crate::compare::feed::ShardSample;
use crate::compare::reconcile::{AppReading, Bracket};
use crate::compare::stats_client::Ends;
use crate::metrics::Lost;
use crate::probe::Probe;
use crate::signal::latency::{quantiles, sum};
use crate::store::answer::Timing;
use crate::store::discovery;
use crate::store::ledger::{KernelReading, NodeBracket};
use crate::store::link::Link;

/// One node's readings.
pub(super) struct Readout {
    pub(super) bracket: NodeBracket,
    pub(super) sample: ShardSample,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) timing: Timing,
    /// The connection that the node has answered.
    pub(super) ends: Option<Ends>,
}

/// The health of a node: whether it answered.
pub(super) fn evidence(readout: Option<&Readout>) -> Evidence {
    match readout.map(|readout| &readout.bracket.info) {
        Some(Ok(_)) => Evidence { answered: 1, failed: 0 },
        Some(Err(_)) => Evidence { answered: 0, failed: 1 },
        None => Evidence::default(),
    }
}

/// Reads one node: the kernel, the node, the kernel again.
pub(super) async fn read(probe: &Arc<Probe>, shard: u32, link: &mut Link, start: Instant) -> Option<Readout> {
    // Connecting sends requests too, so it comes before the first reading.
    let ready = link.ready().await.map(drop);
    let before = kernel(probe, shard, link)?;
    let from = start.elapsed();
    let info = match ready {
        Ok(()) => discovery::info(link).await,
        Err(error) => Err(error),
    };
    let after = kernel(probe, shard, link)?;
    let to = start.elapsed();
    let families = probe.readable(shard, probe.source().and_then(|mut source| source.families(shard)))?;
    let latency = sum(&families);
    if info.is_err() {
        probe.metrics.lost(Lost::ShardUnreadable);
    }
    let (reads, writes) = (after.requests.get, after.requests.set);
    let app = info.as_ref().map(|info| AppReading {
        requests_received: info.calls.values().map(store::info::Calls::received).sum(),
        started_at: 0.0,
        active_requests: 0,
    });
    let all = |reading: &KernelReading| reading.commands.by_number.iter().sum();
    let of_total = Bracket {
        from,
        to,
        kernel_before: all(&before),
        kernel_after: all(&after),
        undecided: 0,
        aborted: 0,
        answered: latency.count(),
        repeated: 0,
        unparsed: after.requests.unparsed,
        app: app.map_err(ToString::to_string),
        unix_seconds: unix_seconds(),
    };
    let timed = Family::ALL.into_iter().zip(families).filter(|(_, latency)| latency.count() > 0);
    let timed: Vec<(Family, Latency)> = timed.collect();
    probe.metrics.store.timed(shard, timed.iter().map(|(family, latency)| (family.name(), *latency)));
    let timing = Timing {
        latency: quantiles(&latency),
        families: timed
            .iter()
            .map(|(family, latency)| (family.name().to_owned(), quantiles(latency)))
            .collect(),
        untimed: after.commands.untimed,
    };
    let sample = ShardSample::of(&of_total, latency);
    let info = info.map_err(|error| error.to_string());
    let bracket = NodeBracket { from, to, before, after, info, unix_seconds: of_total.unix_seconds };
    Some(Readout { bracket, sample, reads, writes, timing, ends: link.ends() })
}

/// The kernel's counts of a node. `None` when they cannot be read.
fn kernel(probe: &Probe, shard: u32, link: &Link) -> Option<KernelReading> {
    let commands = probe.readable(shard, probe.source().and_then(|mut source| source.commands(shard)))?;
    let counters = probe.counters(shard)?;
    Some(KernelReading {
        commands: commands.unwrap_or_default(),
        requests: counters.requests,
        bytes: counters.traffic.receive.payload_bytes,
        own: link.sent(),
    })
}
