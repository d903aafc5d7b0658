//! Results of the run: a table and remarks, or JSON.

use serde_json::{Value, json};
use std::fmt::Write as _;

use crate::accuracy::rule::RowVerdict;
use crate::machine;
use crate::table::{Table, thousands};

/// One line of the table: a node, or a row as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Name of the row and of its part.
    pub(crate) name: String,
    /// Commands by the kernel's count. Absent if the row compares something else.
    pub(crate) kernel: Option<u64>,
    /// Kernel − store.
    pub(crate) difference: Option<i64>,
    /// Kernel − store, in bytes.
    pub(crate) bytes: Option<i64>,
    /// Segments without a parsed command.
    pub(crate) unparsed: u64,
    /// The row's verdict.
    pub(crate) verdict: RowVerdict,
    /// Evidence and numbers.
    pub(crate) note: String,
}

impl Line {
    /// Returns a line without counts.
    pub(crate) fn plain(name: &str, verdict: RowVerdict, note: String) -> Self {
        let name = name.to_owned();
        Self { name, kernel: None, difference: None, bytes: None, unparsed: 0, verdict, note }
    }

    /// Returns the line of a row that could not run.
    pub(crate) fn not_run(name: &str, error: &anyhow::Error) -> Self {
        Self::plain(name, RowVerdict::NotRun(format!("{error:#}")), String::new())
    }

    fn cells(&self) -> Vec<String> {
        let signed = |number: Option<i64>| {
            number.map_or_else(|| "–".to_owned(), |by| format!("{by:+}").replace("+0", "0"))
        };
        vec![
            self.name.clone(),
            self.kernel.map_or_else(|| "–".to_owned(), thousands),
            signed(self.difference),
            signed(self.bytes),
            thousands(self.unparsed),
            self.verdict.word().to_owned(),
        ]
    }

    fn remark(&self) -> Option<String> {
        let parts = [self.verdict.why().unwrap_or_default(), &self.note];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join(". "))
    }
}

const HEADINGS: [&str; 6] = ["row", "commands", "difference", "bytes", "unparsed", "result"];

/// All lines of a run.
#[derive(Clone, Debug)]
pub struct StoresReport {
    pub(crate) lines: Vec<Line>,
    /// Name and version of the server.
    pub(crate) server: String,
    pub(crate) seconds: f64,
}

impl StoresReport {
    /// Whether every line is exact or explained.
    #[must_use]
    pub fn passes(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.verdict.passes())
    }

    /// Returns the report for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let rows = self.lines.iter().map(Line::cells).collect();
        let mut text = Table { headings: &HEADINGS, numbers: 1..5, rows }.text();
        for line in &self.lines {
            if let Some(remark) = line.remark() {
                let _ = writeln!(text, "* {}: {remark}", line.name);
            }
        }
        let passed = self.lines.iter().filter(|line| line.verdict.passes()).count();
        let (all, seconds) = (self.lines.len(), self.seconds);
        let _ = writeln!(text, "{}; {passed} of {all} lines exact or explained, {seconds:.0} s", self.server);
        text
    }

    /// Returns the report as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            json!({
                "row": line.name,
                "commands": line.kernel,
                "difference": line.difference,
                "bytes": line.bytes,
                "unparsed": line.unparsed,
                "result": line.verdict.word(),
                "why": line.verdict.why(),
                "note": line.note,
            })
        });
        json!({
            "passes": self.passes(),
            "server": self.server,
            "seconds": self.seconds,
            "machine": machine::describe(),
            "rows": lines.collect::<Vec<_>>(),
        })
    }
}
