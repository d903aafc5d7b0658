//! Compares kernel, application and generator counts by key.

use lab_tests::build::sized;
use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use probe_common::keys::{KeySet, SETS};
use protocol::body::LoadReport;
use serde_json::Value;
use std::collections::HashMap;

/// Maximum memory of a shard's key table, in KiB.
const MEMORY_KIB: usize = 1024;

/// A key in the kernel's tables.
#[derive(Debug)]
struct Counted {
    key: String,
    requests: u64,
    error: u64,
}

/// All keys of all shards, in descending order of reads, and the shards' eviction counts.
async fn kernel_keys(lab: &Lab) -> (Vec<Counted>, Vec<u64>) {
    let answer = lab.probe_json("/api/keys?limit=100000").await;
    let shards = answer["shards"].as_array().expect("shards");
    assert_eq!(shards.len(), SHARDS);
    let number = |value: &Value, name: &str| value[name].as_u64().expect("a count");
    let keys = shards.iter().flat_map(|shard| shard["keys"].as_array().expect("keys"));
    let mut keys: Vec<_> = keys
        .map(|key| Counted {
            key: key["key"].as_str().expect("a key").to_owned(),
            requests: number(key, "requests"),
            error: number(key, "error"),
        })
        .collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.requests));
    (keys, shards.iter().map(|shard| number(shard, "evictions")).collect())
}

/// The generator's hundred most frequent keys with their counts, in descending order.
fn sent_keys(report: &LoadReport) -> Vec<(String, u64)> {
    report.keys.iter().map(|key| (key.key.clone(), key.sent)).collect()
}

/// Runs the generator against the shards directly, which is faster. Waits until kernel and application agree. No
/// request may fail.
async fn saturate(lab: &Lab, args: &[&str]) -> LoadReport {
    let urls: Vec<_> = (0..SHARDS).map(|id| lab.at_shard(id, "")).collect();
    let straight = ["saturate", "--connections", "64", "--shard-urls", &urls.join(",")];
    let report = lab.load(&[&straight, args].concat()).await;
    assert_eq!(report.errors, 0);
    lab.agreed().await;
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn kernel_application_and_generator_count_the_same_by_key() {
    if !kernel::available("kernel_application_and_generator_count_the_same_by_key") {
        return;
    }
    let requests = sized("30000", "5000000");
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    let args = ["--requests", requests, "--keys", "20000", "--distribution", "zipf:0.99"];
    let report = saturate(&lab, &args).await;

    let total: u64 = requests.parse().unwrap();
    assert_eq!(lab.received().await.iter().sum::<u64>(), total);
    assert_eq!(lab.kernel_requests().await.iter().sum::<u64>(), total);
    let (keys, evictions) = kernel_keys(&lab).await;
    let kernel: HashMap<&str, (u64, u64)> =
        keys.iter().map(|key| (key.key.as_str(), (key.requests, key.error))).collect();
    let sent = sent_keys(&report);
    assert_eq!(sent.len(), 100);
    for (key, sent) in &sent {
        assert_eq!(kernel.get(key.as_str()), Some(&(*sent, 0)), "{key}: kernel and generator");
    }
    let mut application = 0;
    for id in 0..SHARDS {
        for top in lab.shard_stats(id).await.top_keys {
            assert_eq!(top.error, 0, "{}: the application counts it exactly", top.key);
            assert_eq!(
                kernel.get(top.key.as_str()),
                Some(&(top.count, 0)),
                "{}: kernel and application",
                top.key
            );
            application += 1;
        }
    }
    assert_eq!(application, 10 * SHARDS);
    let exact = keys.iter().filter(|key| key.error == 0).count();
    println!(
        "{requests} requests, {:.0}/s, over 20,000 keys: all of the first 100 equal; {} keys in the tables, {exact} \
         exact since attach; evictions {evictions:?}",
        report.achieved_per_second,
        keys.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hottest_of_a_million_keys_are_found_in_fixed_memory() {
    if !kernel::available("the_hottest_of_a_million_keys_are_found_in_fixed_memory") {
        return;
    }
    let (distinct, requests) = sized(("20000", "40000"), ("1000000", "4000000"));
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    // Requests each key once, so that the tables are full when the hot keys arrive.
    saturate(&lab, &["--requests", distinct, "--keys", distinct, "--distribution", "in-turn"]).await;
    let args = ["--requests", requests, "--keys", distinct, "--distribution", "zipf:0.99"];
    let report = saturate(&lab, &args).await;

    let (keys, evictions) = kernel_keys(&lab).await;
    let sent = sent_keys(&report);
    let truth: HashMap<&str, u64> = sent.iter().map(|(key, sent)| (key.as_str(), sent + 1)).collect();
    // A key outside the generator's hundred also counts as right if it was requested as often as the last of them.
    // The kernel's count never exceeds the true count.
    let precision = |first: usize| {
        let last = sent[first - 1].1 + 1;
        let right = |key: &&Counted| truth.get(key.key.as_str()).copied().unwrap_or(key.requests) >= last;
        keys.iter().take(first).filter(right).count()
    };
    for key in &keys {
        if let Some(truth) = truth.get(key.key.as_str()) {
            let bounds = key.requests..=key.requests + key.error;
            assert!(bounds.contains(truth), "{key:?}: {truth} is outside of what it says");
        }
    }
    let memory = (SETS as usize * size_of::<KeySet>()) >> 10;
    let (ten, hundred) = (precision(10), precision(100));
    println!(
        "{distinct} keys, each once and {requests} requests at Zipf 0.99 ({:.0}/s): precision@10 = {ten}/10, @100 = \
         {hundred}/100; {memory} KiB a shard; evictions {evictions:?}",
        report.achieved_per_second
    );
    assert_eq!(ten, 10);
    // In the small test the hundredth key has about 40 requests, like other keys.
    assert!(hundred >= sized(95, 99), "{hundred} of the first hundred");
    assert!(memory <= MEMORY_KIB, "{memory} KiB");
}
