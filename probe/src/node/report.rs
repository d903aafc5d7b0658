//! Makes the document of `/api/node`.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use protocol::probe_api::{
    NODE_VERSION, NodeApp, NodeDetails, NodeKeys, NodeReport, NodeShard, NodeUnwatched,
};
use service::clock::unix_seconds;
use smol_str::SmolStr;

use super::form;
use crate::compare::snapshot::Snapshot;
use crate::kernel::release::boot_id;
use crate::probe::Probe;
use crate::signal::key_table::KeyTable;
use crate::source::SourceError;

/// Maximum number of keys of one shard.
const KEYS_A_SHARD: usize = 64;

/// Maximum number of keys of all shards, unless each shard gets [`MIN_KEYS`].
const MAX_KEYS: usize = 1_024;

/// Number of keys that every shard may have.
const MIN_KEYS: usize = 16;

/// Of a shard's keys, the part with the most reads of all. The others have the most recent reads.
const BY_ALL_READS: usize = 4;

/// Maximum age of a table of keys. The loop reads the tables once a second.
const TABLE_AGE: Duration = Duration::from_millis(500);

/// Maximum number of different reasons why shards are not watched.
const MAX_PROBLEMS: usize = 8;

/// The counts of requests alone.
pub(crate) fn requests(probe: &Probe) -> Result<NodeReport, SourceError> {
    report(probe, false, |_, _| Ok(None))
}

/// All counts, with the comparisons of `snapshot`. Call it in [`Probe::read_tables`].
pub(crate) fn full(probe: &Probe, snapshot: &Snapshot) -> Result<NodeReport, SourceError> {
    let now = Instant::now();
    let since = now.checked_sub(TABLE_AGE).unwrap_or(now);
    let details = |shard, keys| details(probe, snapshot, shard, keys, since).map(Some);
    report(probe, snapshot.settling, details)
}

fn report(
    probe: &Probe,
    settling: bool,
    details: impl Fn(u32, usize) -> Result<Option<NodeDetails>, SourceError>,
) -> Result<NodeReport, SourceError> {
    let (targets, blindness) = (probe.targets.lock().clone(), probe.blindness.lock().clone());
    let watched = targets.shards.iter().filter(|target| !target.addresses.is_empty()).count();
    let keys = (MAX_KEYS / watched.max(1)).clamp(MIN_KEYS, KEYS_A_SHARD);
    let (mut shards, mut unwatched) = (Vec::new(), BTreeMap::<String, Vec<[u32; 2]>>::new());
    for (shard_id, target) in (0..).zip(&targets.shards) {
        let requests = probe.source()?.read(shard_id)?.requests;
        let blind = blindness.shards.get(shard_id as usize).cloned().flatten();
        let problem = target.problem.clone().or(blind);
        if target.addresses.is_empty() {
            add(&mut unwatched, problem.clone().unwrap_or_default(), shard_id);
            if requests.arrived == 0 {
                continue;
            }
        }
        shards.push(NodeShard {
            shard_id,
            addresses: target.addresses.iter().map(ToString::to_string).collect(),
            problem,
            requests: form::requests(&requests),
            details: details(shard_id, keys)?,
        });
    }
    let unwatched = unwatched.into_iter().map(|(problem, shards)| NodeUnwatched { problem, shards });
    Ok(NodeReport {
        version: NODE_VERSION,
        node: probe.node.clone(),
        kernel: boot_id(),
        counting_since: probe.counting.since,
        taken_at: unix_seconds(),
        settling,
        shards,
        unwatched: unwatched.collect(),
    })
}

/// Adds a shard to the range that it continues.
fn add(unwatched: &mut BTreeMap<String, Vec<[u32; 2]>>, problem: String, shard: u32) {
    let is_known = unwatched.contains_key(&problem) || unwatched.len() < MAX_PROBLEMS;
    let ranges = unwatched.entry(if is_known { problem } else { String::new() }).or_default();
    match ranges.last_mut() {
        Some([_, last]) if *last + 1 == shard => *last = shard,
        _ => ranges.push([shard, shard]),
    }
}

fn details(
    probe: &Probe,
    snapshot: &Snapshot,
    shard: u32,
    room: usize,
    since: Instant,
) -> Result<NodeDetails, SourceError> {
    let table = probe.keys(shard, since)?;
    let reading = probe.read(shard)?;
    let [payload_bytes, ip_bytes, packets] = form::traffic(&reading.counters.traffic);
    let connections = reading.connections.as_ref();
    let at = shard as usize;
    Ok(NodeDetails {
        payload_bytes,
        ip_bytes,
        packets,
        latency: form::latency(&reading.latency),
        connections: connections.map(|connections| form::connections(&connections.counted)),
        rtt: connections.and_then(|connections| connections.round_trips.as_ref()).map(form::latency),
        keys: keys(&table, &probe.metrics.keys.recent(shard, room), room),
        app: snapshot.apps.get(at).copied().flatten().map(|app| NodeApp {
            requests_received: app.requests_received,
            started_at: app.started_at,
            active_requests: app.active_requests,
        }),
        comparison: snapshot.shards.get(at).cloned().unwrap_or_default(),
        hot_keys: snapshot.hot_keys.get(at).cloned().unwrap_or_default(),
    })
}

