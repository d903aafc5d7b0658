//! Reads the counts and keys of all shards for a verdict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hotspot::judge::Evidence;

use super::{Reading, ShardReading};
use crate::probe::Probe;

/// Maximum age of a table of keys. The brackets have just read the tables of the shards that answered at once.
const TABLE_AGE: Duration = Duration::from_millis(100);

/// Reads all shards' counts. Returns `None` when one cannot be read.
pub(crate) async fn read(probe: &Arc<Probe>, start: Instant, evidence: Vec<Evidence>) -> Option<Reading> {
    let watched = probe.shards.all();
    let requests = watched.iter().map(|shard| probe.counters(shard.id));
    let requests: Vec<u64> =
        requests.map(|counters| Some(counters?.requests.data())).collect::<Option<_>>()?;
    let at = start.elapsed();
    let tables = probe.read_tables(|probe| {
        let now = Instant::now();
        let since = now.checked_sub(TABLE_AGE).unwrap_or(now);
        let shards = probe.shards.all();
        let tables = shards.iter().map(|shard| (shard.id, probe.keys(shard.id, since)));
        tables.collect::<Vec<_>>()
    });
    let tables = tables.await.ok()?.into_iter();
    let tables = tables.map(|(shard, table)| probe.readable(shard, table)).collect::<Option<Vec<_>>>()?;
    let shards = requests.into_iter().zip(tables);
    let shards = shards.map(|(requests, table)| ShardReading { requests, table }).collect();
    Some(Reading { at, shards, evidence, replicas: Vec::new() })
}
