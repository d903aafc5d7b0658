//! Parses and filters the output of `cargo test -- --show-output`.

use std::collections::BTreeMap;

/// Outcomes of all test programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed and were not skipped.
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Name and reason of each skipped or ignored test.
    pub(crate) skipped: BTreeMap<String, String>,
}

/// Parses test output line by line.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Passed tests by libtest's count, which includes skipped tests that return early.
    counted_as_passed: u64,
    failed: u64,
    skipped: BTreeMap<String, String>,
    ignored: BTreeMap<String, String>,
    hides: bool,
}

impl Reader {
    /// Parses one line and returns whether to show it. Output of passed tests is not shown.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        if let Some((name, why)) = skipped(line) {
            self.skipped.insert(name.to_owned(), why.to_owned());
        } else if let Some((name, why)) = ignored(line) {
            self.ignored.insert(name.to_owned(), why.to_owned());
        } else if let Some((passed, failed)) = result(line) {
            self.counted_as_passed += passed;
            self.failed += failed;
        }
        match line {
            "successes:" => self.hides = true,
            "failures:" => self.hides = false,
            _ if line.starts_with("test result: ") => self.hides = false,
            _ => {}
        }
        !self.hides
    }

    /// Returns the outcomes. Call it after the last line.
    pub(crate) fn tally(self) -> Tally {
        let output = u64::try_from(self.skipped.len()).unwrap_or(u64::MAX);
        let mut skipped = self.ignored;
        skipped.extend(self.skipped);
        Tally { passed: self.counted_as_passed.saturating_sub(output), failed: self.failed, skipped }
    }
}

/// Name and reason in a line `SKIPPED name: why`. With uncaptured output the line may follow libtest's `test name ...
/// `.
fn skipped(line: &str) -> Option<(&str, &str)> {
    let output = &line[line.find("SKIPPED ")?..];
    let (name, why) = output.strip_prefix("SKIPPED ")?.split_once(": ")?;
    (!name.is_empty() && !name.contains(' ')).then(|| (name, why.trim()))
}

/// Name and reason in a line `test name ... ignored, why`.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, why) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let why = why.trim_start_matches(',').trim();
    Some((name, if why.is_empty() { "ignored" } else { why }))
}

/// Passed and failed counts in a line `test result: ok. 3 passed; 0 failed; …`.
fn result(line: &str) -> Option<(u64, u64)> {
    let counts = line.strip_prefix("test result: ")?;
    let count = |what: &str| -> Option<u64> {
        counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
    };
    Some((count(" passed")?, count(" failed")?))
}

#[cfg(test)]
mod tests {
    use super::Reader;

    const OUTPUT: &str = "
running 4 tests
test attach::drops_capabilities ... ok
test plain ... ok
test slow ... ignored, needs an hour
test wrong ... FAILED

successes:

---- attach::drops_capabilities stdout ----
SKIPPED attach::drops_capabilities: needs root

successes:
    attach::drops_capabilities
    plain

failures:

---- wrong stdout ----
assertion failed

failures:
    wrong

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test
test other ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn skipped_tests_are_named_and_not_counted_as_passed() {
        let mut reader = Reader::default();
        for line in OUTPUT.lines() {
            reader.line(line);
        }
        let tally = reader.tally();
        assert_eq!((tally.passed, tally.failed), (2, 1));
        let skipped: Vec<(&str, &str)> =
            tally.skipped.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
        assert_eq!(skipped, [("attach::drops_capabilities", "needs root"), ("slow", "needs an hour")]);
    }

    #[test]
    fn what_passing_tests_wrote_is_hidden_and_failures_are_not() {
        let mut reader = Reader::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| reader.line(line)).collect();
        assert!(!shown.iter().any(|line| line.contains("stdout ----") && line.contains("attach")));
        assert!(shown.contains(&"assertion failed"));
        assert!(shown.contains(&"test other ... ok"));
    }

    #[test]
    fn a_skip_is_seen_behind_libtests_own_words() {
        let mut reader = Reader::default();
        reader.line("test kernel::counts ... SKIPPED kernel::counts: no CAP_BPF");
        reader.line("the word SKIPPED alone means nothing");
        assert_eq!(reader.tally().skipped.len(), 1);
    }
}
