//! Tests that a hot shard is slow and the cache helps.
//!
//! Load runs at the scenario's own rates.
//!
//! The full test checks the numbers of the wire contract. The quick test runs beside other tests on a busy machine.
//! The machine's own delays affect every shard and bring the ratio closer to 1.

use lab_tests::build::sized;
use lab_tests::lab::{Lab, Options};
use protocol::body::LoadReport;

fn p95s(report: &LoadReport) -> Vec<f64> {
    report.shards.iter().map(|shard| shard.p95_ms.unwrap_or(0.0)).collect()
}

/// p95 of the hottest shard, divided by the median p95 of the others.
fn pain(p95s: &[f64]) -> f64 {
    let mut others = p95s[1..].to_vec();
    others.sort_by(f64::total_cmp);
    p95s[0] / others[others.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hot_shard_is_slower_and_the_cache_heals_it() {
    let shard = vec![
        ("BASE_LATENCY_MS", "15".to_owned()),
        ("LOAD_LATENCY_FACTOR_MS", "0.5".to_owned()),
        ("SHARD_CONCURRENCY", "2".to_owned()),
    ];
    let lab = Lab::start(Options { shard, ..Options::default() }).await;
    let hot = p95s(&lab.load(&["run", "celebrity", "--duration", sized("12", "30")]).await);
    let healed = p95s(&lab.load(&["run", "with-caching", "--duration", sized("12", "30")]).await);
    println!("p95 per shard, ms: celebrity {hot:.1?}, with caching {healed:.1?}");
    assert!(pain(&hot) >= sized(1.1, 1.3), "{hot:?}");
    assert!(pain(&healed) <= 1.05, "{healed:?}");
}
