//! The table, for a terminal and for `docs/experiments/`.

use std::fmt::Write as _;

use super::row::Row;
use super::timeline::Timeline;
use crate::machine::{date, describe};
use crate::table::{Table, thousands};

const HEADINGS: [&str; 13] = [
    "fault",
    "sent",
    "answered",
    "failed, by kind",
    "lost",
    "affected p50 / p99, ms",
    "breaker open: p50 / p99, ms",
    "others p99, ms: calm → fault",
    "back after, ms",
    "verdicts",
    "control paths, ms, most",
    "gateway, MiB",
    "result",
];

/// The rows that have run.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
    timeline: Timeline,
}

impl Report {
    pub(crate) fn new(rows: Vec<Row>, timeline: Timeline) -> Self {
        Self { rows, timeline }
    }

    /// Whether nothing is wrong in any row.
    pub fn passes(&self) -> bool {
        self.rows.iter().all(|row| row.wrong.is_empty())
    }

    fn table(&self) -> Table<'_> {
        Table { headings: &HEADINGS, numbers: 1..3, rows: self.rows.iter().map(cells).collect() }
    }

    /// The report for a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let _ = writeln!(text, "{}: {}", row.fault.name(), row.fault.about());
            for (heading, cell) in HEADINGS.iter().zip(cells(row)).skip(1) {
                let _ = writeln!(text, "    {heading}: {cell}");
            }
        }
        let wrong = self.rows.iter().filter(|row| !row.wrong.is_empty()).count();
        let undecided =
            self.rows.iter().filter(|row| row.wrong.is_empty() && row.undecided.is_some()).count();
        let _ = writeln!(text, "{} faults: {wrong} wrong, {undecided} with undecided times", self.rows.len());
        text
    }

    /// The page for `docs/experiments/`: its name and content.
    pub fn page(&self) -> (String, String) {
        let Timeline { rate, repetitions, undisturbed, fault, recovery, .. } = self.timeline;
        let mut text = format!("# {}: what faults do to the lab\n\n", date("+%F"));
        let wrong: Vec<String> =
            self.rows.iter().filter(|row| !row.wrong.is_empty()).map(|row| row.fault.name()).collect();
        let answer = match wrong.len() {
            0 => format!("All {} rows hold", self.rows.len()),
            _ => format!(
                "{} of {} rows hold, not {}",
                self.rows.len() - wrong.len(),
                self.rows.len(),
                wrong.join(", ")
            ),
        };
        let _ = write!(
            text,
            "**Question.** What does a client of the gateway notice of a fault, and do the counts stay right?\n\n\
             **Answer.** {answer}.\n\n\
             **Command.** `cargo xtask faults --write`\n\n\
             {}.\n\n\
             {rate} reads a second of 400 keys, alike for each of four shards, in an open loop. Each row has \
             {repetitions} repetitions of {undisturbed} s without the fault, {fault} s with it and {recovery} s after \
             it.\n\n",
            describe()
        );
        text += &self.table().markdown();
        text += "\n*Lost* requests were sent and have no complete answer. *Others* are the shards that the fault does \
                 not concern; the figures are medians of the repetitions. *Back after* is the time from the end of the \
                 fault to the last request that failed. A row holds if nothing is lost, no answer is wrong, only \
                 requests of affected shards failed, no verdict was false, and kernel and shards have equal counts at \
                 its end. The times are undecided where the undisturbed ones differ by more than 1.5 times, or the \
                 generator was late.\n\n\
                 | fault | what happens |\n|---|---|\n";
        for row in &self.rows {
            let _ = writeln!(text, "| {} | {} |", row.fault.name(), row.fault.about());
        }
        (format!("{}-faults.md", date("+%F")), text)
    }
}

fn cells(row: &Row) -> Vec<String> {
    let pair = |pair: Option<(f64, f64)>, between: &str| {
        pair.map_or_else(|| "–".to_owned(), |(one, two)| format!("{one:.1}{between}{two:.1}"))
    };
    let list = |counts: &std::collections::BTreeMap<String, usize>| {
        let all: Vec<String> =
            counts.iter().map(|(what, count)| format!("{what} {}", thousands(*count as u64))).collect();
        if all.is_empty() { "–".to_owned() } else { all.join(", ") }
    };
    let mut failed = row.failed.clone();
    if row.refused > 0 {
        failed.insert("refused".to_owned(), row.refused);
    }
    let mut result =
        if row.wrong.is_empty() { "holds".to_owned() } else { format!("**{}**", row.wrong.join("; ")) };
    if let Some(why) = &row.undecided {
        let _ = write!(result, "; times undecided: {why}");
    }
    vec![
        row.fault.name(),
        thousands(row.sent as u64),
        thousands(row.answered as u64),
        list(&failed),
        row.lost.to_string(),
        pair(row.affected, " / "),
        pair(row.failing_fast, " / "),
        pair(row.others, " → "),
        format!("{:.0}", row.back),
        list(&row.verdicts),
        format!("{:.0}", row.control),
        format!("{:.0}", row.gateway_bytes as f64 / f64::from(1 << 20)),
        result,
    ]
}
