//! The cost measurement runs and reports all its results.
//!
//! This test does not check the cost itself, which needs an optimised build.

use lab_tests::{build, kernel};
use measure::cost::{self, Options, Watcher};

/// Small, because a debug build is slow.
const REQUESTS: u64 = 120;

const NAME: &str = "what_the_probe_costs_is_measured_or_said_to_be_missing";

#[test]
fn what_the_probe_costs_is_measured_or_said_to_be_missing() {
    if !kernel::available(NAME) {
        return;
    }
    let programs = build::binary("probe").parent().unwrap().to_path_buf();
    let options = Options { programs, pairs: 1, requests: REQUESTS, seed: 1 };
    let report = cost::run(&options, |what| println!("{what}")).unwrap();
    println!("{}", report.text());
    assert_eq!(report.rows.iter().map(|row| row.watcher).collect::<Vec<_>>(), Watcher::ALL);
    for row in &report.rows {
        match (row.watcher, &row.absent) {
            (Watcher::Nftables | Watcher::Bpftrace | Watcher::Tcpdump, Some(why)) => assert!(!why.is_empty()),
            (watcher, absent) => {
                assert_eq!((row.pairs.len(), absent), (1, &None), "{row:?}");
                // The probe counts all requests: two runs of half of the requests each.
                let expected = if watcher == Watcher::Probe { "60 requests" } else { "" };
                assert!(row.counted.iter().all(|counted| counted.starts_with(expected)), "{row:?}");
                assert_eq!(row.counted.len(), 2, "{row:?}");
            }
        }
    }
    assert!(report.statistics.recorded.median > 0.0, "{:?}", report.statistics);
    assert!(report.nanoseconds(&report.http).is_some_and(|found| found.median > 0.0), "{:?}", report.http);
    match &report.resp {
        Ok(runs) => assert!(report.nanoseconds(runs).is_some_and(|found| found.median > 0.0), "{runs:?}"),
        Err(why) => assert!(why.contains("redis"), "{why}"),
    }
    let verdict = report.verdict();
    assert!(
        verdict.starts_with("probe: median loss of throughput ") && verdict.contains("HOLD"),
        "{verdict}"
    );
    let (text, markdown) = (report.text(), report.markdown());
    for row in &report.rows {
        assert!(text.contains(row.watcher.name()) && markdown.contains(row.watcher.name()), "{row:?}");
    }
}
