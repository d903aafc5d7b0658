//! The report of a run: JSON for programs, a summary for people.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use crate::answer::Fault;
use crate::config::OutputArgs;
use crate::control::LoadError;
use crate::predict::{Prediction, Upstream};
use crate::scenario::{CACHE_TTL_SECONDS, Thresholds};
use crate::stream_report::StreamReport;
use crate::tally::{Latencies, Tally};

/// Times to live after which a cache is steady.
const STEADY_TTLS: f64 = 5.0;

/// Quantiles of latency, in ms; absent without a right answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
}

impl Quantiles {
    /// Of these.
    #[must_use]
    pub fn of(latencies: &Latencies) -> Self {
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|q| latencies.quantile_ms(q));
        Self { p50, p95, p99, max }
    }
}

/// One shard in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardReport {
    /// Which.
    pub shard_id: u32,
    /// Share of all requests that theory gives it.
    pub predicted_share: f64,
    /// Right answers that name it.
    pub answered: u64,
    /// Those for which it was asked: neither from the cache nor from another's fetch.
    pub upstream_requests: u64,
    /// Median of their latency, ms.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

/// The hottest key in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HottestKey {
    /// Which, by theory.
    pub key: String,
    /// Share of all requests that theory gives it.
    pub predicted_share: f64,
    /// Requests for it.
    pub sent: u64,
}

/// A key and how often it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentKey {
    /// Which.
    pub key: String,
    /// Requests for it.
    pub sent: u64,
}

/// Something the run had to keep to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// What: `p95_ms` or `error_share`.
    pub name: String,
    /// It had to stay below this.
    pub limit: f64,
    /// What it was; absent without an answer.
    pub value: Option<f64>,
    /// Whether it did.
    pub ok: bool,
}

/// One check over all answers, as the k6 scripts have them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Answers that passed.
    pub passes: u64,
    /// Requests that did not.
    pub fails: u64,
}

/// What is special in a caching run.
#[derive(Clone, Copy, Debug)]
pub struct CacheRun {
    /// What theory lets through.
    pub upstream: Upstream,
    /// Entries the cache held before the first request.
    pub entries_at_start: u64,
}

/// The report of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name in the k6 summaries, or `saturate`.
    pub scenario: String,
    /// Where the load went.
    pub gateway: String,
    /// Seed of the key sequence.
    pub seed: u64,
    /// Length of the load.
    pub duration_seconds: f64,
    /// Requests a second asked for; absent in a closed loop.
    pub offered_per_second: Option<f64>,
    /// Requests a second sent.
    pub achieved_per_second: f64,
    /// Requests sent = answered + errors.
    pub sent: u64,
    /// Right answers.
    pub answered: u64,
    /// The others.
    pub errors: u64,
    /// The others by what was wrong.
    pub error_kinds: BTreeMap<Fault, u64>,
    /// Requests not sent for want of a free place; a report with any is refused.
    pub dropped: u64,
    /// Right answers from the cache.
    pub cache_hits: u64,
    /// Right answers from another's fetch.
    pub coalesced: u64,
    /// Longest time from due to sent.
    pub max_send_lag_ms: f64,
    /// By shard.
    pub shards: Vec<ShardReport>,
    /// The hottest key.
    pub hottest_key: Option<HottestKey>,
    /// The keys asked for most, most first, counted one by one; empty in an open loop.
    pub keys: Vec<SentKey>,
    /// Latency of right answers, from when they were due.
    pub latency_ms: Quantiles,
    /// By stream; empty in a closed loop.
    pub streams: Vec<StreamReport>,
    /// What the run had to keep to.
    pub thresholds: Vec<Threshold>,
    /// What every answer had to be.
    pub checks: Vec<Check>,
    /// What theory lets through the cache; absent without one.
    pub predicted_upstream_per_second: Option<Upstream>,
    /// Entries the cache held before the first request; `cold_start` supposes 0. Absent without a cache.
    pub cache_entries_at_start: Option<u64>,
    /// Whether the figures would stay if the run went on.
    pub steady: bool,
    /// Why, or why not.
    pub steady_reason: String,
}

