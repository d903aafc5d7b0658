//! Formats the report as text and writes it.

use protocol::body::{FailedGateway, LoadReport, Quantiles};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use crate::config::OutputArgs;
use crate::error::RunError;
use crate::refusal::Refusal;

/// Writes the report to its destination.
///
/// # Errors
/// Returns an error when it cannot be written.
pub fn publish(report: &LoadReport, output: &OutputArgs) -> Result<(), RunError> {
    match &output.json {
        Some(path) => write(serde_json::to_string_pretty(report), path),
        None => print(&summary(report)),
    }
}

/// Writes a refusal in place of the report, as one line.
///
/// # Errors
/// Returns an error when it cannot be written.
pub fn write_refusal(refusal: &Refusal, path: &Path) -> Result<(), RunError> {
    write(serde_json::to_string(&refusal.body()), path)
}

/// Writes JSON to a file, or to standard output for `-`.
fn write(json: serde_json::Result<String>, path: &Path) -> Result<(), RunError> {
    // A struct of numbers, strings and maps with string keys always serializes.
    let json = json.unwrap_or_default() + "\n";
    if path == Path::new("-") {
        return print(&json);
    }
    std::fs::write(path, json).map_err(|source| RunError::Io {
        what: format!("the report cannot be written to {}", path.display()),
        source,
    })
}

fn print(text: &str) -> Result<(), RunError> {
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|source| RunError::Io { what: "the report cannot be printed".into(), source })
}

/// The broken thresholds as one line.
#[must_use]
pub fn broken_thresholds(report: &LoadReport) -> Option<String> {
    let broken = report.thresholds.iter().filter(|threshold| !threshold.ok);
    let broken: Vec<_> = broken
        .map(|t| match t.value {
            Some(value) => format!("{} is {value:.3}, not below {}", t.name, t.limit),
            None => format!("{} is unknown, because no request was answered", t.name),
        })
        .collect();
    let kinds = report.error_kinds.iter().map(|(kind, count)| format!("{count} {kind:?}"));
    let kinds: Vec<_> = kinds.collect();
    (!broken.is_empty()).then(|| {
        let all = broken.join("; ");
        if kinds.is_empty() { all } else { format!("{all} (errors: {})", kinds.join(", ")) }
    })
}

/// The report as text.
#[must_use]
pub fn summary(report: &LoadReport) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_summary(report, &mut text);
    text
}

#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
fn write_summary(report: &LoadReport, out: &mut String) -> std::fmt::Result {
    let ms = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
    writeln!(
        out,
        "{}: {} requests in {:.1} s ({:.0}/s), {} answered, {} errors, {} from the cache, {} coalesced",
        report.scenario,
        report.sent,
        report.duration_seconds,
        report.achieved_per_second,
        report.answered,
        report.errors,
        report.cache_hits,
        report.coalesced
    )?;
    writeln!(
        out,
        "{:>6} {:>10} {:>8} {:>10} {:>10} {:>8} {:>8} {:>8}",
        "shard", "predicted", "share", "answered", "upstream", "p50 ms", "p95 ms", "p99 ms"
    )?;
    for shard in &report.shards {
        writeln!(
            out,
            "{:>6} {:>9.2}% {:>7.2}% {:>10} {:>10} {:>8} {:>8} {:>8}",
            shard.shard_id.0,
            100.0 * shard.predicted_share,
            100.0 * shard.answered as f64 / report.answered.max(1) as f64,
            shard.answered,
            shard.upstream_requests,
            ms(shard.p50_ms),
            ms(shard.p95_ms),
            ms(shard.p99_ms)
        )?;
    }
    if let Some(hottest) = &report.hottest_key {
        writeln!(
            out,
            "hottest key: {}, {:.2} % of the requests (predicted {:.2} %)",
            hottest.key,
            100.0 * hottest.sent as f64 / report.sent.max(1) as f64,
            100.0 * hottest.predicted_share
        )?;
    }
    if let Some(gateways) = &report.cache_gateways {
        write!(out, "the cache is on at {} of {} gateways", gateways.holding, gateways.known)?;
        for FailedGateway { url, problem } in &gateways.failed {
            write!(out, "; {url}: {problem}")?;
        }
        writeln!(out)?;
    }
    if let Some(upstream) = &report.predicted_upstream_per_second {
        let reached: u64 = report.shards.iter().map(|shard| shard.upstream_requests).sum();
        writeln!(
            out,
            "reached a shard: {:.1}/s (predicted {:.1} ± {:.1} from an empty cache, {:.1} once steady); {}",
            reached as f64 / report.duration_seconds,
            upstream.cold_start,
            upstream.cold_start_standard_error,
            upstream.steady,
            report.steady_reason
        )?;
    }
    if let Some(upstream) = &report.predicted_upstream_of_gateways_per_second {
        writeln!(
            out,
            "spread evenly over the gateways: predicted {:.1} ± {:.1} from empty caches, {:.1} once steady",
            upstream.cold_start, upstream.cold_start_standard_error, upstream.steady
        )?;
    }
    let Quantiles { p50, p95, p99, max } = report.latency_ms;
    writeln!(out, "latency ms: p50 {}, p95 {}, p99 {}, max {}", ms(p50), ms(p95), ms(p99), ms(max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{cache_run, report_with};
    use crate::report::{CacheRun, add_cache};
    use protocol::body::Gateways;

    #[test]
    fn the_summary_has_shares_and_steadiness() {
        let mut report = report_with(0);
        add_cache(&mut report, &cache_run());
        let summary = summary(&report);
        assert!(summary.contains("not steady yet") && summary.contains("75.00%"), "{summary}");
    }

    #[test]
    fn the_summary_names_gateways_without_the_cache() {
        let failed = FailedGateway { url: "http://b:8000".into(), problem: "no answer within 1 s".into() };
        let gateways = Gateways { holding: 2, known: 3, failed: vec![failed] };
        let run = CacheRun {
            upstream_of_gateways: Some(cache_run().upstream),
            gateways: Some(gateways),
            ..cache_run()
        };
        let mut report = report_with(0);
        add_cache(&mut report, &run);
        let summary = summary(&report);
        assert!(
            summary.contains("on at 2 of 3 gateways; http://b:8000: no answer within 1 s\n"),
            "{summary}"
        );
        assert!(summary.contains("over the gateways: predicted 9.0 ± 0.1 from empty caches"), "{summary}");
    }

    #[test]
    fn too_many_errors_break_the_thresholds() {
        assert_eq!(broken_thresholds(&report_with(9)), None);
        let broken = broken_thresholds(&report_with(10)).unwrap();
        assert_eq!(broken, "error_share is 0.100, not below 0.1 (errors: 10 WrongShard)");
    }
}
