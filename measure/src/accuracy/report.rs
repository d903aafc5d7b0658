//! What the run gave: a table for a terminal of 100 columns, Markdown, JSON.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::Command;

use super::rule::Verdict;

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// The row, and what of it.
    pub name: String,
    /// What the suite knows; absent when the row could not be run.
    pub truth: Option<u64>,
    /// What the probe said.
    pub counted: Option<u64>,
    /// Segments that the probe did not parse.
    pub unparsed: u64,
    /// Segments that the probe saw again.
    pub repeats: u64,
    /// The probe's own comparison with the server's `/stats`.
    pub agrees: Option<bool>,
    /// The outcome.
    pub verdict: Verdict,
    /// Proofs and figures.
    pub note: String,
}

impl Line {
    /// A row without figures.
    #[must_use]
    pub fn not_run(name: &str, error: &anyhow::Error) -> Self {
        Self {
            name: name.to_owned(),
            truth: None,
            counted: None,
            unparsed: 0,
            repeats: 0,
            agrees: None,
            verdict: Verdict::NotRun(format!("{error:#}")),
            note: String::new(),
        }
    }

    fn cells(&self) -> [String; 7] {
        let number = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), thousands);
        let agrees = self.agrees.map_or("–", |agrees| if agrees { "agrees" } else { "differs" });
        [
            self.name.clone(),
            number(self.truth),
            number(self.counted),
            thousands(self.unparsed),
            thousands(self.repeats),
            agrees.to_owned(),
            self.verdict.word().to_owned(),
        ]
    }

    /// Explanation and note in one text, if there is something to say.
    fn remark(&self) -> Option<String> {
        let parts = [self.verdict.why().unwrap_or_default(), &self.note];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// All lines of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of the rows.
    pub lines: Vec<Line>,
    /// Whether it was the quick run.
    pub quick: bool,
    /// How long it took.
    pub seconds: f64,
}

const HEADINGS: [&str; 7] = ["row", "true", "counted", "unparsed", "repeats", "probe", "result"];

impl Report {
    /// Whether every line is exact or explained.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.lines.iter().all(|line| line.verdict.passes())
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let rows: Vec<[String; 7]> =
            std::iter::once(HEADINGS.map(str::to_owned)).chain(self.lines.iter().map(Line::cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
        let mut text = String::new();
        for (at, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                let pad = " ".repeat(width - cell.chars().count());
                if is_number(column) { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
            if at == 0 {
                text += &"─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
                text.push('\n');
            }
        }
        for (name, remark) in self.remarks() {
            text += &wrap(&format!("{name}: {remark}"), 98);
        }
        text + &self.closing() + "\n"
    }

    /// For `docs/experiments/`.
    #[must_use]
    pub fn markdown(&self, command: &str) -> String {
        let (date, machine) = (date("+%F"), machine());
        let mut text = format!("# {date}: Accuracy of the probe's counts\n\n");
        let _ = writeln!(
            text,
            "**Question.** Does the probe count every request, under pipelining, splits, loss, duplication, reordering and more?\n\n\
             **Answer.** {}.\n\n**Command.** `{command}`\n\n{machine}.\n",
            self.closing()
        );
        text += "`true` is what the suite's own server read and its own clients sent, in data requests where the row names nothing else.\n\
                 `counted` is the probe's `/api/shards`. `unparsed` and `repeats` are segments. `probe` is the probe's own comparison\n\
                 with the server's `/stats`.\n\n";
        let _ = writeln!(text, "| {} |", HEADINGS.join(" | "));
        text += "|---|--:|--:|--:|--:|---|---|\n";
        for line in &self.lines {
            let _ = writeln!(text, "| {} |", line.cells().join(" | "));
        }
        text += "\n## Remarks\n\n";
        for (name, remark) in self.remarks() {
            let _ = writeln!(text, "- **{name}**: {remark}");
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            json!({
                "row": line.name,
                "true": line.truth,
                "counted": line.counted,
                "unparsed": line.unparsed,
                "repeats": line.repeats,
                "agrees": line.agrees,
                "result": line.verdict.word(),
                "why": line.verdict.why(),
                "note": line.note,
            })
        });
        json!({
            "passes": self.passes(),
            "quick": self.quick,
            "seconds": self.seconds,
            "machine": machine(),
            "rows": lines.collect::<Vec<_>>(),
        })
    }

    fn remarks(&self) -> impl Iterator<Item = (&str, String)> {
        self.lines.iter().filter_map(|line| Some((line.name.as_str(), line.remark()?)))
    }

    fn closing(&self) -> String {
        let count = |word: &str| self.lines.iter().filter(|line| line.verdict.word() == word).count();
        let mut text = format!(
            "{} lines in {:.0} s: {} exact, {} explained",
            self.lines.len(),
            self.seconds,
            count("exact"),
            count("explained")
        );
        for word in ["WRONG", "NOT RUN"] {
            if count(word) > 0 {
                let _ = write!(text, ", {} {word}", count(word));
            }
        }
        text
    }
}

fn is_number(column: usize) -> bool {
    (1..=4).contains(&column)
}

/// The date, in the format of `date(1)`.
pub(crate) fn date(format: &str) -> String {
    let output = Command::new("date").args(["-u", format]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Kernel, processor, date.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models: Vec<&str> = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']))
        .collect();
    format!(
        "{}; Linux {}, {} × {}",
        date("+%F %H:%M UTC"),
        read("/proc/sys/kernel/osrelease").trim(),
        models.len(),
        models.first().unwrap_or(&"processor of unknown make")
    )
}

pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Lines of at most `width` characters, the first one set out.
fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    let mut line = String::from("*");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > width {
            wrapped += &line;
            wrapped.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line += word;
    }
    wrapped + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, verdict: Verdict) -> Line {
        Line {
            verdict,
            truth: Some(1_234_567),
            counted: Some(7),
            ..Line::not_run(name, &anyhow::anyhow!(""))
        }
    }

    #[test]
    fn every_line_is_in_every_form() {
        let report = Report {
            lines: vec![
                line("first", Verdict::Exact),
                line("second", Verdict::Explained("so it must be ".repeat(20))),
            ],
            quick: true,
            seconds: 1.0,
        };
        assert!(report.passes());
        let text = report.text();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(
            text.contains("1,234,567") && text.contains("2 lines in 1 s: 1 exact, 1 explained"),
            "{text}"
        );
        assert!(report.markdown("x").contains("| second | 1,234,567 | 7 |"));
        assert_eq!(report.json()["rows"][1]["result"], "explained");
        let bad = Report { lines: vec![line("third", Verdict::Wrong("x".to_owned()))], ..report };
        assert!(!bad.passes() && bad.text().contains("1 WRONG"));
    }
}
