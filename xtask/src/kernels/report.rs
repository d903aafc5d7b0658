//! Reports the results of all kernels as table and JSON.

use serde_json::{Value, json};

use super::findings::{self, Failure};
use super::{KernelOutcome, Wanted};
use crate::guest::{Ran, shortened};
use crate::kernel;
use crate::table::{Column, Table, thousands};
use crate::terminal::{heading, mark};
use crate::test_output::Tally;

/// Maximum lines shown when the probe did not start. They are the last lines of the verifier's log.
const SHOWN_LINES: usize = 14;

/// The results for one kernel.
#[derive(Debug)]
pub(super) struct Row {
    /// The requested version, such as `6.1`.
    requested: &'static str,
    package: Option<String>,
    release: String,
    boots: bool,
    checks: bool,
    /// The failed findings of `probe check`.
    unmet: Vec<String>,
    /// Whether the probe ran with all programs attached.
    loads: bool,
    /// Empty if the probe did not run. Zeros if the kernel does not report the number.
    verified: Vec<u64>,
    /// The probe's output if it did not run.
    refusal: Vec<String>,
    lacks: Vec<String>,
    tally: Tally,
    failures: Vec<Failure>,
    complaints: Vec<String>,
    seconds: f64,
    outcome: KernelOutcome,
}

impl Row {
    /// Evaluates a kernel's console output.
    pub(super) fn new(wanted: &Wanted, package: Option<String>, ran: &Ran) -> Self {
        let console = &ran.console;
        let owned = |lines: Vec<&str>| lines.into_iter().map(shortened).collect::<Vec<_>>();
        let status = findings::status(console);
        let loads = status.as_ref().is_some_and(all_attached);
        let (tally, failures) = findings::tests(console);
        let mut lacks = console.lacks.clone();
        lacks.extend(status.iter().flat_map(missing_features));
        let log = owned(console.lines("run"));
        let mut row = Self {
            requested: wanted.version,
            package,
            release: console.release.clone(),
            boots: !console.release.is_empty(),
            checks: console.code("check") == Some(0),
            unmet: kernel::failures(console.lines("check")),
            loads,
            verified: findings::verified_instructions(console),
            refusal: if loads { Vec::new() } else { log[log.len().saturating_sub(SHOWN_LINES)..].to_vec() },
            lacks,
            tally,
            failures,
            complaints: owned(console.lines("complaints")),
            seconds: ran.took.as_secs_f64(),
            outcome: KernelOutcome::Runs,
        };
        row.outcome = row.judge(wanted, ran);
        row
    }

    /// The row of a kernel whose steps could not run.
    pub(super) fn unasked(wanted: &Wanted, error: &anyhow::Error) -> Self {
        Self {
            requested: wanted.version,
            package: None,
            release: String::new(),
            boots: false,
            checks: false,
            unmet: Vec::new(),
            loads: false,
            verified: Vec::new(),
            refusal: Vec::new(),
            lacks: Vec::new(),
            tally: Tally::default(),
            failures: Vec::new(),
            complaints: Vec::new(),
            seconds: 0.0,
            outcome: KernelOutcome::Fails(vec![format!("not tested: {error:#}")]),
        }
    }

