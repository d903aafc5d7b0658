//! Bodies of `/api/node` at an aggregator: its sums never fall.
//!
//! Input: a report on each line. An empty line ends a second.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe::fuzzing::Sums;
use protocol::probe_api::NodeReport;

/// The aggregator's counters wrap at 2^64, as the kernel's do. Below this no sum of an input reaches that.
const SMALL: u64 = 1 << 48;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut sums = Sums::new(2);
    let mut are_small = true;
    let mut before = sums.counts();
    let mut reports: Vec<NodeReport> = Vec::new();
    for (second, line) in (0..).zip(text.lines().chain([""])) {
        if !line.is_empty() {
            reports.extend(serde_json::from_str::<NodeReport>(line));
            continue;
        }
        are_small &= reports.iter().flat_map(|report| &report.shards).all(|shard| {
            let keys = shard.details.iter().flat_map(|details| &details.keys.keys);
            shard.requests.get < SMALL && shard.requests.set < SMALL && keys.clone().all(|key| key.1 < SMALL)
        });
        sums.observe(second, &reports.iter().collect::<Vec<_>>());
        let now = sums.counts();
        if are_small {
            for ((get, set, keys), (more_get, more_set, more_keys)) in before.iter().zip(&now) {
                assert!(more_get >= get && more_set >= set && more_keys >= keys, "{before:?} {now:?}");
            }
        }
        before = now;
        reports.clear();
    }
});
