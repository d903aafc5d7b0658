//! Tests that the comparison stays exact across resets and restarts.

use lab_tests::build::sized;
use lab_tests::kernel;
use lab_tests::lab::{Lab, Load, Options, SHARDS};
use lab_tests::poll;
use lab_tests::process::Signal;
use std::time::Duration;

/// A load at full speed for several seconds.
fn lasting(lab: &Lab) -> Load {
    lab.load_started(&["saturate", "--connections", "16", "--requests", sized("60000", "400000")])
}

/// Waits until a shard has received more than `more_than` requests.
async fn under_load(lab: &Lab, shard: usize, more_than: u64) {
    let busy = poll::until(Duration::from_secs(20), || async {
        let received = lab.shard_stats(shard).await.requests_received;
        if received > more_than { Ok(()) } else { Err(format!("{received} requests received")) }
    });
    busy.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_at_any_moment_moves_no_witness() {
    if !kernel::available("a_reset_at_any_moment_moves_no_witness") {
        return;
    }
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    lab.agreed().await;
    let (app, kernel) = (lab.received().await, lab.kernel_requests().await);
    let mut load = lasting(&lab);
    let mut resets = 0;
    while load.is_running() {
        for id in 0..SHARDS {
            let reset = lab.client.post(lab.at_shard(id, "/admin/reset")).send().await.unwrap();
            assert_eq!(reset.status(), 200);
        }
        assert_eq!(lab.client.post(lab.at_gateway("/admin/reset")).send().await.unwrap().status(), 200);
        resets += 1;
    }
    let report = load.report().await.unwrap();
    assert!(resets > 10, "only {resets} resets fell into the load");
    lab.agreed().await;
    let sent = report.sent;
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
    for signal in [Signal::KILL, Signal::TERM] {
        let before = lab.shard_stats(0).await;
        let load = lasting(&lab);
        under_load(&lab, 0, before.requests_received + 100).await;
        lab.restart_shard(0, signal).await;
        under_load(&lab, 0, 100).await;
        // Requests to the stopped shard fail, so the generator may refuse to report. The counts must still agree.
        load.ended().await;
        lab.agreed().await;
        assert!(lab.shard_stats(0).await.started_at > before.started_at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_started_under_load_agrees_once_it_is_quiet() {
    if !kernel::available("a_probe_started_under_load_agrees_once_it_is_quiet") {
        return;
    }
    let mut lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    let mut load = lasting(&lab);
    for _ in 0..2 {
        under_load(&lab, 0, lab.shard_stats(0).await.requests_received + 500).await;
        lab.probe = None;
        lab.start_probe();
    }
    assert!(load.is_running(), "the last probe was started under load");
    load.report().await.unwrap();
    lab.agreed().await;
    assert!(lab.kernel_requests().await.iter().sum::<u64>() > 0, "the last probe saw a part of the load");
}
