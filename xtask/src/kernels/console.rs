//! Parses a kernel's console output into the marked sections of `steps.sh`.

use std::collections::BTreeMap;

use protocol::escape::escaped;
use serde_json::Value;

use crate::test_output::{Reader, Tally};

/// Maximum lines shown for a failed test.
const SHOWN_LINES: usize = 8;

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
pub(super) struct Console {
    /// The output of `uname -r`. Empty if the kernel did not reach user space.
    pub(super) release: String,
    pub(super) lacks: Vec<String>,
    /// Whether the last step was reached.
    pub(super) done: bool,
    sections: BTreeMap<String, Section>,
    /// Lines outside all sections, written by the kernel.
    outside: Vec<String>,
}

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
}

impl Console {
    pub(super) fn read(text: &str) -> Self {
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
    pub(super) fn lines(&self, name: &str) -> Vec<&str> {
        let lines = self.sections.get(name).map(|section| section.lines.as_slice()).unwrap_or_default();
        lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect()
    }

    /// The exit code of a section. `None` if it did not end.
    pub(super) fn code(&self, name: &str) -> Option<i32> {
        self.sections.get(name)?.code
    }

    /// The section that has no end mark.
    pub(super) fn unfinished(&self) -> Option<&str> {
        self.sections.iter().find(|(_, section)| section.code.is_none()).map(|(name, _)| name.as_str())
    }

    /// The kernel's crash message, or the last lines of the console if there is none.
    pub(super) fn last_words(&self) -> Vec<&str> {
        let lines = match self.unfinished() {
            Some(name) => self.lines(name),
            None => self.outside.iter().map(String::as_str).collect(),
        };
        let end = |line: &&str| DEATHS.iter().any(|death| line.contains(death));
        let first = lines.iter().position(end).unwrap_or(lines.len().saturating_sub(SHOWN_LINES));
        lines.into_iter().skip(first).take(SHOWN_LINES).collect()
    }

    /// The running probe's answer to `/status`.
    pub(super) fn status(&self) -> Option<Value> {
        serde_json::from_str(&self.lines("status").concat()).ok()
    }

    /// Instructions that the verifier processed for each program, in loading order. 0 if the kernel does not report
    /// them.
    pub(super) fn verified_instructions(&self) -> Vec<u64> {
        let mut programs = BTreeMap::new();
        for line in self.lines("programs") {
            let mut words = line.split_whitespace().skip_while(|word| !word.starts_with("prog_"));
            let fields: BTreeMap<&str, &str> =
                std::iter::from_fn(|| Some((words.next()?, words.next()?))).collect();
            let field = |name: &str| fields.get(name).and_then(|value| value.parse::<u64>().ok());
            if let Some(id) = field("prog_id:") {
                programs.insert(id, field("verified_insns:").unwrap_or(0));
            }
        }
        programs.into_values().collect()
    }

    /// The outcomes of the tests, and the failed tests.
    pub(super) fn tests(&self) -> (Tally, Vec<Failure>) {
        let mut reader = Reader::default();
        let lines = self.lines("tests");
        for line in &lines {
            reader.line(line);
        }
        (reader.tally(), failures(&lines))
    }
}

/// The failed tests, each with its last lines of output.
fn failures(lines: &[&str]) -> Vec<Failure> {
    let names = lines.iter().filter_map(|line| {
        // Output of other tests may appear between a test's name and its outcome.
        line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
    });
    names.map(|name| Failure { name: name.to_owned(), lines: wrote(lines, name) }).collect()
}

fn wrote(lines: &[&str], name: &str) -> Vec<String> {
    let heading = format!("---- {name} stdout ----");
    let output: Vec<&str> = lines
        .iter()
        .skip_while(|line| **line != heading)
        .skip(1)
        .take_while(|line| {
            !line.starts_with("---- ") && **line != "failures:" && !line.starts_with("test result")
        })
        .copied()
        .filter(|line| !line.starts_with("note: run with `RUST_BACKTRACE"))
        .collect();
    output[output.len().saturating_sub(SHOWN_LINES)..].iter().map(|line| shortened(line)).collect()
}

/// Shortens a line to the maximum length and escapes control characters.
pub(super) fn shortened(line: &str) -> String {
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
        @@ begin status\r\n{\"features\":[]}\r\n@@ end status 0\r\n\
        @@ begin programs\r\n\
        pos: 0 flags: 02 mnt_id: 17 prog_type: 8 prog_jited: 1 prog_id: 9 verified_insns: 4299 \r\n\
        pos: 0 flags: 02 mnt_id: 17 prog_type: 8 prog_jited: 1 prog_id: 10 verified_insns: 333 \r\n\
        @@ end programs 0\r\n\
        @@ begin tests\r\n\
        running 2 tests\r\ntest a ... ok\r\ntest b ... FAILED\r\n\r\nfailures:\r\n\r\n---- b stdout ----\r\n\
        thread 'b' panicked\r\nleft: 1\r\n\r\nfailures:\r\n    b\r\n\r\n\
        test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\r\n\
        @@ end tests 101\r\n@@ done\r\n";

    #[test]
    fn a_whole_console_is_understood() {
        let console = Console::read(TEXT);
        assert_eq!((console.release.as_str(), console.done), ("6.1.0-50-cloud-amd64", true));
        assert_eq!(console.lacks, ["something"]);
        assert_eq!((console.code("check"), console.lines("check")), (Some(0), vec!["ok   kernel: 6.1"]));
        assert!(console.status().is_some());
        assert_eq!(console.verified_instructions(), [4299, 333]);
        let (tally, failures) = console.tests();
        assert_eq!((tally.passed, tally.failed, console.code("tests")), (1, 1, Some(101)));
        assert_eq!(failures.len(), 1);
        assert_eq!(
            (failures[0].name.as_str(), failures[0].lines.join("|")),
            ("b", "thread 'b' panicked|left: 1".into())
        );
        assert_eq!(console.unfinished(), None);
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
