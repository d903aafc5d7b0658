//! Reads by key: compares the server's counts with the kernel's table.

use std::collections::HashMap;

/// Reads by key, with the key as in the path.
pub(crate) type KeyCounts = HashMap<String, u64>;

/// The kernel's table for one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyTable {
    /// Number of evicted keys.
    pub(crate) evictions: u64,
    /// By key as the probe displays it: the reads since the key entered the table, and an upper bound of those
    /// before.
    pub(crate) keys: HashMap<String, (u64, u64)>,
}

/// A key with at least one read in this many has more than an eighth of its set's reads. It must be in the table, and
/// its count must be exact if it came early.
const HOT_PART: u64 = 100;

/// The longest key, as sent, that the kernel keeps whole.
const WHOLE: usize = 64;

/// Compares the counts. `lossless` means that every read was counted. Returns a note if the table was too small for
/// all keys.
pub(crate) fn compare(truth: &KeyCounts, table: &KeyTable, lossless: bool) -> Result<Option<String>, String> {
    let mut expected: HashMap<String, u64> = HashMap::new();
    for (sent, count) in truth {
        *expected.entry(shown(sent, table)).or_default() += count;
    }
    for (key, (requests, error)) in &table.keys {
        let count = expected.get(key).copied().unwrap_or_default();
        if *requests > count || (lossless && requests + error < count) {
            return Err(format!("key {key:?}: {requests} counted, error {error}, {count} sent"));
        }
    }
    if lossless && table.evictions == 0 {
        let missing = expected.iter().find(|(key, _)| !table.keys.contains_key(*key));
        return missing
            .map_or(Ok(None), |(key, count)| Err(format!("key {key:?}: sent {count} times, not there")));
    }
    if table.evictions == 0 {
        return Ok(None);
    }
    let (hottest, sent) = expected.iter().max_by_key(|(_, count)| **count).ok_or("no key was sent")?;
    let all: u64 = expected.values().sum();
    let counted = table.keys.get(hottest).copied();
    let is_hot = *sent >= all / HOT_PART;
    if is_hot && counted != Some((*sent, 0)) {
        return Err(format!("the hottest key {hottest:?}: {sent} sent, counted as {counted:?}"));
    }
    let largest = table.keys.values().map(|(_, error)| error).max().copied().unwrap_or_default();
    let hot = if is_hot { format!("the hottest is exact ({sent}); ") } else { String::new() };
    Ok(Some(format!(
        "{} of {} keys are in the table; {hot}the others are within their errors (at most {largest})",
        table.keys.len(),
        expected.len()
    )))
}

/// Returns a key as the probe displays it.
fn shown(sent: &str, table: &KeyTable) -> String {
    if sent.len() > WHOLE {
        // The displayed name has a hash and the key's end. The end is enough, because the long keys of a row have
        // different ends.
        let is_its = |name: &&String| {
            name.split_once('…').is_some_and(|(hash, end)| hash.starts_with('#') && sent.ends_with(end))
        };
        return table.keys.keys().find(is_its).cloned().unwrap_or_else(|| sent.to_owned());
    }
    protocol::Key::from_path_segment(sent).map_or_else(|_| sent.to_owned(), |key| key.as_str().to_owned())
}

/// Returns the key in a request's target.
pub(crate) fn of_target(target: &str) -> Option<&str> {
    target.strip_prefix("/data/")?.split(['?', '#']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(evictions: u64, keys: &[(&str, u64, u64)]) -> KeyTable {
        let keys = keys.iter().map(|(key, requests, error)| ((*key).to_owned(), (*requests, *error)));
        KeyTable { evictions, keys: keys.collect() }
    }

    fn sent(keys: &[(&str, u64)]) -> KeyCounts {
        keys.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect()
    }

    #[test]
    fn a_whole_table_must_be_equal() {
        let truth = sent(&[("a", 2), ("%61", 1), ("b", 1)]);
        assert_eq!(compare(&truth, &table(0, &[("a", 3, 0), ("b", 1, 0)]), true), Ok(None));
        assert!(compare(&truth, &table(0, &[("a", 3, 0)]), true).is_err());
        assert!(compare(&truth, &table(0, &[("a", 2, 0), ("b", 1, 0)]), true).is_err());
        assert!(compare(&truth, &table(0, &[("a", 3, 0), ("b", 2, 0)]), false).is_err());
        assert_eq!(compare(&truth, &table(0, &[("a", 2, 0)]), false), Ok(None));
    }

    #[test]
    fn a_full_table_must_hold_the_hottest_and_bound_the_others() {
        let truth = sent(&[("hot", 9), ("a", 2), ("b", 1)]);
        assert!(compare(&truth, &table(1, &[("hot", 9, 0), ("a", 1, 1)]), true).unwrap().is_some());
        assert!(compare(&truth, &table(1, &[("hot", 8, 1), ("a", 1, 1)]), true).is_err());
        assert!(compare(&truth, &table(1, &[("hot", 9, 0), ("a", 1, 0)]), true).is_err());
    }
}
