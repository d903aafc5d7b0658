//! Sample load reports for tests.

use serde_json::json;

use super::witness::{Kernel, Reading, ScenarioOutcome};
use protocol::body::{LoadReport, UpstreamPrediction};
use protocol::probe_api::{Comparison, OfShard};

/// Report of a 15 s celebrity run. Shard 0 holds the celebrity.
pub(crate) fn celebrity_report() -> LoadReport {
    let shard = |id: u16, share: f64, answered: u64, p95: f64| {
        json!({"shard_id": id, "predicted_share": share, "answered": answered, "upstream_requests": answered,
               "p50_ms": 16.1, "p95_ms": p95, "p99_ms": 31.0})
    };
    let report = json!({
        "scenario": "celebrity", "gateway": "http://127.0.0.1:8000", "seed": 1, "duration_seconds": 15.0,
        "offered_per_second": 130.0, "achieved_per_second": 130.0, "sent": 1950, "answered": 1950, "errors": 0, "error_kinds": {}, "dropped": 0, "cache_hits": 0,
        "coalesced": 0, "max_send_lag_ms": 0.4,
        "shards": [shard(0, 0.8209, 1604, 26.0), shard(1, 0.0563, 110, 17.4), shard(2, 0.0655, 125, 17.6),
                   shard(3, 0.0572, 111, 17.5)],
        "hottest_key": {"key": "celebrity-user-kardashian", "predicted_share": 0.7692, "sent": 1500},
        "latency_ms": {"p50": 17.0, "p95": 25.0, "p99": 30.0, "max": 40.0},
        "keys": [], "streams": [], "thresholds": [], "checks": [], "predicted_upstream_per_second": null,
        "cache_entries_at_start": null, "steady": true, "steady_reason": "no cache"
    });
    serde_json::from_value(report).expect("a valid report")
}

/// Report of the same run with the cache on.
pub(crate) fn caching_report() -> LoadReport {
    let mut report = celebrity_report();
    for (shard, upstream) in report.shards.iter_mut().zip([70, 77, 76, 74]) {
        shard.upstream_requests = upstream;
        shard.p95_ms = Some(17.0);
    }
    report.predicted_upstream_per_second =
        Some(UpstreamPrediction { cold_start: 19.8, cold_start_standard_error: 1.0, steady: 6.5 });
    report
}

/// Readings before and after a run in which application and kernel counts equal those of `report`.
pub(crate) fn agreeing_readings(report: &LoadReport) -> (Reading, Reading) {
    let at = |extra: fn(u64) -> u64| {
        let app: Vec<u64> =
            report.shards.iter().map(|shard| 1_000 + extra(shard.upstream_requests)).collect();
        let kernel = app
            .iter()
            .map(|requests| Kernel {
                requests: requests + 5,
                payload_bytes_received: requests * 100,
                payload_bytes_transmitted: requests * 300,
            })
            .collect();
        Reading { app, kernel: Some(kernel) }
    };
    (at(|_| 0), at(|count| count))
}

/// A row of the probe's comparison.
pub(crate) fn compared(shard_id: u32, agrees: Option<bool>, cause: Option<&str>) -> OfShard<Comparison> {
    let cause = cause.map(str::to_owned);
    OfShard { shard_id, of_shard: Comparison { agrees, cause, ..Comparison::default() } }
}

pub(crate) fn agreeing_comparison() -> Vec<OfShard<Comparison>> {
    (0..4).map(|shard_id| compared(shard_id, Some(true), None)).collect()
}

/// A scenario in which all witnesses agree.
pub(crate) fn agreeing(scenario: &'static str, report: LoadReport) -> ScenarioOutcome {
    let (before, after) = agreeing_readings(&report);
    ScenarioOutcome::new(scenario, report, &before, &after, Some(agreeing_comparison()))
}
