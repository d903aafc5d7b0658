//! Tests that kernel and application detect the same hot keys.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use lab_tests::poll;
use serde_json::Value;
use std::time::Duration;

/// The celebrity's home is shard 0.
const CELEBRITY: &str = "celebrity-user-kardashian";

#[tokio::test(flavor = "multi_thread")]
async fn both_witnesses_call_the_celebrity_hot() {
    if !kernel::available("both_witnesses_call_the_celebrity_hot") {
        return;
    }
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    let load = lab.load_started(&["run", "celebrity", "--duration", "120"]);
    // A window is ten seconds long. It restarts if this machine stalls for three seconds.
    let seen = poll::until(Duration::from_secs(110), || async {
        let compare = lab.probe_json("/api/compare").await;
        let shards = compare["hot_keys"]["shards"].as_array().cloned().unwrap_or_default();
        let series = overlaps(&lab).await;
        let one = matches!(&series[..], [one] if one.contains("shard_id=\"0\""));
        if shards.len() == SHARDS && agree(&shards[0]) && shards[1..].iter().all(is_cool) && one {
            Ok(())
        } else {
            Err(format!("{shards:?}, {series:?}"))
        }
    });
    seen.await.unwrap_or_else(|last| panic!("not both call the celebrity hot: {last}"));
    drop(load);
}

/// Whether both detect only the celebrity as hot. Both counts cover the same ten seconds. They may differ only by
/// requests in flight at the ends.
fn agree(shard: &Value) -> bool {
    let named = |witness: &str| {
        let keys = shard[witness].as_array().into_iter().flatten();
        keys.map(|key| key["key"].as_str().unwrap_or_default()).eq([CELEBRITY])
    };
    let overlap = shard["overlap_ratio"].as_f64();
    named("kernel") && named("app") && overlap.is_some_and(|ratio| (0.97..=1.0).contains(&ratio))
}

fn is_cool(shard: &Value) -> bool {
    (&shard["kernel"], &shard["overlap_ratio"]) == (&Value::Array(vec![]), &Value::Null)
}

/// The overlap series in the probe's metrics.
async fn overlaps(lab: &Lab) -> Vec<String> {
    let addr = lab.probe_addr();
    let metrics =
        lab.client.get(format!("http://{addr}/metrics")).send().await.unwrap().text().await.unwrap();
    let named = |line: &&str| line.starts_with("reconciliation_hot_keys_overlap_ratio{");
    metrics.lines().filter(named).map(str::to_owned).collect()
}
