//! The cost measurement runs and reports all its results.
//!
//! This test does not check the cost itself, which needs an optimised build.

use lab_tests::{build, k6, kernel};
use measure::cost::testbed::TrafficPath;
use measure::cost::watcher::Watcher;
use measure::cost::{self, Options};

/// Small, because a debug build is slow.
const SLICE: u64 = 30;
const SLICES: u64 = 4;

const NAME: &str = "what_the_probe_costs_is_measured_or_said_to_be_missing";

#[test]
fn what_the_probe_costs_is_measured_or_said_to_be_missing() {
    if !kernel::available(NAME) {
        return;
    }
    let k6 = k6::available(NAME);
    let has_k6 = k6.is_some();
    let programs = build::binary("probe").parent().unwrap().to_path_buf();
    let options = Options { programs, k6, pairs: 1, requests: SLICE * SLICES, slices: SLICES, seed: 1 };
    let report = cost::run(&options, |what| println!("{what}")).unwrap();
    println!("{}", report.text());
    let others = [Watcher::Nftables, Watcher::Bpftrace, Watcher::Tcpdump];
    for row in &report.rows {
        match &row.absent {
            Some(why) if row.path == TrafficPath::K6 => {
                assert!(!has_k6 && why.starts_with("k6 is not installed"), "{row:?}");
            }
            Some(why) => assert!(others.contains(&row.watcher) && !why.is_empty(), "{row:?}"),
            None => assert_eq!(row.pairs.len(), 1, "{row:?}"),
        }
    }
    assert!(report.packets.costs.iter().all(|cost| cost.nanoseconds.median > 0.0), "{:?}", report.packets);
    assert_eq!(report.runs.len(), TrafficPath::NATIVE.len());
    assert!(report.runs.iter().all(|runs| runs.nanoseconds_a_request() > 0.0), "{:?}", report.runs);
    let probes =
        report.rows.iter().filter(|row| matches!(row.watcher, Watcher::Probe | Watcher::ProbeOnShards));
    let probes: Vec<_> = probes.collect();
    assert_eq!(probes.len(), 7, "{probes:?}");
    assert_eq!(report.verdicts().len(), probes.len());
    for (verdict, row) in report.verdicts().iter().zip(probes) {
        let begin = format!("{}, {}: ", row.path.name(), row.watcher.name());
        let said = verdict.strip_prefix(&begin).unwrap_or_else(|| panic!("{verdict}"));
        if row.absent.is_some() {
            assert!(said.starts_with("not measured: k6 is not installed"), "{verdict}");
            continue;
        }
        assert!(said.starts_with("median loss of throughput ") && said.contains("HOLD"), "{verdict}");
        // A watcher on any cgroup counts all requests: two runs, or slices, of half of the requests each. Side by
        // side it also counts the slices that warm up the lab.
        let expected = match (row.watcher, row.path) {
            (Watcher::Probe, _) => "60 requests",
            (_, TrafficPath::Straight) => "2,160 requests",
            _ => "540 requests",
        };
        assert_eq!(row.counted, [expected; 2], "{row:?}");
    }
    let (text, markdown) = (report.text(), report.markdown("command"));
    for row in &report.rows {
        assert!(text.contains(row.watcher.name()) && markdown.contains(row.watcher.name()), "{row:?}");
    }
}
