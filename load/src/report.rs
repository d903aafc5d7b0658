//! Builds a run's report from its counts and the prediction.

use protocol::ShardId;
use protocol::body::{
    AnswerFault, Gateways, LoadCheck, LoadHottestKey, LoadReport, LoadShard, LoadStream, LoadStreamShard,
    LoadThreshold, Quantiles, UpstreamPrediction,
};

use crate::predict::Prediction;
use crate::scenario::{CACHE_TTL_SECONDS, Stream, Thresholds};
use crate::tally::{Latencies, ShardTally, Tally};

/// Number of times to live after which a cache is steady.
const STEADY_TTLS: f64 = 5.0;

/// Additional figures of a run with caching.
#[derive(Clone, Debug)]
pub struct CacheRun {
    /// The predicted load behind the cache.
    pub upstream: UpstreamPrediction,
    /// The same with the load spread evenly over several gateways.
    pub upstream_of_gateways: Option<UpstreamPrediction>,
    /// At how many gateways the cache is on. `None` if there is no other gateway.
    pub gateways: Option<Gateways>,
    /// Cache entries before the first request.
    pub entries_at_start: u64,
}

/// Builds the report from counts and prediction. The caller adds the figures of the kind of run.
#[must_use]
pub fn report(scenario: &str, gateway: String, seed: u64, tally: &Tally, theory: &Prediction) -> LoadReport {
    let shards = (0u32..).zip(tally.shards.iter().zip(&theory.shares));
    let shards = shards.map(|(shard_id, (shard, share))| {
        let Quantiles { p50, p95, p99, .. } = quantiles(&shard.latencies);
        LoadShard {
            shard_id: ShardId(shard_id),
            predicted_share: *share,
            answered: shard.answered,
            upstream_requests: shard.upstream,
            p50_ms: p50,
            p95_ms: p95,
            p99_ms: p99,
        }
    });
    let fails =
        |faults: &[AnswerFault]| faults.iter().filter_map(|fault| tally.faults.get(fault)).sum::<u64>();
    let check = |name: &str, fails: u64| LoadCheck { name: name.into(), passes: tally.sent - fails, fails };
    let no_200 = fails(&[AnswerFault::Transport, AnswerFault::Status]);
    let no_key = no_200 + fails(&[AnswerFault::Body, AnswerFault::WrongKey]);
    LoadReport {
        scenario: scenario.into(),
        gateway,
        seed,
        duration_seconds: 0.0,
        offered_per_second: None,
        achieved_per_second: 0.0,
        sent: tally.sent,
        answered: tally.answered,
        errors: tally.errors(),
        error_kinds: tally.faults.clone(),
        dropped: tally.dropped,
        cache_hits: tally.cache_hits,
        coalesced: tally.coalesced,
        max_send_lag_ms: tally.max_lag.as_secs_f64() * 1_000.0,
        shards: shards.collect(),
        hottest_key: theory.hottest.as_ref().map(|(key, share)| LoadHottestKey {
            key: key.to_string(),
            predicted_share: *share,
            sent: tally.hottest_sent,
        }),
        keys: Vec::new(),
        latency_ms: quantiles(&tally.latencies),
        streams: Vec::new(),
        thresholds: Vec::new(),
        checks: vec![
            check("status is 200", no_200),
            check("response has key", no_key),
            check("response has shard_id", no_key + fails(&[AnswerFault::WrongShard])),
        ],
        predicted_upstream_per_second: None,
        predicted_upstream_of_gateways_per_second: None,
        cache_gateways: None,
        cache_entries_at_start: None,
        store: None,
        steady: true,
        steady_reason: "the scenario uses no cache".into(),
    }
}

/// Reports one stream; with every latency if `histograms` is set.
#[must_use]
pub fn stream_report(stream: &Stream, tally: &Tally, histograms: bool) -> LoadStream {
    let shard = |(shard_id, shard): (u32, &ShardTally)| LoadStreamShard {
        shard_id: ShardId(shard_id),
        answered: shard.answered,
        upstream_requests: shard.upstream,
        latency_ms: quantiles(&shard.latencies),
        histogram: if histograms { shard.latencies.counts() } else { Vec::new() },
    };
    LoadStream {
        name: stream.name.to_owned(),
        offered_per_second: stream.mean_rate(),
        sent: tally.sent,
        answered: tally.answered,
        errors: tally.errors(),
        latency_ms: quantiles(&tally.latencies),
        shards: (0u32..).zip(&tally.shards).map(shard).collect(),
    }
}

