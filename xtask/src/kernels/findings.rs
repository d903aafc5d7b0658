//! Reads what `steps.sh` found from its console output.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::guest::{Console, SHOWN_LINES, shortened};
use crate::test_output::{Reader, Tally};

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
}

/// The running probe's answer to `/status`.
pub(super) fn status(console: &Console) -> Option<Value> {
    serde_json::from_str(&console.lines("status").concat()).ok()
}

/// Instructions that the verifier processed for each program, in loading order. 0 if the kernel does not report
/// them.
pub(super) fn verified_instructions(console: &Console) -> Vec<u64> {
    let mut programs = BTreeMap::new();
    for line in console.lines("programs") {
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
pub(super) fn tests(console: &Console) -> (Tally, Vec<Failure>) {
    let mut reader = Reader::default();
    let lines = console.lines("tests");
    for line in &lines {
        reader.line(line);
    }
    (reader.tally(), failures(&lines))
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

#[cfg(test)]
mod tests {
    use super::{status, tests, verified_instructions};
    use crate::guest::Console;

    const TEXT: &str = "@@ begin status\r\n{\"features\":[]}\r\n@@ end status 0\r\n\
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
    fn all_findings_are_understood() {
        let console = Console::read(TEXT);
        assert!(status(&console).is_some());
        assert_eq!(verified_instructions(&console), [4299, 333]);
        let (tally, failures) = tests(&console);
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(failures.len(), 1);
        assert_eq!(
            (failures[0].name.as_str(), failures[0].lines.join("|")),
            ("b", "thread 'b' panicked|left: 1".into())
        );
    }
}