impl Report {
    /// The books beside the theory; what depends on the kind of run is filled in by its caller.
    #[must_use]
    pub fn new(scenario: &str, gateway: String, seed: u64, tally: &Tally, theory: &Prediction) -> Self {
        let shards = (0u32..).zip(tally.shards.iter().zip(&theory.shares));
        let shards = shards.map(|(shard_id, (shard, share))| {
            let Quantiles { p50, p95, p99, .. } = Quantiles::of(&shard.latencies);
            ShardReport {
                shard_id,
                predicted_share: *share,
                answered: shard.answered,
                upstream_requests: shard.upstream,
                p50_ms: p50,
                p95_ms: p95,
                p99_ms: p99,
            }
        });
        let fails = |faults: &[Fault]| faults.iter().filter_map(|fault| tally.faults.get(fault)).sum::<u64>();
        let check = |name: &str, fails: u64| Check { name: name.into(), passes: tally.sent - fails, fails };
        let no_200 = fails(&[Fault::Transport, Fault::Status]);
        let no_key = no_200 + fails(&[Fault::Body, Fault::WrongKey]);
        Self {
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
            hottest_key: theory.hottest.as_ref().map(|(key, share)| HottestKey {
                key: key.to_string(),
                predicted_share: *share,
                sent: tally.hottest_sent,
            }),
            keys: Vec::new(),
            latency_ms: Quantiles::of(&tally.latencies),
            streams: Vec::new(),
            thresholds: Vec::new(),
            checks: vec![
                check("status is 200", no_200),
                check("response has key", no_key),
                check("response has shard_id", no_key + fails(&[Fault::WrongShard])),
            ],
            predicted_upstream_per_second: None,
            cache_entries_at_start: None,
            steady: true,
            steady_reason: "nothing in this run changes with time".into(),
        }
    }

    /// Compares p95 and errors with what they must stay below.
    pub fn judge_by(&mut self, limits: Thresholds) {
        let p95 = self.latency_ms.p95;
        self.thresholds.push(Threshold {
            name: "p95_ms".into(),
            limit: limits.p95_ms,
            value: p95,
            ok: p95.is_some_and(|p95| p95 < limits.p95_ms),
        });
        self.judge_errors(limits.error_share);
    }

    /// Compares the share of errors with what it must stay below.
    pub fn judge_errors(&mut self, limit: f64) {
        #[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
        let share = self.errors as f64 / self.sent.max(1) as f64;
        let ok = self.sent > 0 && share < limit;
        self.thresholds.push(Threshold { name: "error_share".into(), limit, value: Some(share), ok });
    }

    /// Adds what is special in a caching run.
    pub fn add_cache(&mut self, cache: &CacheRun) {
        self.predicted_upstream_per_second = Some(cache.upstream);
        self.cache_entries_at_start = Some(cache.entries_at_start);
        self.checks.push(Check { name: "cache enabled".into(), passes: 1, fails: 0 });
        let needed = STEADY_TTLS * f64::from(CACHE_TTL_SECONDS);
        self.steady = self.duration_seconds >= needed;
        self.steady_reason = if self.steady {
            format!("the run lasted {STEADY_TTLS} times to live or more")
        } else {
            format!(
                "not steady yet: entries live {CACHE_TTL_SECONDS} s, and {} s are less than {STEADY_TTLS} times that",
                self.duration_seconds
            )
        };
    }

    /// The thresholds that were not kept, in one line.
    #[must_use]
    pub fn failed_thresholds(&self) -> Option<String> {
        let failed: Vec<_> = self.thresholds.iter().filter(|threshold| !threshold.ok).collect();
        let shown = failed.iter().map(|t| match t.value {
            Some(value) => format!("{} is {value:.3}, not below {}", t.name, t.limit),
            None => format!("{} is unknown, nothing was answered", t.name),
        });
        let kinds = self.error_kinds.iter().map(|(kind, count)| format!("{count} {kind:?}"));
        let kinds: Vec<_> = kinds.collect();
        (!failed.is_empty()).then(|| {
            let all = shown.collect::<Vec<_>>().join("; ");
            if kinds.is_empty() { all } else { format!("{all} (errors: {})", kinds.join(", ")) }
        })
    }