fn quantiles(latencies: &Latencies) -> Quantiles {
    let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|q| latencies.quantile_ms(q));
    Quantiles { p50, p95, p99, max }
}

/// Adds the thresholds of a scenario to its report.
pub fn add_thresholds(report: &mut LoadReport, limits: Thresholds) {
    let p95 = report.latency_ms.p95;
    report.thresholds.push(LoadThreshold {
        name: "p95_ms".into(),
        limit: limits.p95_ms,
        value: p95,
        ok: p95.is_some_and(|p95| p95 < limits.p95_ms),
    });
    add_error_threshold(report, limits.error_share);
}

/// Adds the threshold for the share of errors.
pub fn add_error_threshold(report: &mut LoadReport, limit: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
    let share = report.errors as f64 / report.sent.max(1) as f64;
    let ok = report.sent > 0 && share < limit;
    report.thresholds.push(LoadThreshold { name: "error_share".into(), limit, value: Some(share), ok });
}

/// Adds the figures of a run with caching.
pub fn add_cache(report: &mut LoadReport, cache: &CacheRun) {
    report.predicted_upstream_per_second = Some(cache.upstream);
    report.predicted_upstream_of_gateways_per_second = cache.upstream_of_gateways;
    report.cache_gateways.clone_from(&cache.gateways);
    report.cache_entries_at_start = Some(cache.entries_at_start);
    report.checks.push(LoadCheck { name: "cache enabled".into(), passes: 1, fails: 0 });
    let needed = STEADY_TTLS * f64::from(CACHE_TTL_SECONDS);
    report.steady = report.duration_seconds >= needed;
    report.steady_reason = if report.steady {
        format!("the run lasted {STEADY_TTLS} TTLs or more")
    } else {
        format!(
            "not steady yet: the run lasted {} s, less than {STEADY_TTLS} TTLs of {CACHE_TTL_SECONDS} s",
            report.duration_seconds
        )
    };
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::answer::{Origin, ValidAnswer};
    use protocol::Key;
    use std::time::Duration;

    pub(crate) fn report_with(faults: u64) -> LoadReport {
        let mut tally = Tally::new(2);
        for n in 0..100 {
            let ms = Duration::from_millis(n + 1);
            tally.sent(usize::from(n % 2 == 1), Duration::ZERO, ms);
            let shard = ShardId(u32::from(n % 4 == 0));
            let valid = ValidAnswer { shard, origin: Origin::Shard };
            tally.ended(if n < faults { Err(AnswerFault::WrongShard) } else { Ok(valid) }, ms);
        }
        let theory = Prediction { shares: vec![0.75, 0.25], hottest: Some((Key::new("k").unwrap(), 0.5)) };
        let mut report = report("s", "http://g:1".into(), 7, &tally, &theory);
        report.duration_seconds = 120.0;
        add_thresholds(&mut report, Thresholds { p95_ms: 500.0, error_share: 0.1 });
        report
    }

    pub(crate) fn cache_run() -> CacheRun {
        let upstream = UpstreamPrediction { cold_start: 9.0, cold_start_standard_error: 0.1, steady: 6.5 };
        CacheRun { upstream, upstream_of_gateways: None, gateways: None, entries_at_start: 0 }
    }

    #[test]
    fn the_report_has_the_counts() {
        let mut report = report_with(0);
        add_cache(&mut report, &cache_run());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["shards"][0]["answered"], 75);
        assert_eq!(json["shards"][1]["upstream_requests"], 25);
        assert_eq!(json["hottest_key"], serde_json::json!({"key": "k", "predicted_share": 0.5, "sent": 50}));
        assert_eq!((&json["steady"], &json["dropped"]), (&false.into(), &0.into()));
        let back: LoadReport = serde_json::from_value(json).unwrap();
        assert_eq!(back, report);
    }

    #[test]
    fn errors_fail_the_checks() {
        let checks: Vec<_> = report_with(10).checks.iter().map(|c| (c.passes, c.fails)).collect();
        assert_eq!(checks, [(100, 0), (100, 0), (90, 10)]);
    }

    #[test]
    fn a_caching_run_is_steady_after_five_times_to_live() {
        let mut report = report_with(0);
        report.duration_seconds = 300.0;
        add_cache(&mut report, &cache_run());
        assert!(report.steady, "{}", report.steady_reason);
    }
}
