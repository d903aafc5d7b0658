//! Tests that kernel and gateway give the same, correct verdict.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Load, Options};
use lab_tests::poll;
use serde_json::Value;
use std::time::Duration;

const CELEBRITY: &str = "celebrity-user-kardashian";

async fn lab() -> Lab {
    Lab::start(Options { probe: true, ..Options::default() }).await
}

/// Waits until `/api/verdict` satisfies `wanted` while the load runs, and returns the verdict.
async fn verdict_under(lab: &Lab, load: &mut Load, wanted: impl Fn(&Value) -> bool) -> Value {
    let seen = poll::until(Duration::from_secs(60), || async {
        let verdict = lab.probe_json("/api/verdict").await;
        if wanted(&verdict) { Ok(verdict) } else { Err(verdict.to_string()) }
    });
    let seen = seen.await;
    assert!(load.is_running(), "the load has ended");
    seen.unwrap_or_else(|last| panic!("{last}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_witnesses_name_the_celebrity_and_agree() {
    if !kernel::available("both_witnesses_name_the_celebrity_and_agree") {
        return;
    }
    let lab = lab().await;
    let quiet = lab.probe_json("/api/verdict").await;
    assert_eq!(quiet["kernel"]["state"], "not enough traffic", "{quiet}");
    let mut load = lab.load_started(&["run", "celebrity", "--duration", "120"]);
    // The first verdict other than `not enough traffic` or `balanced` must name the shard. It needs one full second.
    let first = verdict_under(&lab, &mut load, |verdict| {
        !matches!(verdict["kernel"]["state"].as_str(), Some("not enough traffic" | "balanced") | None)
    });
    let first = first.await;
    for (field, value) in
        [("state", Value::from("critical")), ("reason", "hot_key".into()), ("key", CELEBRITY.into())]
    {
        assert_eq!(first["kernel"][field], value, "{first}");
    }
    assert_eq!(first["kernel"]["shard_id"], 0, "{first}");
    let both = verdict_under(&lab, &mut load, |verdict| {
        verdict["agree"] == true
            && verdict["cause_kind"].is_null()
            && verdict["gateway"]["state"] == "critical"
    });
    let both = both.await;
    assert_eq!(both["gateway"]["key"], both["kernel"]["key"], "{both}");
    let metrics = lab.probe_text("/metrics").await;
    for line in [
        "kernel_hot_partition_state{state=\"critical\"} 1",
        "kernel_hot_partition_reason{reason=\"hot_key\"} 1",
        "kernel_hot_partition_shard{shard_id=\"0\"} 1",
        "reconciliation_verdicts_agree 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_witnesses_call_even_load_balanced() {
    if !kernel::available("both_witnesses_call_even_load_balanced") {
        return;
    }
    let lab = lab().await;
    let mut load = lab.load_started(&["run", "uniform", "--duration", "120", "--rate-factor", "4"]);
    let both = verdict_under(&lab, &mut load, |verdict| {
        // Wait for a full window.
        verdict["kernel"]["window_seconds"].as_f64().is_some_and(|seconds| seconds > 9.0)
            && verdict["kernel"]["requests"].as_u64().is_some_and(|requests| requests > 1_000)
            && verdict["agree"] == true
    });
    let both = both.await;
    for witness in ["kernel", "gateway"] {
        assert_eq!(
            (&both[witness]["state"], &both[witness]["reason"]),
            (&"balanced".into(), &Value::Null),
            "{both}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bypasses_the_gateway_is_why_they_differ() {
    if !kernel::available("what_bypasses_the_gateway_is_why_they_differ") {
        return;
    }
    let lab = lab().await;
    let mut load = lab.load_started(&["run", "uniform", "--duration", "120", "--rate-factor", "4"]);
    let url = lab.at_shard(3, "/data/bypass");
    let client = lab.client.clone();
    let bypass = tokio::spawn(async move {
        // Runs until the test ends.
        loop {
            let _ = client.get(&url).send().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let differing = verdict_under(&lab, &mut load, |verdict| verdict["agree"] == false).await;
    bypass.abort();
    assert_eq!(differing["cause_kind"], "bypassed", "{differing}");
    assert_eq!(
        (&differing["kernel"]["shard_id"], &differing["kernel"]["key"]),
        (&3.into(), &"bypass".into())
    );
    assert_eq!(differing["gateway"]["state"], "balanced", "{differing}");
}
