//! Tests the dashboards: source, descriptions, layout, names.

use lab_tests::build;
use lab_tests::catalogue;
use lab_tests::dashboards::{Dashboard, FOLDER, files};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};
use std::process::Command;

/// Panel titles of the first dashboard that must not change, because users refer to them.
const KNOWN: [&str; 10] = [
    "Requests per Shard (rate)",
    "Request Distribution (last 5m)",
    "Shard Load % (Imbalance Detector)",
    "Shard Latency p95",
    "Active Requests per Shard",
    "Top 10 Keys by Access Rate",
    "Hot Keys Detected",
    "Gateway Request Rate",
    "Cache Hit Rate",
    "Gateway Cache Size",
];

/// Panel types that every Grafana 11 and 12 includes.
const TYPES: [&str; 7] = ["timeseries", "stat", "bargauge", "piechart", "heatmap", "table", "state-timeline"];

/// Series that Prometheus creates itself.
const OWN_SERIES: [&str; 3] = ["up", "scrape_duration_seconds", "ALERTS"];

fn all() -> Vec<Dashboard> {
    Dashboard::all(&build::tree().root).unwrap()
}

#[test]
fn the_dashboards_are_those_of_their_source() {
    let source = build::tree().root.join("grafana/source");
    let check = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "checksums.txt"])
        .current_dir(&source)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
    assert!(check.status.success(), "run cargo xtask dashboards --write: {output}");
    let listed = std::fs::read_to_string(source.join("checksums.txt")).unwrap();
    for path in
        [files(&source, "mjs").unwrap(), files(&build::tree().root.join(FOLDER), "json").unwrap()].concat()
    {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(listed.contains(&name), "{name} is not listed; run cargo xtask dashboards --write");
    }
}

#[test]
fn the_panels_people_know_are_there() {
    let all = all();
    let first = all.iter().find(|dashboard| dashboard.title == "Hot Partition Detection").unwrap();
    let titles: BTreeSet<&str> = first.panels().filter_map(|panel| panel["title"].as_str()).collect();
    for title in KNOWN {
        assert!(titles.contains(title), "{title}");
    }
    assert!(first.panels().any(|panel| panel["type"] == "heatmap"), "a heat map, shard by time");
}

#[test]
fn every_panel_is_whole_and_says_what_to_do() {
    let mut uids = HashSet::new();
    for dashboard in all() {
        let title = &dashboard.title;
        let uid = dashboard.json["uid"].as_str().unwrap().to_owned();
        assert!(uid.len() <= 40 && uids.insert(uid), "{title}: a uid of its own");
        assert!(dashboard.json["schemaVersion"].as_u64().is_some_and(|version| version >= 39), "{title}");
        let mut ids = HashSet::new();
        let everything = dashboard.json["panels"].as_array().unwrap();
        assert!(
            everything.iter().all(|panel| ids.insert(panel["id"].as_u64().unwrap())),
            "{title}: ids are unique"
        );
        let mut titles = HashSet::new();
        for panel in dashboard.panels() {
            let name = panel["title"].as_str().unwrap();
            assert!(titles.insert(name), "{title}: two panels {name}");
            assert!(TYPES.iter().any(|kind| panel["type"] == *kind), "{title}: {name}: {}", panel["type"]);
            let about = panel["description"].as_str().unwrap();
            for word in ["**Normal:** ", "**Next:** "] {
                assert!(
                    about
                        .split_once(word)
                        .is_some_and(|(before, after)| before.len() > 20 && after.len() > 3),
                    "{name}: {about}"
                );
            }
            asks_well(title, panel);
        }
    }
}

/// Checks that the panel's queries have a data source, distinct names, and legends that distinguish the series.
fn asks_well(title: &str, panel: &Value) {
    let name = &panel["title"];
    let targets = panel["targets"].as_array().unwrap();
    let mut references = HashSet::new();
    assert!(!targets.is_empty(), "{title}: {name} asks nothing");
    for target in targets {
        assert!(references.insert(target["refId"].as_str().unwrap()), "{title}: {name}: one refId twice");
        for source in [&panel["datasource"], &target["datasource"]] {
            assert_eq!(
                (&source["type"], &source["uid"]),
                (&"prometheus".into(), &"prometheus".into()),
                "{name}"
            );
        }
        assert_ne!(target["instant"], target["range"], "{title}: {name}");
        let drawn = ["timeseries", "heatmap", "state-timeline", "piechart", "bargauge"];
        if drawn.iter().any(|kind| panel["type"] == *kind) {
            assert!(!target["legendFormat"].as_str().unwrap().is_empty(), "{title}: {name} names its series");
        }
    }
}

#[test]
fn panels_lie_on_the_grid_side_by_side() {
    for dashboard in all() {
        let mut taken = HashSet::new();
        for panel in dashboard.json["panels"].as_array().unwrap() {
            let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{}: {} is off the grid", dashboard.title, panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{}: {} lies on another", dashboard.title, panel["title"]);
            }
        }
    }
}

#[test]
fn names_in_queries_exist_and_the_witnesses_meet_nowhere_raw() {
    let families = catalogue::services().unwrap().map(|service| service.families).concat();
    let rules =
        std::fs::read_to_string(build::tree().root.join("deploy/prometheus/rules/recording.yml")).unwrap();
    let recorded: HashSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    for dashboard in all() {
        let variables = dashboard.json["templating"]["list"].as_array().is_some_and(|list| !list.is_empty());
        for query in dashboard.queries() {
            assert!(
                !query.expr.contains("$shard") || variables,
                "{}: $shard is not a variable there",
                query.panel
            );
            let words: Vec<&str> = query
                .expr
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
                .filter(|word| !word.is_empty())
                .collect();
            let known = |word: &str| {
                let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
                families.iter().any(|family| family.name == word || Some(&*family.name) == stem)
                    || recorded.contains(word)
                    || OWN_SERIES.contains(&word)
            };
            let metrics: Vec<&&str> = words.iter().filter(|word| known(word)).collect();
            assert!(!metrics.is_empty(), "{}: {} asks for nothing there is", query.panel, query.expr);
            let prefixed =
                ["gateway_", "gateways_", "shard_", "kernel_", "probe_", "reconciliation_", "hot_partition_"];
            for word in &words {
                let looks_like_one =
                    prefixed.iter().any(|prefix| word.starts_with(prefix)) && *word != "shard_id";
                assert!(!looks_like_one || known(word), "{}: there is no {word}", query.panel);
            }
            let raw = |prefix: &str| {
                metrics.iter().any(|word| word.starts_with(prefix) && word.ends_with("_total"))
            };
            assert!(
                !(raw("kernel_") && (raw("shard_") || raw("gateway_"))),
                "{}: raw counters of kernel and application in one query",
                query.panel
            );
        }
    }
}
