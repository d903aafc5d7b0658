//! Parses a console output into the marked sections of its steps.

use std::collections::BTreeMap;

use protocol::escape::escaped;
/// Maximum lines shown of an end without success.
pub(crate) const SHOWN_LINES: usize = 8;

/// Maximum characters shown of a line. The verifier writes long lines, and the beginnings are sufficient.
const SHOWN_CHARACTERS: usize = 160;

/// Prefixes of the kernel's crash messages.
const DEATHS: [&str; 4] = ["traps: PANIC", "BUG: ", "Oops: ", "Kernel panic"];

/// One section: the lines between its begin and end marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Section {
    lines: Vec<String>,
    /// The exit code. `None` if the section has no end mark.
    code: Option<i32>,
}

/// A console output, split into sections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Console {
    /// The output of `uname -r`. Empty if the kernel did not reach user space.
    pub(crate) release: String,
    pub(crate) lacks: Vec<String>,
    /// Whether the last step was reached.
    pub(crate) done: bool,
    sections: BTreeMap<String, Section>,
    /// Lines outside all sections, written by the kernel.
    outside: Vec<String>,
}

impl Console {
    pub(crate) fn read(text: &str) -> Self {
        let mut console = Self::default();
        let mut open: Option<String> = None;
        for line in text.lines() {
            let line = line.trim_end();
            let Some(mark) = line.strip_prefix("@@ ") else {
                match &open {
                    Some(name) => console.section(name).lines.push(line.to_owned()),
                    None if !line.is_empty() => console.outside.push(line.to_owned()),
                    None => {}
                }
                continue;
            };
            match mark.split_once(' ') {
                Some(("release", release)) => console.release = release.to_owned(),
                Some(("lacks", what)) => console.lacks.push(what.to_owned()),
                Some(("begin", name)) => {
                    console.section(name);
                    open = Some(name.to_owned());
                }
                Some(("end", rest)) => {
                    let (name, code) = rest.split_once(' ').unwrap_or((rest, ""));
                    console.section(name).code = code.parse().ok();
                    open = None;
                }
                _ => console.done |= mark == "done",
            }
        }
        console
    }

    fn section(&mut self, name: &str) -> &mut Section {
        self.sections.entry(name.to_owned()).or_default()
    }

    /// The non-empty lines of a section.
    pub(crate) fn lines(&self, name: &str) -> Vec<&str> {
        let lines = self.sections.get(name).map(|section| section.lines.as_slice()).unwrap_or_default();
        lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect()
    }

    /// The exit code of a section. `None` if it did not end.
    pub(crate) fn code(&self, name: &str) -> Option<i32> {
        self.sections.get(name)?.code
    }

    /// The section that has no end mark.
    pub(crate) fn unfinished(&self) -> Option<&str> {
        self.sections.iter().find(|(_, section)| section.code.is_none()).map(|(name, _)| name.as_str())
    }

    /// The kernel's crash message, or the last lines of the console if there is none.
    pub(crate) fn last_words(&self) -> Vec<&str> {
        let lines = match self.unfinished() {
            Some(name) => self.lines(name),
            None => self.outside.iter().map(String::as_str).collect(),
        };
        let end = |line: &&str| DEATHS.iter().any(|death| line.contains(death));
        let first = lines.iter().position(end).unwrap_or(lines.len().saturating_sub(SHOWN_LINES));
        lines.into_iter().skip(first).take(SHOWN_LINES).collect()
    }
}

/// Shortens a line to the maximum length and escapes control characters.
pub(crate) fn shortened(line: &str) -> String {
    match line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", escaped(&line[..end])),
        None => escaped(line),
    }
}

#[cfg(test)]
mod tests {
    use super::Console;

    const TEXT: &str = "[    1.0] booting\r\n\
        @@ release 6.1.0-50-cloud-amd64\r\n\
        @@ lacks something\r\n\
        @@ begin check\r\nok   kernel: 6.1\r\n@@ end check 0\r\n\
        @@ begin tests\r\ntest a ... ok\r\ntest b ... FAILED\r\n@@ end tests 101\r\n@@ done\r\n";

    #[test]
    fn a_whole_console_is_understood() {
        let console = Console::read(TEXT);
        assert_eq!((console.release.as_str(), console.done), ("6.1.0-50-cloud-amd64", true));
        assert_eq!(console.lacks, ["something"]);
        assert_eq!((console.code("check"), console.lines("check")), (Some(0), vec!["ok   kernel: 6.1"]));
        assert_eq!((console.code("tests"), console.unfinished()), (Some(101), None));
    }

    #[test]
    fn a_silent_console_is_reported_with_its_last_step() {
        let cut = &TEXT[..TEXT.find("test b").expect("there")];
        let console = Console::read(cut);
        assert!(!console.done);
        assert_eq!(console.unfinished(), Some("tests"));
        assert_eq!(console.last_words().last(), Some(&"test a ... ok"));
    }

    #[test]
    fn a_kernel_that_does_not_boot_has_its_own_last_words() {
        let console = Console::read("Kernel panic - not syncing: no init\r\n");
        assert!(console.release.is_empty());
        assert_eq!(console.last_words(), ["Kernel panic - not syncing: no init"]);
        let long = format!("@@ begin tests\r\nBUG: it\r\n{}", "more\r\n".repeat(20));
        assert_eq!(Console::read(&long).last_words()[..2], ["BUG: it", "more"]);
    }
}
