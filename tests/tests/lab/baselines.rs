//! The comparison stays exact through resets, a restarted shard and a restarted probe.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use std::time::Duration;

const LOAD: [&str; 6] = ["run", "celebrity", "--duration", "6", "--rate-factor", "5"];

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_at_any_moment_moves_no_witness() {
    if !kernel::available("a_reset_at_any_moment_moves_no_witness") {
        return;
    }
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    lab.agreed().await;
    let (app, kernel) = (lab.received().await, lab.kernel_requests().await);
    let load = lab.load_started(&LOAD);
    for round in 0..40 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for id in 0..SHARDS {
            let reset = lab.client.post(lab.at_shard(id, "/admin/reset")).send().await.unwrap();
            assert_eq!(reset.status(), 200, "round {round}");
        }
        assert_eq!(lab.client.post(lab.at_gateway("/admin/reset")).send().await.unwrap().status(), 200);
    }
    let report = load.report().await;
    lab.agreed().await;
    let sent = report["sent"].as_u64().unwrap();
    let sum = |now: Vec<u64>, before: Vec<u64>| now.iter().sum::<u64>() - before.iter().sum::<u64>();
    assert_eq!(sum(lab.received().await, app), sent);
    assert_eq!(sum(lab.kernel_requests().await, kernel), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_killed_and_restarted_under_load_is_compared_from_its_own_start() {
    if !kernel::available("a_shard_killed_and_restarted_under_load_is_compared_from_its_own_start") {
        return;
    }
    let mut lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let before = lab.shard_stats(0).await.started_at;
        let load = lab.load_started(&["saturate", "--connections", "16", "--requests", "30000"]);
        tokio::time::sleep(Duration::from_millis(500)).await;
        lab.restart_shard(0, signal).await;
        // Requests to the dead shard fail, so the generator may refuse its report; the two counts must still agree.
        load.ended().await;
        lab.agreed().await;
        assert!(lab.shard_stats(0).await.started_at > before);
        assert!(lab.shard_stats(0).await.requests_received > 0, "the new process was under load");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_started_under_load_agrees_once_it_is_quiet() {
    if !kernel::available("a_probe_started_under_load_agrees_once_it_is_quiet") {
        return;
    }
    let mut lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    let load = lab.load_started(&["saturate", "--connections", "16", "--requests", "60000"]);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        lab.probe = None;
        lab.start_probe().await;
    }
    load.report().await;
    lab.agreed().await;
    assert!(lab.kernel_requests().await.iter().sum::<u64>() > 0, "the last probe saw a part of the load");
}
