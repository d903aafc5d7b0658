//! Renders tables: framed, aligned columns, with separators between column groups.

use protocol::escape::escaped;

/// A column's heading and alignment.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    heading: &'static str,
    left: bool,
    starts_group: bool,
}

impl Column {
    /// A right-aligned column, for numbers.
    pub(crate) const fn right(heading: &'static str) -> Self {
        Self { heading, left: false, starts_group: false }
    }

    /// A left-aligned column, for text.
    pub(crate) const fn left(heading: &'static str) -> Self {
        Self { heading, left: true, starts_group: false }
    }

    /// Adds a separator line before the column.
    pub(crate) const fn group(mut self) -> Self {
        self.starts_group = true;
        self
    }
}

/// Rows with column headings.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
enum Row {
    Cells(Vec<String>),
    Rule,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty, surplus cells are dropped. Cells may contain untrusted text of other
    /// processes.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(Row::Cells(cells.into_iter().map(|cell| escaped(&cell)).collect()));
    }

    /// Adds a horizontal line.
    pub(crate) fn rule(&mut self) {
        self.rows.push(Row::Rule);
    }

    /// The table as lines without a trailing newline.
    pub(crate) fn render(&self) -> String {
        let widths = self.widths();
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading.to_owned()).collect();
        let mut lines = vec![self.line(&widths, ('┌', '┬', '┐')), self.cells(&widths, &headings)];
        lines.push(self.line(&widths, ('├', '┼', '┤')));
        for row in &self.rows {
            lines.push(match row {
                Row::Cells(cells) => self.cells(&widths, cells),
                Row::Rule => self.line(&widths, ('├', '┼', '┤')),
            });
        }
        lines.push(self.line(&widths, ('└', '┴', '┘')));
        lines.join("\n")
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> =
            self.columns.iter().map(|column| column.heading.chars().count()).collect();
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.chars().count());
                }
            }
        }
        widths
    }

    fn line(&self, widths: &[usize], (start, middle, end): (char, char, char)) -> String {
        let mut text = format!("{start}─");
        for (index, (column, width)) in self.columns.iter().zip(widths).enumerate() {
            if index > 0 {
                text.push_str(&if column.starts_group {
                    format!("─{middle}─")
                } else {
                    "──".to_owned()
                });
            }
            text.push_str(&"─".repeat(*width));
        }
        text.push_str(&format!("─{end}"));
        text
    }

    fn cells(&self, widths: &[usize], cells: &[String]) -> String {
        let mut text = "│ ".to_owned();
        for (index, (column, width)) in self.columns.iter().zip(widths).enumerate() {
            if index > 0 {
                text.push_str(if column.starts_group { " │ " } else { "  " });
            }
            let cell = cells.get(index).map_or("", String::as_str);
            let pad = " ".repeat(width - cell.chars().count());
            text.push_str(&if column.left { format!("{cell}{pad}") } else { format!("{pad}{cell}") });
        }
        text.push_str(" │");
        text
    }
}

/// Formats `number` with a comma every three digits.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Column, Table, thousands};

    #[test]
    fn columns_are_aligned_and_groups_set_apart() {
        let mut table =
            Table::new(vec![Column::left("shard"), Column::right("app").group(), Column::right("kernel")]);
        table.row(vec!["0".to_owned(), "1,000".to_owned(), "7".to_owned()]);
        table.rule();
        table.row(vec!["all".to_owned(), "1".to_owned()]);
        let expected = "\
┌───────┬───────────────┐
│ shard │   app  kernel │
├───────┼───────────────┤
│ 0     │ 1,000       7 │
├───────┼───────────────┤
│ all   │     1         │
└───────┴───────────────┘";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn a_cell_cannot_forge_a_line() {
        let mut table = Table::new(vec![Column::left("cause")]);
        table.row(vec!["x\r\n✓ all agree\u{202e}\x1b[1A".to_owned()]);
        let text = table.render();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("x\\r\\n✓ all agree\\u{202e}\\u{1b}[1A"), "{text}");
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