    /// Writes it where it is wanted.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn publish(&self, output: &OutputArgs) -> Result<(), LoadError> {
        let failed = |what: String| move |source| LoadError::Io { what, source };
        let to_stdout = |text: &str| {
            std::io::stdout()
                .write_all(text.as_bytes())
                .map_err(failed("the report cannot be printed".into()))
        };
        // A struct of numbers, texts and maps with text keys is always JSON.
        let json = || serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        match output.json.as_deref() {
            None => to_stdout(&self.summary()),
            Some(path) if path == Path::new("-") => to_stdout(&json()),
            Some(path) => std::fs::write(path, json())
                .map_err(failed(format!("the report cannot be written to {}", path.display()))),
        }
    }

    /// The report for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = self.write_summary(&mut text);
        text
    }

    #[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
    fn write_summary(&self, out: &mut String) -> std::fmt::Result {
        let ms = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
        writeln!(
            out,
            "{}: {} requests in {:.1} s ({:.0}/s), {} answered, {} errors, {} from the cache, {} coalesced",
            self.scenario,
            self.sent,
            self.duration_seconds,
            self.achieved_per_second,
            self.answered,
            self.errors,
            self.cache_hits,
            self.coalesced
        )?;
        writeln!(
            out,
            "{:>6} {:>10} {:>8} {:>10} {:>10} {:>8} {:>8} {:>8}",
            "shard", "predicted", "share", "answered", "upstream", "p50 ms", "p95 ms", "p99 ms"
        )?;
        for shard in &self.shards {
            writeln!(
                out,
                "{:>6} {:>9.2}% {:>7.2}% {:>10} {:>10} {:>8} {:>8} {:>8}",
                shard.shard_id,
                100.0 * shard.predicted_share,
                100.0 * shard.answered as f64 / self.answered.max(1) as f64,
                shard.answered,
                shard.upstream_requests,
                ms(shard.p50_ms),
                ms(shard.p95_ms),
                ms(shard.p99_ms)
            )?;
        }
        if let Some(hottest) = &self.hottest_key {
            writeln!(
                out,
                "hottest key: {}, {:.2} % of the requests (predicted {:.2} %)",
                hottest.key,
                100.0 * hottest.sent as f64 / self.sent.max(1) as f64,
                100.0 * hottest.predicted_share
            )?;
        }
        if let Some(upstream) = &self.predicted_upstream_per_second {
            let asked: u64 = self.shards.iter().map(|shard| shard.upstream_requests).sum();
            writeln!(
                out,
                "reached a shard: {:.1}/s (predicted {:.1} ± {:.1} from an empty cache, {:.1} once steady); {}",
                asked as f64 / self.duration_seconds,
                upstream.cold_start,
                upstream.cold_start_standard_error,
                upstream.steady,
                self.steady_reason
            )?;
        }
        let Quantiles { p50, p95, p99, max } = self.latency_ms;
        writeln!(out, "latency ms: p50 {}, p95 {}, p99 {}, max {}", ms(p50), ms(p95), ms(p99), ms(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Origin, Right};
    use protocol::{Key, ShardId};
    use std::time::Duration;

    fn report(faults: u64) -> Report {
        let mut tally = Tally::new(2);
        for n in 0..100 {
            let ms = Duration::from_millis(n + 1);
            tally.sent(usize::from(n % 2 == 1), Duration::ZERO, ms);
            let shard = ShardId(u32::from(n % 4 == 0));
            let right = Right { shard, origin: Origin::Shard };
            tally.ended(if n < faults { Err(Fault::WrongShard) } else { Ok(right) }, ms);
        }
        let theory = Prediction { shares: vec![0.75, 0.25], hottest: Some((Key::new("k").unwrap(), 0.5)) };
        let mut report = Report::new("s", "http://g:1".into(), 7, &tally, &theory);
        report.duration_seconds = 120.0;
        report.judge_by(Thresholds { p95_ms: 500.0, error_share: 0.1 });
        report
    }

    #[test]
    fn the_json_has_the_promised_names() {
        let mut report = report(0);
        let upstream = Upstream { cold_start: 9.0, cold_start_standard_error: 0.1, steady: 6.5 };
        report.add_cache(&CacheRun { upstream, entries_at_start: 0 });
        let json = serde_json::to_value(&report).unwrap();
        for name in [
            "scenario",
            "gateway",
            "seed",
            "duration_seconds",
            "offered_per_second",
            "sent",
            "answered",
            "errors",
            "dropped",
            "cache_hits",
            "coalesced",
            "max_send_lag_ms",
            "shards",
            "hottest_key",
            "latency_ms",
            "predicted_upstream_per_second",
            "steady",
            "steady_reason",
        ] {
            assert!(json.get(name).is_some(), "{name} is missing");
        }
        assert_eq!(json["shards"][0]["answered"], 75);
        assert_eq!(json["shards"][1]["upstream_requests"], 25);
        assert_eq!(json["hottest_key"], serde_json::json!({"key": "k", "predicted_share": 0.5, "sent": 50}));
        assert_eq!(json["steady"], false);
        let back: Report = serde_json::from_value(json).unwrap();
        assert_eq!(back, report);
        let summary = report.summary();
        assert!(summary.contains("not steady yet") && summary.contains("75.00%"), "{summary}");
    }

    #[test]
    fn too_many_errors_fail_the_thresholds() {
        assert_eq!(report(9).failed_thresholds(), None);
        let failed = report(10).failed_thresholds().unwrap();
        assert_eq!(failed, "error_share is 0.100, not below 0.1 (errors: 10 WrongShard)");
        let checks: Vec<_> = report(10).checks.iter().map(|c| (c.passes, c.fails)).collect();
        assert_eq!(checks, [(100, 0), (100, 0), (90, 10)]);
    }

    #[test]
    fn a_caching_run_is_steady_after_five_times_to_live() {
        let mut report = report(0);
        report.duration_seconds = 300.0;
        let upstream = Upstream { cold_start: 9.0, cold_start_standard_error: 0.1, steady: 6.5 };
        report.add_cache(&CacheRun { upstream, entries_at_start: 0 });
        assert!(report.steady, "{}", report.steady_reason);
    }
}
