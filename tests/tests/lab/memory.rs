//! Tests that any number of distinct keys takes bounded memory.
//!
//! The bounds are those of docs/limits.md.

use lab_tests::build::sized;
use lab_tests::lab::{Lab, Options};

/// Maximum memory growth of a process for any number of distinct keys, in bytes (docs/limits.md).
const GATEWAY_BOUND: u64 = 128 << 20;
const SHARD_BOUND: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn distinct_keys_without_end_take_bounded_memory() {
    let keys = sized("50000", "1000000");
    let gateway = vec![("CACHE_ENABLED", "true".to_owned()), ("CACHE_MAX_BYTES", (16 << 20).to_string())];
    let shard = vec![("SHARD_MAX_KEYS", "100000".to_owned())];
    let shard = [
        shard,
        vec![
            ("BASE_LATENCY_MS", "0".into()),
            ("LOAD_LATENCY_FACTOR_MS", "0".into()),
            ("SHARD_CONCURRENCY", "0".into()),
        ],
    ]
    .concat();
    let lab = Lab::start(Options { gateway, shard, ..Options::default() }).await;
    let at_start = (lab.gateway.resident_bytes().unwrap(), lab.shards[0].resident_bytes().unwrap());
    let load = lab.load_started(&[
        "saturate",
        "--connections",
        "32",
        "--requests",
        keys,
        "--keys",
        keys,
        "--distribution",
        "in-turn",
    ]);
    load.ended().await;
    let received: u64 = lab.received().await.iter().sum();
    assert_eq!(received.to_string(), keys, "every key was asked for once");
    let gateway = lab.gateway.resident_bytes().unwrap().saturating_sub(at_start.0);
    let shard = lab.shards[0].resident_bytes().unwrap().saturating_sub(at_start.1);
    println!("after {keys} distinct keys: gateway +{} MiB, shard 0 +{} MiB", gateway >> 20, shard >> 20);
    assert!(gateway < GATEWAY_BOUND, "the gateway grew by {gateway} bytes");
    assert!(shard < SHARD_BOUND, "shard 0 grew by {shard} bytes");
    let metrics = lab.client.get(lab.at_gateway("/metrics")).send().await.unwrap().text().await.unwrap();
    let series = metrics.lines().filter(|line| line.starts_with("gateway_key_access_total{")).count();
    assert!(series <= 20, "{series} series with a key label");
}