    /// Whether the outcome is as expected.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.outcome, KernelOutcome::Fails(_))
    }

    fn judge(&self, wanted: &Wanted, ran: &Ran) -> KernelOutcome {
        let console = &ran.console;
        if ran.stopped || (!console.done && wanted.suite.is_some()) || console.code("tests").is_none() {
            let place =
                console.unfinished().unwrap_or(if self.boots { "between the steps" } else { "booting" });
            let how = if ran.stopped { "took too long" } else { "fell silent" };
            let mut why = vec![format!("{how}: {place}; its last lines:")];
            why.extend(ran.console.last_words().into_iter().map(shortened));
            return KernelOutcome::Fails(why);
        }
        if wanted.may_refuse && self.refuses_in_order() {
            return KernelOutcome::Refuses;
        }
        let mut why = Vec::new();
        if !self.checks {
            why.push("`probe check` does not pass".to_owned());
        }
        if !self.loads {
            why.push("`probe run` does not attach all its programs".to_owned());
        }
        if console.code("run") != Some(0) {
            why.push("`probe run` does not end in order".to_owned());
        }
        if self.tally.failed > 0 || console.code("tests") != Some(0) {
            why.push(format!("{} kernel tests fail", self.tally.failed));
        }
        if self.tally.passed == 0 {
            why.push("no kernel test passes".to_owned());
        }
        if !self.complaints.is_empty() {
            why.push("the kernel log has warnings".to_owned());
        }
        if why.is_empty() { KernelOutcome::Runs } else { KernelOutcome::Fails(why) }
    }

    /// Whether the probe rejected this kernel as too old, for no other reason, and exited.
    fn refuses_in_order(&self) -> bool {
        let kernel_only = matches!(self.unmet.as_slice(), [only] if only.starts_with("kernel: "));
        !self.checks && kernel_only && !self.loads && self.complaints.is_empty()
    }

    fn cells(&self) -> Vec<String> {
        let yes = |holds: bool| if holds { "yes" } else { "no" }.to_owned();
        let counted: Vec<String> = self.verified.iter().map(|count| thousands(*count)).collect();
        let programs = match (self.loads, self.verified.iter().sum::<u64>()) {
            (false, _) => "no".to_owned(),
            (true, 0) => "yes".to_owned(),
            (true, _) => format!("yes ({})", counted.join(" + ")),
        };
        // On a kernel that is too old all tests fail for one reason, so their number has no meaning.
        let tests = if self.outcome == KernelOutcome::Refuses {
            "not counted".to_owned()
        } else {
            format!("{} / {} / {}", self.tally.passed, self.tally.failed, self.tally.skipped.len())
        };
        vec![
            if self.release.is_empty() { self.requested.to_owned() } else { self.release.clone() },
            yes(self.boots),
            yes(self.checks),
            programs,
            tests,
            if self.lacks.is_empty() { "none".to_owned() } else { self.lacks.len().to_string() },
            format!("{:.0}", self.seconds),
            self.outcome.word().to_owned(),
        ]
    }

    fn details(&self) {
        let plain =
            self.outcome == KernelOutcome::Runs && self.lacks.is_empty() && self.tally.skipped.is_empty();
        if plain {
            return;
        }
        heading(&format!(
            "{} {}",
            mark(self.holds()),
            if self.release.is_empty() { self.requested } else { &self.release }
        ));
        if let KernelOutcome::Fails(why) = &self.outcome {
            why.iter().for_each(|line| println!("  {line}"));
        }
        part("probe check:", &self.unmet);
        part("probe run, its last lines:", &self.refusal);
        part("lacks:", &self.lacks);
        for failure in &self.failures {
            // If the programs do not load, most tests fail for that reason. The lines above show it.
            match (&self.outcome, self.loads) {
                (KernelOutcome::Refuses, _) => {}
                (_, true) => part(&format!("{} failed:", failure.name), &failure.lines),
                (_, false) => println!("  {} failed", failure.name),
            }
        }
        for (name, why) in &self.tally.skipped {
            println!("  {name} skipped: {why}");
        }
        part("warnings in the kernel log:", &self.complaints);
    }

    fn json(&self) -> Value {
        let reasons = if let KernelOutcome::Fails(why) = &self.outcome { why.as_slice() } else { &[] };
        json!({
            "kernel": self.requested,
            "package": self.package,
            "release": self.release,
            "outcome": self.outcome.word(),
            "reasons": reasons,
            "boots": self.boots,
            "check": { "passed": self.checks, "failures": self.unmet },
            "programs": { "loaded": self.loads, "verified_instructions": self.verified, "refusal": self.refusal },
            "features_missing": self.lacks,
            "tests": {
                "passed": self.tally.passed,
                "failed": self.tally.failed,
                "skipped": self.tally.skipped,
                "failures": self.failures.iter().map(|failure| json!({
                    "name": failure.name, "lines": failure.lines,
                })).collect::<Vec<_>>(),
            },
            "complaints": self.complaints,
            "seconds": (self.seconds * 10.0).round() / 10.0,
        })
    }
}

fn part<'a>(title: &str, lines: impl IntoIterator<Item = &'a String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        println!("  {title}");
        lines.for_each(|line| println!("    {line}"));
    }
}

/// Whether `/status` reports every program as attached.
fn all_attached(status: &Value) -> bool {
    status["programs"].as_array().is_some_and(|programs| {
        !programs.is_empty() && programs.iter().all(|program| program["attached"] == true)
    })
}

/// Features that `/status` reports as off, except those that were never switched on.
fn missing_features(status: &Value) -> Vec<String> {
    let features = status["features"].as_array().map(Vec::as_slice).unwrap_or_default();
    features
        .iter()
        .filter(|feature| feature["enabled"] == false && feature["reason"] != "switched_off")
        .map(|feature| {
            let word = |name: &str| feature[name].as_str().unwrap_or("?");
            format!("{}: {}", word("feature"), word("reason"))
        })
        .collect()
}

/// Prints the table and the notes on its rows.
pub(super) fn print(rows: &[Row]) {
    let mut table = Table::new(vec![
        Column::left("kernel"),
        Column::left("boots"),
        Column::left("check").group(),
        Column::left("programs load (instructions)"),
        Column::right("tests pass/fail/skip").group(),
        Column::right("lacks"),
        Column::right("s").group(),
        Column::left("so it"),
    ]);
    for row in rows {
        table.row(row.cells());
    }
    heading("Kernels");
    println!("{}", table.render());
    rows.iter().for_each(Row::details);
}

pub(super) fn json(rows: &[Row]) -> Value {
    json!({ "kernels": rows.iter().map(Row::json).collect::<Vec<_>>() })
}
