//! Results of the run: a table for a 100-column terminal, Markdown, JSON.

use serde_json::{Value, json};
use std::fmt::Write as _;

use super::rule::RowVerdict;
use crate::machine::{self, date};
use crate::table::{Table, thousands};

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Name of the row and of the compared quantity.
    pub(crate) name: String,
    /// The true value. Absent if the row could not run.
    pub(crate) truth: Option<u64>,
    /// The probe's value.
    pub(crate) counted: Option<u64>,
    /// Segments that the probe did not parse.
    pub(crate) unparsed: u64,
    /// Segments that the probe saw without a new byte.
    pub(crate) repeats: u64,
    /// The probe's own comparison with the server's `/stats`.
    pub(crate) agrees: Option<bool>,
    /// The row's verdict.
    pub(crate) verdict: RowVerdict,
    /// Evidence and numbers.
    pub(crate) note: String,
}

impl Line {
    /// Returns a line without numbers.
    pub(crate) fn not_run(name: &str, error: &anyhow::Error) -> Self {
        Self {
            name: name.to_owned(),
            truth: None,
            counted: None,
            unparsed: 0,
            repeats: 0,
            agrees: None,
            verdict: RowVerdict::NotRun(format!("{error:#}")),
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

    /// Returns explanation and note as one text, if there is any.
    fn remark(&self) -> Option<String> {
        let parts = [self.verdict.why().unwrap_or_default(), &self.note];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join(". "))
    }
}

/// All lines of a run.
#[derive(Clone, Debug)]
pub struct AccuracyReport {
    /// In the order of the rows.
    pub(crate) lines: Vec<Line>,
    /// Whether it was the quick run.
    pub(crate) quick: bool,
    /// Duration in seconds.
    pub(crate) seconds: f64,
}

const HEADINGS: [&str; 7] = ["row", "true", "counted", "unparsed", "repeats", "probe", "result"];

impl AccuracyReport {
    /// Whether every line is exact or explained.
    pub fn passes(&self) -> bool {
        self.lines.iter().all(|line| line.verdict.passes())
    }

    /// Returns the report for a terminal.
    pub fn text(&self) -> String {
        let mut text = self.table().text();
        for (name, remark) in self.remarks() {
            text += &wrap(&format!("{name}: {remark}"), 98);
        }
        text + &self.closing() + "\n"
    }

    /// Returns the report for `docs/experiments/`.
    pub fn markdown(&self, command: &str) -> String {
        let mut text = format!("# {}: Accuracy of the probe's counts\n\n", date("+%F"));
        let _ = writeln!(
            text,
            "**Question.** Does the probe count every request, under pipelining, splits, loss, duplication, reordering and more?\n\n\
             **Answer.** {}.\n\n**Command.** `{command}`\n\n{}.\n",
            self.closing(),
            machine::describe()
        );
        text += "`true` is the suite's own count: what its server read and its clients sent. It is in data requests unless the row\n\
                 names another unit. `counted` is the probe's `/api/shards`. `unparsed` and `repeats` are segments. `probe` is the\n\
                 probe's own comparison with the server's `/stats`.\n\n";
        text += &self.table().markdown();
        text += "\n## Remarks\n\n";
        for (name, remark) in self.remarks() {
            let _ = writeln!(text, "- **{name}**: {remark}");
        }
        text
    }

    /// Returns the report as JSON.
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
            "machine": machine::describe(),
            "rows": lines.collect::<Vec<_>>(),
        })
    }

    fn table(&self) -> Table<'_> {
        let rows = self.lines.iter().map(|line| line.cells().to_vec()).collect();
        Table { headings: &HEADINGS, numbers: 1..5, rows }
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

/// Wraps text to lines of at most `width` characters, with a hanging indent.
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

    fn line(name: &str, verdict: RowVerdict) -> Line {
        Line {
            verdict,
            truth: Some(1_234_567),
            counted: Some(7),
            ..Line::not_run(name, &anyhow::anyhow!(""))
        }
    }

    #[test]
    fn every_line_is_in_every_form() {
        let report = AccuracyReport {
            lines: vec![
                line("first", RowVerdict::Exact),
                line("second", RowVerdict::Explained("so it must be ".repeat(20))),
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
        let bad = AccuracyReport { lines: vec![line("third", RowVerdict::Wrong("x".to_owned()))], ..report };
        assert!(!bad.passes() && bad.text().contains("1 WRONG"));
    }
}
