//! Checks an output for expected lines.

/// Returns the first expected line that is missing from `output`.
///
/// Lines must appear in the order of `expected`. An output line matches if it contains the parts between `*` in
/// order.
pub(super) fn first_missing<'a>(expected: &'a [String], output: &str) -> Option<&'a str> {
    let mut lines = output.lines();
    expected.iter().find(|wanted| !lines.any(|line| has(line, wanted))).map(String::as_str)
}

fn has(line: &str, wanted: &str) -> bool {
    let mut rest = line;
    wanted.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::first_missing;

    #[test]
    fn lines_are_found_in_their_order_and_with_gaps() {
        let found = |expected: &[&str], output: &str| {
            let expected: Vec<String> = expected.iter().map(|&line| line.to_owned()).collect();
            first_missing(&expected, output).map(str::to_owned)
        };
        let output = "begin\n  Shard 0: 100 accesses\nShard 1: 0 accesses\n";
        assert_eq!(found(&["Shard 0: 100 accesses", "Shard 1: 0"], output), None);
        assert_eq!(found(&["Shard*100*s", "Shard*0"], output), None);
        assert_eq!(found(&["Shard 1", "Shard 0"], output), Some("Shard 0".into()), "order");
        assert_eq!(found(&["Shard 0: 1 accesses"], output), Some("Shard 0: 1 accesses".into()));
        assert_eq!(found(&["accesses*Shard"], output), Some("accesses*Shard".into()), "one line");
        assert_eq!(found(&["x"], ""), Some("x".into()));
        assert_eq!(found(&[], ""), None);
    }
}
