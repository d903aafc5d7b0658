//! Tests that docs/metrics.md matches the registered metrics.

use lab_tests::{build, catalogue};

#[test]
fn the_list_of_metrics_is_up_to_date() {
    let root = build::tree().root;
    let is = std::fs::read_to_string(root.join(catalogue::FILE)).unwrap_or_default();
    let should = catalogue::markdown(&root).unwrap();
    let missing = should.lines().find(|line| !is.lines().any(|other| other == *line));
    let (file, command) = (catalogue::FILE, catalogue::COMMAND);
    assert!(is == should, "{file} is out of date; run {command}. The first line that differs: {missing:?}");
}

#[test]
fn names_and_labels_follow_prometheus_conventions() {
    for family in catalogue::services().unwrap().into_iter().flat_map(|service| service.families) {
        let counter = family.kind == "counter";
        assert_eq!(
            family.name.ends_with("_total"),
            counter,
            "{}: a counter, and nothing else, ends with _total",
            family.name
        );
        assert!(!family.help.is_empty() && family.kind != "untyped", "{family:?}");
        let bound = catalogue::bound(&family).unwrap();
        assert!((1..=100).contains(&bound), "{} may have {bound} series", family.name);
    }
}
