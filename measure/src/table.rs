//! Tables for a terminal and in Markdown, with formatted numbers.

use std::fmt::Write as _;
use std::ops::Range;

pub(crate) struct Table<'a> {
    pub(crate) headings: &'a [&'a str],
    /// The columns with numbers, which are aligned to the right.
    pub(crate) numbers: Range<usize>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table<'_> {
    pub(crate) fn text(&self) -> String {
        let headings: Vec<String> = self.headings.iter().map(|&heading| heading.to_owned()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        let mut text = String::new();
        for (at, line) in lines().enumerate() {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if self.numbers.contains(&column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
            if at == 0 {
                text += &"─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
                text.push('\n');
            }
        }
        text
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|", self.headings.join(" | "));
        for column in 0..self.headings.len() {
            text += if self.numbers.contains(&column) { "--:|" } else { "---|" };
        }
        text.push('\n');
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }
}

/// Formats a number with a comma between thousands.
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

/// Makes the first letter a capital.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Formats a share in percent, with one decimal.
pub(crate) fn percent(share: f64) -> String {
    // Adding 0 avoids "-0.0".
    let tenths = (share * 1_000.0).round() / 10.0 + 0.0;
    format!("{tenths:.1} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let rows =
            vec![vec!["a".into(), "1".into(), "x".into()], vec!["bb".into(), thousands(1_234), "y".into()]];
        let table = Table { headings: &["name", "n", "note"], numbers: 1..2, rows };
        assert_eq!(table.text(), "name      n  note\n─────────────────\na         1  x\nbb    1,234  y\n");
        assert_eq!(
            table.markdown(),
            "| name | n | note |\n|---|--:|---|\n| a | 1 | x |\n| bb | 1,234 | y |\n"
        );
    }

    #[test]
    fn shares_are_in_percent() {
        assert_eq!((percent(0.1234), percent(-0.0001)), ("12.3 %".into(), "0.0 %".into()));
    }
}
