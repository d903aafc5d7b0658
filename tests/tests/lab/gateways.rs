//! Tests the merged hot keys and counts of two gateways.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use lab_tests::poll;
use lab_tests::process::{Process, Signal, TestProcess as _};
use protocol::body::LoadReport;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const CELEBRITY: &str = "celebrity-user-kardashian";

/// A lab with a second gateway, and a probe that reads both.
async fn pair() -> (Lab, Process, SocketAddr) {
    let mut lab = Lab::start(Options::default()).await;
    let (gateway, addr) = lab.start_gateway();
    let both = format!("{},http://{addr}", lab.at_gateway(""));
    lab.start_probe_with(&[("GATEWAY_URL", both)]);
    (lab, gateway, addr)
}

/// The requests of a generator for its hundred most frequent keys.
fn sent(report: &LoadReport) -> BTreeMap<String, u64> {
    report.keys.iter().map(|key| (key.key.clone(), key.sent)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_merged_top_ten_of_two_gateways_is_the_exact_one() {
    if !kernel::available("the_merged_top_ten_of_two_gateways_is_the_exact_one") {
        return;
    }
    let (lab, _gateway, addr) = pair().await;
    let saturate = ["saturate", "--connections", "8", "--keys", "20000"];
    let law = |requests, law, seed| {
        [&saturate[..], &["--requests", requests, "--distribution", law, "--seed", seed]].concat()
    };
    // The same keys are hot to different degrees at each gateway.
    let loads = [
        lab.load_started(&law("20000", "zipf:1.2", "11")),
        Lab::load_at(addr, &law("30000", "zipf:0.8", "12")),
        lab.load_started(&[
            "saturate",
            "--connections",
            "2",
            "--keys",
            "6",
            "--requests",
            "600",
            "--seed",
            "13",
        ]),
    ];
    let mut reports = Vec::new();
    for load in loads {
        let report = load.report().await.unwrap();
        assert_eq!(report.errors, 0, "{report:?}");
        reports.push(report);
    }

    let parts: Vec<_> = reports.iter().map(sent).collect();
    // Keys in every list have exact counts. No other key can be larger than the tenth of these.
    let known = parts[0].keys().filter(|key| parts[1].contains_key(*key));
    let of = |part: &BTreeMap<String, u64>, key: &str| part.get(key).copied().unwrap_or(0);
    let mut exact: Vec<(u64, String)> =
        known.map(|key| (parts.iter().map(|part| of(part, key)).sum(), key.clone())).collect();
    exact.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let unlisted: u64 = parts[..2].iter().map(|part| part.values().copied().min().unwrap_or(0)).sum();
    assert!(exact.len() > 10 && exact[9].0 > unlisted, "{exact:?}");

    let merged = lab.probe_json("/api/gateways").await;
    let expected: Vec<Value> =
        exact[..10].iter().map(|(count, key)| json!({"key": key, "count": count, "error": 0})).collect();
    assert_eq!(merged["top_keys"].as_array().unwrap()[..10], expected[..], "{merged}");
    assert_eq!((&merged["exact"], &merged["requests"]), (&true.into(), &50_600.into()), "{merged}");
    let alone = lab.gateway_stats().await.top_keys;
    let alone: Vec<_> = alone.iter().take(10).map(|top| (top.count, top.key.to_string())).collect();
    assert_ne!(alone, exact[..10], "one gateway alone tells something else");

    // Compares kernel and shards with the sum of both gateways.
    let compare = lab.agreed().await;
    for shard in compare["shards"].as_array().unwrap() {
        assert_eq!((&shard["bypassed"], &shard["gateway"]), (&0.into(), &shard["app"]), "{shard}");
    }
    let through: u64 =
        compare["shards"].as_array().unwrap().iter().filter_map(|s| s["gateway"].as_u64()).sum();
    assert_eq!(through, 50_600);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_celebrity_at_each_gateway_is_one_verdict_and_a_gateway_that_ends_is_named() {
    if !kernel::available("half_a_celebrity_at_each_gateway_is_one_verdict_and_a_gateway_that_ends_is_named")
    {
        return;
    }
    let (lab, mut gateway, addr) = pair().await;
    let celebrity = ["run", "celebrity", "--duration", "120", "--rate-factor", "0.8"];
    let mut loads = [lab.load_started(&celebrity), Lab::load_at(addr, &celebrity)];
    let verdict = poll::until(Duration::from_secs(60), || async {
        let verdict = lab.probe_json("/api/verdict").await;
        // One gateway alone sends fewer requests in ten seconds, so this count includes both.
        let whole = verdict["gateway"]["requests"].as_u64().is_some_and(|requests| requests > 1_500);
        if verdict["agree"] == true && whole { Ok(verdict) } else { Err(verdict.to_string()) }
    });
    let verdict = verdict.await.unwrap_or_else(|last| panic!("{last}"));
    assert!(loads.iter_mut().all(lab_tests::lab::Load::is_running), "the load has ended");
    for witness in ["kernel", "gateway"] {
        let told = &verdict[witness];
        assert_eq!((&told["state"], &told["key"]), (&"critical".into(), &CELEBRITY.into()), "{verdict}");
        assert_eq!(told["shard_id"], 0, "{verdict}");
    }

    gateway.signal(Signal::TERM);
    gateway.ended(Duration::from_secs(20)).await;
    let named = poll::until(Duration::from_secs(20), || async {
        let (compare, merged) = (lab.probe_json("/api/compare").await, lab.probe_json("/api/gateways").await);
        let shards = compare["shards"].as_array().unwrap();
        let output =
            |shard: &Value| shard["cause"].as_str().is_some_and(|why| why.contains(&addr.to_string()));
        let all = shards.len() == SHARDS && shards.iter().all(output);
        let problem = merged["gateways"][1]["problem"].is_string() && merged["exact"] == false;
        if all && problem { Ok(()) } else { Err(format!("{compare} {merged}")) }
    });
    named.await.unwrap_or_else(|last| panic!("{last}"));
}
