//! Prints each check's result, and a summary table at the end.

use anyhow::Error;
use protocol::escape::escaped;

use crate::table::{Column, Table};
use crate::terminal;

/// Maximum width of the table's last column, in characters.
const WIDTH: usize = 88;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VerdictOutcome {
    Held,
    NotHeld,
    /// Another error prevented the check.
    CouldNot,
    /// This machine lacks a requirement of the check. This is not a failure of the lab.
    LeftOut,
}

impl VerdictOutcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotHeld => "NOT HELD",
            Self::CouldNot => "COULD NOT",
            Self::LeftOut => "could not",
        }
    }
}

/// All checks so far.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    rows: Vec<(String, VerdictOutcome, String)>,
}

impl Verdicts {
    /// Records a completed check with its measured value.
    pub(crate) fn report(&mut self, check: &str, holds: bool, figure: &str) {
        println!("  {} {check}: {}", terminal::mark(holds), escaped(figure));
        self.add(check, if holds { VerdictOutcome::Held } else { VerdictOutcome::NotHeld }, figure);
    }

    /// Records a check that an error prevented. It counts as failed.
    pub(crate) fn could_not(&mut self, check: &str, why: &Error) {
        println!("  {} {check}: not checked: {}", terminal::mark(false), escaped(&format!("{why:#}")));
        self.add(check, VerdictOutcome::CouldNot, &format!("{why:#}"));
    }

    /// Records a check that this machine cannot run.
    pub(crate) fn left_out(&mut self, what: &str, why: &str) {
        println!("  – {what}: {}", escaped(why));
        self.add(what, VerdictOutcome::LeftOut, why);
    }

    /// Whether no check failed.
    pub(crate) fn hold(&self) -> bool {
        self.rows
            .iter()
            .all(|(_, outcome, _)| matches!(outcome, VerdictOutcome::Held | VerdictOutcome::LeftOut))
    }

    /// The summary table.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new(vec![
            Column::left("check"),
            Column::left("outcome").group(),
            Column::left("figure or reason").group(),
        ]);
        for (check, outcome, figure) in &self.rows {
            for (index, line) in terminal::wrap(figure, WIDTH).into_iter().enumerate() {
                let (check, word) = if index == 0 { (check.as_str(), outcome.word()) } else { ("", "") };
                table.row(vec![check.to_owned(), word.to_owned(), line]);
            }
        }
        table.render()
    }

    /// The summary as a Markdown table.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "| check | outcome | figure or reason |\n|---|---|---|\n".to_owned();
        for (check, outcome, figure) in &self.rows {
            let cell = |words: &str| escaped(words).replace('|', "\\|");
            text.push_str(&format!("| {} | {} | {} |\n", cell(check), outcome.word(), cell(figure)));
        }
        text
    }

    fn add(&mut self, check: &str, outcome: VerdictOutcome, figure: &str) {
        self.rows.push((check.to_owned(), outcome, figure.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::Verdicts;

    #[test]
    fn only_what_failed_makes_the_test_fail() {
        let mut verdicts = Verdicts::default();
        verdicts.report("a", true, "1");
        verdicts.left_out("b", "no image");
        assert!(verdicts.hold());
        verdicts.could_not("c", &anyhow!("broken"));
        assert!(!verdicts.hold());
        let mut verdicts = Verdicts::default();
        verdicts.report("a", false, "2");
        assert!(!verdicts.hold());
        assert!(verdicts.table().contains("NOT HELD"), "{}", verdicts.table());
    }
}
