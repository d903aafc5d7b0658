//! Tests that generator, application and kernel count equal requests per shard.

use lab_tests::build::sized;
use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use protocol::body::LoadReport;
use std::sync::Mutex;

/// Requests per shard, according to the generator's answers.
fn generated(report: &LoadReport) -> Vec<u64> {
    report.shards.iter().map(|shard| shard.upstream_requests).collect()
}

fn increase(after: &[u64], before: &[u64]) -> Vec<u64> {
    after.iter().zip(before).map(|(after, before)| after - before).collect()
}

async fn witnesses_agree_over(lab: &Lab, args: &[&str]) -> LoadReport {
    let before = Mutex::new((Vec::new(), Vec::new()));
    let read = || async {
        lab.agreed().await;
        let counts = (lab.received().await, lab.kernel_requests().await);
        *before.lock().unwrap() = counts;
    };
    let report = lab.load_between(args, read).await;
    let (app, kernel) = before.into_inner().unwrap();
    lab.agreed().await;
    let app = increase(&lab.received().await, &app);
    let kernel = increase(&lab.kernel_requests().await, &kernel);
    assert_eq!(generated(&report), app, "generator and application, {args:?}");
    assert_eq!(app, kernel, "application and kernel, {args:?}");
    assert_eq!(app.len(), SHARDS);
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn all_witnesses_count_the_same_in_every_scenario() {
    if !kernel::available("all_witnesses_count_the_same_in_every_scenario") {
        return;
    }
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    for scenario in ["uniform", "zipfian", "celebrity", "with-caching"] {
        let report = witnesses_agree_over(&lab, &["run", scenario, "--duration", "3"]).await;
        let rate = if scenario == "uniform" || scenario == "zipfian" { 50 } else { 130 };
        assert_eq!(report.sent, rate * 3, "{scenario}: the whole duration was run");
        assert_eq!(report.errors, 0, "{scenario}");
        if scenario == "with-caching" {
            let upstream: u64 = generated(&report).iter().sum();
            let hits = report.cache_hits + report.coalesced;
            assert_eq!(upstream + hits, 390, "every answer is a fetch, a hit or coalesced");
            assert!(hits > 250, "the celebrity is served by the cache: {hits} hits");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_witnesses_count_the_same_at_full_speed() {
    if !kernel::available("all_witnesses_count_the_same_at_full_speed") {
        return;
    }
    let requests = sized("50000", "1000000");
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    let args = ["saturate", "--connections", "64", "--requests", requests];
    let report = witnesses_agree_over(&lab, &args).await;
    assert_eq!(generated(&report).iter().sum::<u64>().to_string(), requests);
    println!("at full speed: {requests} requests, difference 0, {} requests/s", report.achieved_per_second);
}
