//! Renders a scenario's outcome as text: table, checks, sentence.

use protocol::escape::escaped;

use super::sentence::{percent, sentence};
use super::witness::{STANDARD_ERRORS, ScenarioOutcome, Shard};
use crate::table::{Column, Table, thousands};
use crate::terminal::{mark, wrap};

/// Maximum width of the output, in characters.
pub(crate) const WIDTH: usize = 100;

/// Explains the columns. Printed once, before the first table.
pub(crate) const LEGEND: &str = "\
predicted  share of all requests by theory; share is the measured one, z the difference in standard errors (at most 4)
load       requests that reached the shard, by the load generator: responses not from the cache
app        the same, by the shard itself
kernel     the same, by eBPF programs at the shard's socket; diff = kernel - app
bytes      payload in both directions, by the kernel, including reads of /stats
p50 … p99  milliseconds at the load generator, from the scheduled send time";

/// Renders table, checks and sentence of `outcome`.
pub(crate) fn render(outcome: &ScenarioOutcome) -> String {
    let mut lines = vec![table(outcome)];
    for (holds, text) in checks(outcome) {
        let mut sign = mark(holds);
        for line in wrap(&escaped(&text), WIDTH - 4) {
            lines.push(format!("  {sign} {line}"));
            " ".clone_into(&mut sign);
        }
    }
    lines.extend(
        wrap(&escaped(&format!("→ {}.", sentence(outcome))), WIDTH - 4)
            .into_iter()
            .map(|line| format!("  {line}")),
    );
    lines.join("\n")
}

fn table(outcome: &ScenarioOutcome) -> String {
    let mut table = Table::new(vec![
        Column::left("shard"),
        Column::right("predicted").group(),
        Column::right("share"),
        Column::right("z"),
        Column::right("load").group(),
        Column::right("app"),
        Column::right("kernel"),
        Column::right("diff"),
        Column::right("bytes").group(),
        Column::right("p50").group(),
        Column::right("p95"),
        Column::right("p99"),
    ]);
    for shard in &outcome.shards {
        table.row(row(shard));
    }
    table.rule();
    table.row(total(outcome));
    table.render()
}

fn row(shard: &Shard) -> Vec<String> {
    vec![
        shard.shard_id.to_string(),
        format!("{:.2}%", shard.predicted_share * 100.0),
        format!("{}%", percent(shard.share)),
        format!("{:+.1}", shard.z),
        thousands(shard.generator),
        thousands(shard.app),
        shard.kernel.map_or_else(String::new, |kernel| thousands(kernel.requests)),
        verdict(shard.difference(), shard.counts_agree()),
        shard.kernel.map_or_else(String::new, |kernel| thousands(kernel.payload_bytes())),
        milliseconds(shard.p50_ms),
        milliseconds(shard.p95_ms),
        milliseconds(shard.p99_ms),
    ]
}

fn total(outcome: &ScenarioOutcome) -> Vec<String> {
    let sum = |count: fn(&Shard) -> u64| outcome.shards.iter().map(count).sum::<u64>();
    let kernel = |count: fn(&Shard) -> Option<u64>| {
        outcome.shards.iter().map(count).sum::<Option<u64>>().map_or_else(String::new, thousands)
    };
    vec![
        "all".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        thousands(sum(|shard| shard.generator)),
        thousands(sum(|shard| shard.app)),
        kernel(|shard| shard.kernel.map(|kernel| kernel.requests)),
        verdict(outcome.shards.iter().map(Shard::difference).sum(), outcome.counts_agree()),
        kernel(|shard| shard.kernel.map(super::witness::Kernel::payload_bytes)),
    ]
}

/// The difference between kernel and application, if known, and whether all counts are equal.
fn verdict(difference: Option<i128>, agree: bool) -> String {
    let mark = if agree { "✓" } else { "✗" };
    difference.map_or_else(|| mark.to_owned(), |difference| format!("{difference} {mark}"))
}

fn milliseconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(long) if long >= 1000.0 => format!("{long:.0}"),
        Some(short) => format!("{short:.1}"),
    }
}

