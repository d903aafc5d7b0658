//! Reads one shard: the kernel, the application, the kernel again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use probe_common::latency::Latency;
use protocol::shard_urls::ShardUrl;

use super::keys::{KernelKeys, KeyReadout};
use crate::compare::reconcile::Bracket;
use crate::compare::stats_client::{Ends, StatsClient};
use crate::metrics::Lost;
use crate::probe::Probe;
use service::clock::unix_seconds;

/// One complete reading of a shard.
pub(super) struct ShardReadout {
    pub(super) bracket: Bracket,
    pub(super) keys: KeyReadout,
    pub(super) latency: Latency,
    /// The connection by which the shard answered.
    pub(super) ends: Option<Ends>,
    /// Whether the kernel counted packets to the shard meanwhile. A read of `/stats` sends some.
    pub(super) is_seen: bool,
}

/// Reads one shard's bracket, its latencies, and its keys if they are due.
pub(super) async fn bracket(
    probe: &Arc<Probe>,
    stats: &StatsClient,
    url: &ShardUrl,
    start: Instant,
    is_due: impl Fn(Duration) -> bool,
) -> Option<ShardReadout> {
    let shard = url.id.0;
    let before = probe.counters(shard)?;
    let from = start.elapsed();
    let packets = || probe.readable(shard, probe.source().and_then(|mut source| source.packets(shard)));
    let packets_before = packets()?;
    let (app, app_keys, ends) = match stats.read(url).await {
        Ok((reading, keys, ends)) => (Ok(reading), Some(keys), ends),
        Err(problem) => (Err(problem), None, None),
    };
    let is_seen = packets()? != packets_before;
    let after = probe.counters(shard)?;
    let to = start.elapsed();
    let latency = probe.readable(shard, probe.source().and_then(|mut source| source.latency(shard)))?;
    let kernel = if is_due(to) { KernelKeys::read(probe, shard, to).await } else { KernelKeys::NotDue };
    if app.is_err() {
        probe.metrics.lost(Lost::ShardUnreadable);
    }
    let bracket = Bracket {
        from,
        to,
        kernel_before: before.requests.data(),
        kernel_after: after.requests.data(),
        undecided: after.requests.undecided(),
        aborted: after.requests.unsettled(),
        answered: latency.count(),
        repeated: after.requests.duplicate_segments,
        unparsed: after.requests.unparsed,
        app,
        unix_seconds: unix_seconds(),
    };
    Some(ShardReadout { bracket, keys: KeyReadout { kernel, app: app_keys }, latency, ends, is_seen })
}
