//! Tests Prometheus configuration, rules, and when alerts fire.

use lab_tests::{build, prometheus};
use std::process::Command;

/// Folder of the configuration, relative to the repository root.
const FOLDER: &str = "deploy/prometheus";

/// promtool's output on the files of `folder`. promtool must succeed.
fn promtool(arguments: &[&str], folder: &str, extension: &str) -> String {
    let root = build::tree().root;
    let mut files: Vec<_> =
        std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(extension));
    assert!(!files.is_empty(), "{folder} has files");
    let output = Command::new("promtool").args(arguments).args(files).output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {printed}");
    printed
}

#[test]
fn promtool_takes_configuration_and_rules() {
    if prometheus::available("promtool_takes_configuration_and_rules", "promtool") {
        promtool(&["check", "config", "--lint-fatal"], FOLDER, "prometheus.yml");
        promtool(&["check", "rules", "--lint-fatal"], &format!("{FOLDER}/rules"), ".yml");
    }
}

#[test]
fn alerts_fire_when_they_must_and_only_then() {
    if prometheus::available("alerts_fire_when_they_must_and_only_then", "promtool") {
        promtool(&["test", "rules"], &format!("{FOLDER}/tests"), ".yml");
    }
}

#[test]
fn every_alert_has_its_words_its_page_and_a_test_of_both_kinds() {
    let read = |path: &str| std::fs::read_to_string(build::tree().root.join(path)).unwrap();
    let (rules, tests, page) = (
        read("deploy/prometheus/rules/alerts.yml"),
        read("deploy/prometheus/tests/alerts.yml"),
        read("docs/alerts.md"),
    );
    let mut alerts = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        for word in ["summary:", "description:", "severity:"] {
            assert!(rule.contains(word), "{name} has no {word}");
        }
        let anchor = name.to_lowercase();
        assert!(rule.contains(&format!("runbook_url: docs/alerts.md#{anchor}\n")), "{name} names its page");
        assert!(page.contains(&format!("\n## {name}\n")), "docs/alerts.md has a section {name}");
        let expectations =
            tests.split("- eval_time:").filter(|part| part.contains(&format!("alertname: {name}\n")));
        let (quiet, loud): (Vec<_>, Vec<_>) = expectations.partition(|part| part.contains("exp_alerts: []"));
        assert!(!quiet.is_empty() && !loud.is_empty(), "{name} has a case that fires and one that does not");
        alerts += 1;
    }
    assert!(alerts >= 5, "{alerts} alerts");
}