/// Each check: whether it passed, and its text.
fn checks(outcome: &ScenarioOutcome) -> Vec<(bool, String)> {
    let load = &outcome.load;
    let witnesses = if outcome.shards.iter().all(|shard| shard.kernel.is_some()) {
        "load = app = kernel"
    } else {
        "load = app"
    };
    let mut spent = format!("{} sent, {} answered", thousands(load.sent), thousands(load.answered));
    if load.errors > 0 || load.dropped > 0 {
        spent.push_str(&format!(", {} errors, {} dropped", load.errors, load.dropped));
    }
    if load.cache_hits + load.coalesced > 0 {
        spent.push_str(&format!(
            "; {} of them from the cache, {} coalesced",
            thousands(load.cache_hits),
            thousands(load.coalesced)
        ));
    }
    let counts = if outcome.counts_agree() {
        format!("{witnesses}, shard by shard: {} requests ({spent})", thousands(outcome.reached_shards()))
    } else {
        format!("not {witnesses} ({spent})")
    };
    let furthest = outcome.shards.iter().map(|shard| shard.z.abs()).fold(0.0, f64::max);
    let mut checks = vec![
        (outcome.counts_agree(), counts),
        (
            outcome.shards.iter().all(Shard::theory_agrees),
            format!("theory: shares within {furthest:.1} standard errors (allowed: {STANDARD_ERRORS:.0})"),
        ),
    ];
    if let Some((hottest, kernel)) = load.hottest_key.as_ref().zip(outcome.kernel_hottest) {
        checks.push((
            outcome.hottest_key_agrees(),
            format!(
                "hottest key: `{}` sent {} times, {} of them seen by the kernel at a shard's socket",
                hottest.key,
                thousands(hottest.sent),
                thousands(kernel)
            ),
        ));
    }
    if let Some(reached) = &outcome.reached {
        let expected = reached.predicted.cold_start * load.duration_seconds;
        checks.push((
            reached.z.abs() <= STANDARD_ERRORS,
            format!(
                "cache theory: {} requests reached a shard, predicted {expected:.0} \
                 ({:+.1} standard errors; allowed: {STANDARD_ERRORS:.0})",
                thousands(reached.requests),
                reached.z
            ),
        ));
    }
    if outcome.compare.is_some() {
        checks.push((outcome.compare_agrees(), comparison(outcome)));
    }
    checks
}

fn comparison(outcome: &ScenarioOutcome) -> String {
    if outcome.compare_agrees() {
        return "the probe's own running comparison agrees (/api/compare)".to_owned();
    }
    let rows = outcome.compare.iter().flatten().filter(|row| row.of_shard.agrees != Some(true));
    let causes: Vec<String> = rows
        .map(|row| {
            let state = if row.of_shard.agrees.is_none() { "undecided" } else { "disagrees" };
            format!(
                "shard {} {state}: {}",
                row.shard_id,
                row.of_shard.cause.as_deref().unwrap_or("no cause given")
            )
        })
        .collect();
    format!("the probe's own comparison (/api/compare): {}", causes.join("; "))
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, render};
    use crate::demo::samples::{agreeing, agreeing_readings, caching_report, celebrity_report, compared};
    use crate::demo::witness::ScenarioOutcome;

    #[test]
    fn a_scenario_fits_a_hundred_columns() {
        let mut report = celebrity_report();
        for shard in &mut report.shards {
            shard.answered *= 10;
            shard.upstream_requests *= 10;
            shard.p99_ms = Some(1234.5);
        }
        report.answered *= 10;
        for outcome in [agreeing("celebrity", report), agreeing("with-caching", caching_report())] {
            let text = render(&outcome);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= WIDTH, "{widest} columns:\n{text}");
        }
    }

    #[test]
    fn all_witnesses_stand_side_by_side() {
        let text = render(&agreeing("celebrity", celebrity_report()));
        let row = text.lines().find(|line| line.starts_with("│ 0 ")).expect("a row for shard 0");
        let cells: Vec<&str> = row.split(['│', ' ']).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(
            cells,
            [
                "0", "82.09%", "82.3%", "+0.2", "1,604", "1,604", "1,604", "0", "✓", "641,600", "16.1",
                "26.0", "31.0"
            ]
        );
        assert!(text.contains("✓ load = app = kernel, shard by shard: 1,950 requests"), "{text}");
    }

    #[test]
    fn without_the_kernel_its_columns_are_empty() {
        let report = celebrity_report();
        let (mut before, mut after) = agreeing_readings(&report);
        (before.kernel, after.kernel) = (None, None);
        let text = render(&ScenarioOutcome::new("celebrity", report, &before, &after, None));
        assert!(text.contains("✓ load = app, shard by shard"), "{text}");
        assert!(!text.contains("/api/compare"), "{text}");
    }

    #[test]
    fn a_difference_is_marked_in_its_row_and_in_the_checks() {
        let report = celebrity_report();
        let (before, mut after) = agreeing_readings(&report);
        if let Some(kernel) = &mut after.kernel {
            kernel[2].requests += 1;
        }
        let undecided = vec![compared(2, None, Some("no baseline"))];
        let text = render(&ScenarioOutcome::new("celebrity", report, &before, &after, Some(undecided)));
        let row = text.lines().find(|line| line.starts_with("│ 2 ")).expect("a row for shard 2");
        assert!(row.contains(" 1 ✗ "), "{row}");
        assert!(text.contains("✗ not load = app = kernel"), "{text}");
        assert!(text.contains("shard 2 undecided: no baseline"), "{text}");
    }
}
