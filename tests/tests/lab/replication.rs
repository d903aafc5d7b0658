//! Tests copies of a hot key on real shards.
//!
//! Reads return the right values, also after a shard restarts. Gateway, shards and kernel count equal requests.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use lab_tests::poll;
use lab_tests::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;

/// The hot key. Its home is shard 0.
const HOT: &str = "celebrity-user-kardashian";

async fn post(lab: &Lab, path: &str, body: Value) -> Value {
    let answer = lab.client.post(lab.at_gateway(path)).body(body.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

async fn write(lab: &Lab, v: u64) {
    post(lab, "/data", json!({"key": HOT, "value": {"v": v}})).await;
}

/// Reads the key, which must have version `v`. Returns the shard that answered.
async fn read(lab: &Lab, v: u64) -> u64 {
    let got: Value = lab.json(&lab.at_gateway(&format!("/data/{HOT}"))).await;
    assert_eq!(got["value"], json!({"v": v}), "{got}");
    got["shard_id"].as_u64().unwrap()
}

/// Reads until all shards have the key.
async fn on_all_shards(lab: &Lab, v: u64) {
    let on_all = poll::until(Duration::from_secs(40), || async {
        for _ in 0..50 {
            read(lab, v).await;
        }
        let mapping: Value = lab.json(&lab.at_gateway(&format!("/admin/shard-mapping/{HOT}"))).await;
        if mapping["replicas"] == json!([0, 1, 2, 3]) { Ok(()) } else { Err(mapping.to_string()) }
    });
    on_all.await.unwrap();
}

async fn replicated(probe: bool) -> Lab {
    let gateway = vec![("UPSTREAM_TIMEOUT_MS", "2000".to_owned())];
    let lab = Lab::start(Options { probe, gateway, ..Options::default() }).await;
    write(&lab, 1).await;
    post(&lab, "/admin/mitigation", json!({"replication": 4})).await;
    on_all_shards(&lab, 1).await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_counted_alike_by_all_witnesses() {
    if !kernel::available("copies_are_counted_alike_by_all_witnesses") {
        return;
    }
    let lab = replicated(true).await;
    for v in 2..30 {
        write(&lab, v).await;
        for _ in 0..20 {
            read(&lab, v).await;
        }
    }
    on_all_shards(&lab, 29).await;
    lab.agreed().await;
    let (app, gateway) = (lab.received().await, lab.gateway_stats().await.shard_requests_total);
    let gateway: Vec<u64> = gateway.iter().map(|shard| shard.requests).collect();
    // The probe counts from the moment it attached, and no request was sent before.
    assert_eq!((&app, &app), (&gateway, &lab.kernel_requests().await));
    assert!(app.iter().all(|requests| *requests > 100), "all shards have copies: {app:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_starts_anew_answers_for_no_copy() {
    let mut lab = replicated(false).await;
    write(&lab, 2).await;
    on_all_shards(&lab, 2).await;
    // The restarted shard is empty. The home is shard 0.
    lab.restart_shard(2, Signal::KILL).await;
    for _ in 0..200 {
        read(&lab, 2).await;
    }
    on_all_shards(&lab, 2).await;
    let mut answered = [0; SHARDS];
    for _ in 0..200 {
        answered[usize::try_from(read(&lab, 2).await).unwrap()] += 1;
    }
    assert!(answered.iter().all(|answers| *answers > 10), "{answered:?}");
}
