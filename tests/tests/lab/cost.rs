//! The measurement of the probe's cost runs, and says all it should. How much it is, is for an optimised build to say.

use lab_tests::cost::stand::Way;
use lab_tests::cost::watcher::{NOT_THE_PROBE, Watcher};
use lab_tests::cost::{self, Options};
use lab_tests::{build, kernel};

#[test]
fn what_the_probe_costs_is_measured_or_said_to_be_missing() {
    if !kernel::available("what_the_probe_costs_is_measured_or_said_to_be_missing") {
        return;
    }
    let programs = build::binary("probe").parent().unwrap().to_path_buf();
    let options = Options { programs, pairs: 1, requests: 2_000, seed: 1 };
    let report = cost::run(&options, |what| println!("{what}")).unwrap();
    println!("{}", report.text());
    for row in &report.rows {
        match &row.absent {
            Some(why) => assert!(NOT_THE_PROBE.contains(&row.watcher) && !why.is_empty(), "{row:?}"),
            None => assert_eq!(row.pairs.len(), 1, "{row:?}"),
        }
    }
    assert!(report.packets.costs.iter().all(|cost| cost.nanoseconds.median > 0.0), "{:?}", report.packets);
    assert_eq!(report.runs.len(), Way::ALL.len());
    assert!(report.runs.iter().all(|runs| runs.nanoseconds_a_request() > 0.0), "{:?}", report.runs);
    let probes = [Watcher::Probe, Watcher::ProbeOnShards];
    let expected = Way::ALL.into_iter().flat_map(|way| probes.map(|probe| (way, probe)));
    for (verdict, (way, probe)) in report.verdicts().iter().zip(expected) {
        let begin = format!("{}, {}: median loss of throughput ", way.name(), probe.name());
        assert!(verdict.starts_with(&begin) && verdict.contains("HOLD"), "{verdict}");
    }
    // On whatever cgroup, it counts all.
    for row in report.rows.iter().filter(|row| probes.contains(&row.watcher)) {
        let requests =
            |counted: &String| counted.strip_suffix(" requests")?.replace(',', "").parse::<u64>().ok();
        assert_eq!(row.counted.iter().map(requests).sum::<Option<u64>>(), Some(options.requests), "{row:?}");
    }
    let (text, markdown) = (report.text(), report.markdown("command"));
    for row in &report.rows {
        assert!(text.contains(row.watcher.name()) && markdown.contains(row.watcher.name()), "{row:?}");
    }
}
