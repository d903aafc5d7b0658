//! Terminal output: headings, marks, colours and one progress line.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};
use std::{env, io};

/// Interval between progress lines if the output is not a terminal.
const SPARSE: Duration = Duration::from_secs(5);

/// Whether a person can answer a prompt.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn colours() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn paint(code: &str, text: &str) -> String {
    if colours() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

pub(crate) fn bold(text: &str) -> String {
    paint("1", text)
}

/// `text` in grey.
pub(crate) fn faint(text: &str) -> String {
    paint("2", text)
}

/// The mark of a passed or failed check.
pub(crate) fn mark(holds: bool) -> String {
    if holds { paint("32", "✓") } else { paint("31", "✗") }
}

/// The mark of a check that did not fail but was not run completely.
pub(crate) fn part_mark() -> String {
    paint("33", "–")
}

/// Prints a heading in bold.
pub(crate) fn heading(text: &str) {
    println!("\n{}", bold(text));
}

/// Frames `lines` in a box, for important messages.
pub(crate) fn banner(lines: &[String]) -> String {
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let rule = "─".repeat(width + 2);
    let mut text = format!("┌{rule}┐\n");
    for line in lines {
        let pad = " ".repeat(width - line.chars().count());
        text.push_str(&format!("│ {line}{pad} │\n"));
    }
    text.push_str(&format!("└{rule}┘"));
    text
}

/// Wraps `text` at spaces to lines of at most `width` characters.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// A progress line: updated in place on a terminal, printed every five seconds otherwise. Removed on drop.
pub(crate) struct Progress {
    terminal: bool,
    started: Instant,
    last: Option<Instant>,
}

impl Progress {
    /// Creates a progress line. It stays hidden until the first [`Progress::show`].
    pub(crate) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), started: Instant::now(), last: None }
    }

    /// Time since this progress line was created.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Replaces the shown text by `text`.
    pub(crate) fn show(&mut self, text: &str) {
        let due = self.last.unwrap_or(self.started).elapsed() >= SPARSE;
        if !self.terminal && due {
            eprintln!("  {text}");
            self.last = Some(Instant::now());
        }
        self.overwrite(text);
    }

    /// Replaces the shown text by `text` on a terminal. Without a terminal it shows nothing.
    pub(crate) fn overwrite(&mut self, text: &str) {
        if self.terminal {
            eprint!("\r\x1b[2K  {text}");
            // A closed terminal must not stop the work.
            let _ = io::stderr().flush();
            self.last = Some(Instant::now());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.last.is_some() {
            eprint!("\r\x1b[2K");
            let _ = io::stderr().flush();
        }
    }
}

/// A bar of `width` characters, filled to the fraction `done` (0 … 1).
pub(crate) fn bar(done: f64, width: usize) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a clamped share of a few characters"
    )]
    let filled = ((done.clamp(0.0, 1.0) * width as f64).round() as usize).min(width);
    format!("{}{}", "━".repeat(filled), "─".repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use super::{banner, bar, wrap};

    #[test]
    fn a_bar_fills_from_the_left_and_never_overflows() {
        assert_eq!(bar(0.0, 4), "────");
        assert_eq!(bar(0.5, 4), "━━──");
        assert_eq!(bar(7.0, 4), "━━━━");
    }

    #[test]
    fn long_text_is_broken_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 4), ["unbreakable"]);
    }

    #[test]
    fn a_banner_is_as_wide_as_its_longest_line() {
        let text = banner(&["a".to_owned(), "bcd".to_owned()]);
        assert_eq!(text, "┌─────┐\n│ a   │\n│ bcd │\n└─────┘");
    }
}