/// The keys with the most reads of all, then those with the most recent reads.
fn keys(table: &KeyTable, recent: &[SmolStr], room: usize) -> NodeKeys {
    let by_all = table.top(if table.keys.len() <= room { room } else { room / BY_ALL_READS });
    let mut listed: HashSet<&str> = by_all.iter().map(|key| key.key.as_str()).collect();
    let mut keys: Vec<(String, u64, u64)> =
        by_all.iter().map(|key| (key.key.clone(), key.requests, key.error)).collect();
    for key in recent {
        if keys.len() >= room {
            break;
        }
        if let Some(reads) = table.keys.get(key)
            && listed.insert(key)
        {
            keys.push((key.to_string(), reads.requests, reads.error));
        }
    }
    NodeKeys { complete: table.evictions == 0 && keys.len() == table.keys.len(), keys }
}

#[cfg(test)]
mod tests {
    use protocol::probe_api::{
        ByDirection, Comparison, HotKey, HotKeyOverlap, KernelKey, NodeConnections, NodeLatency, NodeRequests,
    };

    use super::*;
    use crate::compare::stats_client::NODE_MAX_BYTES;

    #[test]
    fn ranges_continue_and_reasons_are_bounded() {
        let mut unwatched = BTreeMap::new();
        for shard in [0, 1, 2, 5, 6] {
            add(&mut unwatched, "elsewhere".to_owned(), shard);
        }
        assert_eq!(unwatched["elsewhere"], [[0, 2], [5, 6]]);
        for shard in 10..100 {
            add(&mut unwatched, format!("reason {shard}"), shard);
        }
        assert!(unwatched.len() <= MAX_PROBLEMS + 1, "{unwatched:?}");
    }

    #[test]
    fn old_and_new_large_keys_share_the_room() {
        let key = |n: u64| KernelKey { key: format!("k{n}"), requests: n, error: 0 };
        let few: KeyTable = (0..16).map(key).collect();
        let all = keys(&few, &[], 16);
        assert!(all.complete && all.keys.len() == 16 && all.keys[0].0 == "k15");
        let many: KeyTable = (0..100).map(key).collect();
        let recent: Vec<SmolStr> = (0..50).map(|n| format!("k{n}").into()).collect();
        let some = keys(&many, &recent, 16);
        assert!(!some.complete && some.keys.len() == 16);
        assert_eq!((some.keys[3].0.as_str(), some.keys[4].0.as_str()), ("k96", "k0"));
    }

    /// A report of `shards` shards with the maximum number of keys, each of which is `key`, and `buckets` latencies.
    fn size(shards: usize, key: &str, buckets: u16) -> usize {
        let keys = (MAX_KEYS / shards).clamp(MIN_KEYS, KEYS_A_SHARD);
        let count = 1_234_567_890;
        let both = || ByDirection { receive: count, transmit: count };
        let timed =
            || NodeLatency { sum: count, buckets: (0..buckets).map(|bucket| (bucket, count)).collect() };
        let hot = || (0..3).map(|_| HotKey { key: key.to_owned(), count, ratio: 0.312_345_678 }).collect();
        let shard = |shard_id: usize| NodeShard {
            shard_id: u32::try_from(shard_id).unwrap(),
            addresses: vec!["[2001:db8:85a3:1111:2222:8a2e:370:7334]:9000".to_owned(); 4],
            problem: None,
            requests: NodeRequests {
                get: count,
                set: count,
                control: count,
                arrived: count,
                ..NodeRequests::default()
            },
            details: Some(NodeDetails {
                payload_bytes: both(),
                ip_bytes: both(),
                packets: both(),
                latency: timed(),
                connections: Some(NodeConnections {
                    opened: count,
                    closed: count,
                    ..NodeConnections::default()
                }),
                rtt: Some(timed()),
                keys: NodeKeys { complete: false, keys: vec![(key.to_owned(), count, count); keys] },
                app: Some(NodeApp { requests_received: count, started_at: 1.0, active_requests: count }),
                comparison: Comparison { cause: Some("x".repeat(200)), ..Comparison::default() },
                hot_keys: HotKeyOverlap { kernel: hot(), app: hot(), ..HotKeyOverlap::default() },
            }),
        };
        let report = NodeReport { shards: (0..shards).map(shard).collect(), ..NodeReport::default() };
        serde_json::to_string(&report).unwrap().len()
    }

    #[test]
    fn a_report_is_smaller_than_an_aggregator_accepts() {
        // A control character takes six bytes in JSON.
        let worst = size(64, &"\u{1}".repeat(64), 210);
        assert!(worst < NODE_MAX_BYTES / 2, "{worst}");
        println!(
            "4 shards: {}, 64 shards: {}",
            size(4, "normal-user-1234", 40),
            size(64, "normal-user-1234", 40)
        );
    }
}
