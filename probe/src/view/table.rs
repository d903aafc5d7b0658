//! Formats a comparison as a table with a summary line.

use std::fmt::Write as _;

use protocol::escape::escaped;
use protocol::probe_api::{Compare, Comparison};

/// The table and its summary line.
pub(super) fn table(compare: &Compare) -> String {
    let mut text = format!(
        "{:>5}  {:>13}  {:>13}  {:>10}  {:>9}  {:>8}  {:<10}  cause\n",
        "shard", "kernel", "app", "difference", "bound", "hot keys", "verdict"
    );
    for shard in &compare.shards {
        let comparison = &shard.of_shard;
        let line = format!(
            "{:>5}  {:>13}  {:>13}  {:>10}  {:>9}  {:>8}  {:<10}  {}",
            shard.shard_id,
            figure(comparison.kernel),
            figure(comparison.app),
            figure(comparison.difference),
            figure(comparison.bound),
            overlap(compare, shard.shard_id),
            verdict(comparison),
            escaped(comparison.cause.as_deref().unwrap_or_default()),
        );
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text + &outcome(compare).1 + "\n"
}

/// Whether all shards agree, and the summary.
pub(super) fn outcome(compare: &Compare) -> (bool, String) {
    let which = |agrees: Option<bool>, what: [&str; 2]| {
        let shards: Vec<String> = compare
            .shards
            .iter()
            .filter(|shard| shard.of_shard.agrees == agrees)
            .map(|shard| shard.shard_id.to_string())
            .collect();
        match shards.as_slice() {
            [] => None,
            [one] => Some(format!("shard {one} {}", what[0])),
            more => Some(format!("shards {} {}", more.join(", "), what[1])),
        }
    };
    let differ = which(Some(false), ["differs", "differ"]);
    let undecided = which(None, ["has no verdict", "have no verdict"]);
    let against: Vec<String> = differ.into_iter().chain(undecided).collect();
    match (against.is_empty(), compare.shards.len()) {
        (true, 1) => (true, "the shard agrees".to_owned()),
        (true, count) => (true, format!("all {count} shards agree")),
        _ => (false, against.join("; ")),
    }
}

/// The overall result, `result` in JSON.
pub(super) fn result(compare: &Compare) -> &'static str {
    if compare.shards.iter().any(|shard| shard.of_shard.agrees == Some(false)) {
        "differs"
    } else if compare.shards.iter().any(|shard| shard.of_shard.agrees.is_none()) {
        "no_verdict"
    } else {
        "agrees"
    }
}

fn verdict(comparison: &Comparison) -> &'static str {
    match comparison.agrees {
        Some(true) => "agrees",
        Some(false) => "differs",
        None => "no verdict",
    }
}

/// The hot-key overlap of kernel and shard.
fn overlap(compare: &Compare, shard: u32) -> String {
    let keys = compare.hot_keys.shards.iter().find(|keys| keys.shard_id == shard);
    figure(keys.and_then(|keys| keys.of_shard.overlap_ratio).map(|ratio| format!("{:.0} %", ratio * 100.0)))
}

fn figure(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::probe_api::{HotKeyOverlap, OfShard, OfShards};

    fn shard(
        shard_id: u32,
        agrees: Option<bool>,
        difference: i64,
        cause: Option<&str>,
    ) -> OfShard<Comparison> {
        let of_shard = Comparison {
            kernel: Some(1_000_000),
            app: agrees.map(|_| 1_000_000),
            difference: agrees.map(|_| difference),
            bound: agrees.map(|_| 0),
            agrees,
            cause: cause.map(str::to_owned),
            ..Comparison::default()
        };
        OfShard { shard_id, of_shard }
    }

    #[test]
    fn a_table_has_a_row_a_shard_and_says_which_do_not_agree() {
        let shards = vec![
            shard(0, Some(true), 0, None),
            shard(1, Some(false), -3, Some("the shard counted 3 more; segments not parsed: gap 2")),
            shard(2, None, 0, Some("the baseline is being taken")),
        ];
        let of_shard = HotKeyOverlap { overlap_ratio: Some(0.987), ..HotKeyOverlap::default() };
        let hot_keys = OfShards { shards: vec![OfShard { shard_id: 1, of_shard }] };
        let compare = Compare { shards, hot_keys, ..Compare::default() };
        let expected = "\
shard         kernel            app  difference      bound  hot keys  verdict     cause
    0        1000000        1000000           0          0         -  agrees
    1        1000000        1000000          -3          0      99 %  differs     the shard counted 3 more; segments not parsed: gap 2
    2        1000000              -           -          -         -  no verdict  the baseline is being taken
shard 1 differs; shard 2 has no verdict
";
        assert_eq!(table(&compare), expected);
        assert_eq!(result(&compare), "differs");
    }

    #[test]
    fn only_when_all_agree_is_all_well() {
        let of = |verdicts: &[Option<bool>]| Compare {
            taken_at: 0.0,
            shards: (0..).zip(verdicts).map(|(id, agrees)| shard(id, *agrees, 0, None)).collect(),
            ..Compare::default()
        };
        assert_eq!(outcome(&of(&[Some(true); 4])), (true, "all 4 shards agree".to_owned()));
        let undecided = of(&[Some(true), None, None]);
        assert_eq!(outcome(&undecided), (false, "shards 1, 2 have no verdict".to_owned()));
        assert_eq!((result(&undecided), result(&of(&[Some(true)]))), ("no_verdict", "agrees"));
    }

    #[test]
    fn a_cause_cannot_forge_a_line() {
        let hostile = "x\n\u{1b}[1A\rall 4 shards agree\u{202e}";
        let shards = vec![shard(0, Some(false), -3, Some(hostile))];
        let compare = Compare { shards, ..Compare::default() };
        let text = table(&compare);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text:?}");
        assert!(lines[1].ends_with("differs     x\\n\\u{1b}[1A\\rall 4 shards agree\\u{202e}"), "{text:?}");
        assert_eq!(lines[2], "shard 0 differs");
    }
}
