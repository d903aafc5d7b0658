//! Kernel and application call the same keys hot, and count the same for them.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use lab_tests::poll;
use serde_json::Value;
use std::time::Duration;

/// The celebrity's key lives on shard 0.
const CELEBRITY: &str = "celebrity-user-kardashian";

#[tokio::test(flavor = "multi_thread")]
async fn both_witnesses_call_the_celebrity_hot() {
    if !kernel::available("both_witnesses_call_the_celebrity_hot") {
        return;
    }
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    let load = lab.load_started(&["run", "celebrity", "--duration", "20"]);
    let hot = poll::until(Duration::from_secs(18), || async {
        let compare = lab.probe_json("/api/compare").await;
        let shards = compare["hot_keys"]["shards"].as_array().cloned().unwrap_or_default();
        if shards.len() == SHARDS && shards[0]["overlap_ratio"].is_f64() {
            Ok(shards)
        } else {
            Err(compare.to_string())
        }
    });
    let hot = hot.await.unwrap_or_else(|last| panic!("no overlap: {last}"));
    for witness in ["kernel", "app"] {
        let keys: Vec<&Value> = hot[0][witness].as_array().unwrap().iter().map(|key| &key["key"]).collect();
        assert_eq!(keys, [CELEBRITY], "{witness}: {hot:?}");
    }
    // Both counts are of the same ten seconds; what was on its way at their ends is all that may differ.
    let overlap = hot[0]["overlap_ratio"].as_f64().unwrap();
    assert!((0.97..=1.0).contains(&overlap), "{hot:?}");
    for cool in &hot[1..] {
        assert_eq!(
            (&cool["kernel"], &cool["overlap_ratio"]),
            (&Value::Array(vec![]), &Value::Null),
            "{hot:?}"
        );
    }
    let (_, addr) = lab.probe.as_ref().unwrap();
    let metrics =
        lab.client.get(format!("http://{addr}/metrics")).send().await.unwrap().text().await.unwrap();
    let series: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("reconciliation_hot_keys_overlap_ratio{")).collect();
    assert!(matches!(series[..], [one] if one.contains("shard_id=\"0\"")), "{series:?}");
    load.ended().await;
}
