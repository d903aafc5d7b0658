//! Tests that the k6 scripts match the generator's scenarios.
//!
//! All witnesses must count equal requests.

use clap::ValueEnum as _;
use lab_tests::k6::{self, Run};
use lab_tests::lab::{Lab, Options, SHARDS};
use load::keys::Distribution;
use load::scenario::{Operation, Scenario, Stream};
use protocol::Key;
use protocol::body::GatewayCounts;
use serde_json::{Value, json};
use std::path::Path;

/// Maximum attempts for a run when this machine was too busy.
const ATTEMPTS: u32 = 5;
/// Seconds of load of each script.
const SECONDS: f64 = 3.0;

fn name_of(scenario: Scenario) -> String {
    scenario.to_possible_value().unwrap().get_name().to_owned()
}

fn milliseconds(part: f64, seconds: f64) -> String {
    format!("{}ms", (part * seconds * 1_000.0).round())
}

#[test]
fn scripts_have_the_generators_rates_limits_times_and_thresholds() {
    let Some(k6) = k6::available("scripts_have_the_generators_rates_limits_times_and_thresholds") else {
        return;
    };
    for scenario in Scenario::value_variants() {
        let name = name_of(*scenario);
        let options = k6::inspect(&k6, &name, &[]).unwrap();
        has_facts_of(&options, *scenario, 1.0, 120.0);
        let shortened = k6::inspect(&k6, &name, &[("DURATION", "30"), ("RATE_FACTOR", "2.5")]).unwrap();
        has_facts_of(&shortened, *scenario, 2.5, 30.0);
    }
}

fn has_facts_of(options: &Value, scenario: Scenario, factor: f64, seconds: f64) {
    let streams = scenario.streams(factor).unwrap();
    let scenarios = options["scenarios"].as_object().unwrap();
    assert_eq!(scenarios.len(), streams.len(), "{scenario:?}");
    // Like `load`, a script waits after it switches the cache on, but only in a full-length run.
    let wait = if scenario.caches() && seconds >= 120.0 { 5.0 } else { 0.0 };
    for stream in &streams {
        let script = &scenarios[stream.name];
        assert_eq!(script["executor"], "constant-arrival-rate", "{scenario:?}");
        let unit = if script["timeUnit"] == "1s" { 1.0 } else { 100.0 };
        let rate = script["rate"].as_f64().unwrap() / unit;
        assert!((rate - stream.rate).abs() < 0.01, "{scenario:?}: {rate} instead of {}", stream.rate);
        assert_eq!(script["maxVUs"], stream.max_in_flight, "{scenario:?} {}", stream.name);
        let (from, to) = stream.window;
        assert_eq!(
            duration(&script["startTime"]),
            milliseconds(from + wait / seconds, seconds),
            "{scenario:?}"
        );
        assert_eq!(duration(&script["duration"]), milliseconds(to - from, seconds), "{scenario:?}");
    }
    let limits = scenario.thresholds();
    let thresholds = &options["thresholds"];
    assert_eq!(thresholds["request_latency"], json!([format!("p(95)<{}", limits.p95_ms)]), "{scenario:?}");
    assert_eq!(thresholds["errors"], json!([format!("rate<{}", limits.error_share)]), "{scenario:?}");
    assert_eq!(thresholds["dropped_iterations"], json!(["count==0"]), "{scenario:?}");
    assert!(options["summaryTrendStats"].as_array().unwrap().contains(&json!("p(99)")), "{scenario:?}");
}

/// Converts a k6 duration such as `2m0s`, `2.5s` or `500ms` to whole milliseconds.
fn duration(text: &Value) -> String {
    let (mut all, mut number) = (0.0, String::new());
    let mut rest = text.as_str().unwrap_or("0s").chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_ascii_digit() || c == '.' {
            number.push(c);
            continue;
        }
        let thousandth = c == 'm' && rest.next_if_eq(&'s').is_some();
        let unit = match c {
            _ if thousandth => 1.0,
            'h' => 3_600_000.0,
            'm' => 60_000.0,
            _ => 1_000.0,
        };
        all += unit * std::mem::take(&mut number).parse::<f64>().unwrap();
    }
    format!("{}ms", all.round())
}

#[test]
fn the_old_scripts_users_are_allocated_as_before() {
    let Some(k6) = k6::available("the_old_scripts_users_are_allocated_as_before") else { return };
    for (name, stream, allocated, most) in [
        ("uniform", "user", 20, 50),
        ("zipfian", "user", 20, 50),
        ("celebrity", "celebrity", 30, 100),
        ("celebrity", "normal", 10, 30),
        ("with-caching", "celebrity", 30, 100),
        ("with-caching", "normal", 10, 30),
    ] {
        let script = &k6::inspect(&k6, name, &[]).unwrap()["scenarios"][stream];
        assert_eq!(
            (&script["preAllocatedVUs"], &script["maxVUs"]),
            (&json!(allocated), &json!(most)),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_runs_and_is_counted_alike_by_k6_gateway_and_shards() {
    let Some(k6) = k6::available("every_script_runs_and_is_counted_alike_by_k6_gateway_and_shards") else {
        return;
    };
    let lab = Lab::start(Options::default()).await;
    for scenario in Scenario::value_variants() {
        if scenario.absent_key().is_none() {
            runs_and_is_counted_alike(&k6, &lab, *scenario).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_there_is_asked_for_in_small_shards_alone() {
    let Some(k6) = k6::available("a_key_that_is_not_there_is_asked_for_in_small_shards_alone") else {
        return;
    };
    let name = name_of(Scenario::Celebrity404);
    {
        let lab = Lab::start(Options::default()).await;
        let refused =
            k6::run(&k6, &name, &[("BASE_URL", &lab.at_gateway("")), ("DURATION", "1")]).await.unwrap();
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!(refused.errors.contains("start the lab with SHARD_MAX_KEYS=200"), "{}", refused.errors);
    }
    let shard = vec![("SHARD_MAX_KEYS", "200".to_owned())];
    let lab = Lab::start(Options { shard, ..Options::default() }).await;
    runs_and_is_counted_alike(&k6, &lab, Scenario::Celebrity404).await;
}

async fn runs_and_is_counted_alike(k6: &Path, lab: &Lab, scenario: Scenario) {
    // A higher rate makes the shares significant in a short run.
    let factor = if matches!(scenario, Scenario::Uniform | Scenario::Zipfian) { 8.0 } else { 1.0 };
    let (run, received) = attempt(k6, lab, scenario, factor).await;
    let summary = &run.summary;
    assert_eq!(run.code, Some(0), "{scenario:?}: {run:#?}");
    assert_eq!(summary["scenario"], scenario.title());
    assert_eq!(run.errors, "", "{scenario:?}");
    let streams = scenario.streams(factor).unwrap();
    let data = says_what_was_sent(summary, &streams);
    assert_eq!((&summary["requests"], &summary["errors"]), (&json!(data), &json!(0)), "{summary:#}");
    passes_all_checks_and_thresholds(summary, scenario);

    let stats = lab.gateway_stats().await;
    let upstream: Vec<u64> = summary["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["upstream_requests"].as_u64().unwrap())
        .collect();
    let sent: Vec<u64> = stats.shard_requests.iter().map(|shard| shard.requests).collect();
    if scenario.absent_key().is_some() {
        // The script's setup fills a shard through the gateway. A 404 answer has no shard id.
        assert_eq!(summary["gateway"]["total_requests"], data, "{summary:#}");
        let set_up = stats.total_requests - data;
        assert_eq!(received.iter().sum::<u64>(), data + set_up, "shards, {scenario:?}");
    } else {
        assert_eq!(stats.total_requests, data, "gateway, {scenario:?}");
        assert_eq!(upstream, sent, "k6 and gateway, {scenario:?}");
        assert_eq!(upstream, received, "k6 and shards, {scenario:?}");
    }
    for (name, counted) in
        [("cache_hits", stats.cache_hits), ("coalesced", stats.cache_coalesced), ("dropped_iterations", 0)]
    {
        assert_eq!(summary[name], counted, "{scenario:?} {name}");
    }
    let celebrity: u64 =
        stats.top_keys.iter().filter(|k| k.key.as_str().starts_with("celebrity-")).map(|k| k.count).sum();
    let unread = u64::from(scenario.absent_key().is_some());
    assert_eq!(summary["http_reqs"]["celebrity"], celebrity - unread, "by the gateway's keys, {scenario:?}");
    assert_eq!(summary["top_10_keys"][0]["key"], stats.top_keys[0].key.as_str(), "{scenario:?}");
    near_the_prediction(summary, scenario, &streams);
}

/// Resets and runs a script until this machine keeps its rate. Returns the run, and the requests that each shard
/// received.
async fn attempt(k6: &Path, lab: &Lab, scenario: Scenario, factor: f64) -> (Run, Vec<u64>) {
    let (url, seconds, factor) = (lab.at_gateway(""), SECONDS.to_string(), factor.to_string());
    let settings = [("BASE_URL", &*url), ("DURATION", &*seconds), ("RATE_FACTOR", &*factor), ("SEED", "7")];
    for number in 1.. {
        let reset = lab.client.post(lab.at_gateway("/admin/reset")).send().await.unwrap();
        assert_eq!(reset.status(), 200);
        let before = lab.received().await;
        let run = k6::run(k6, &name_of(scenario), &settings).await.unwrap();
        let received = lab.received().await.iter().zip(before).map(|(now, before)| now - before).collect();
        let dropped = run.summary["dropped_iterations"].as_u64();
        if dropped.is_none_or(|dropped| dropped == 0) || number == ATTEMPTS {
            return (run, received);
        }
    }
    unreachable!("the loop ends by returning")
}

/// Compares the summary's streams with the generator's table and k6's own counts. Returns the number of data
/// requests.
fn says_what_was_sent(summary: &Value, streams: &[Stream]) -> u64 {
    let mut all = 0;
    for (printed, stream) in summary["streams"].as_array().unwrap().iter().zip(streams) {
        let (operation, status) = match stream.operation {
            Operation::Read => ("get", 200),
            Operation::ReadAbsent => ("get", 404),
            Operation::Write => ("set", 200),
        };
        let law = match stream.keys.law() {
            Distribution::Uniform => "uniform".to_owned(),
            Distribution::Zipf(exponent) => format!("zipf:{exponent}"),
            Distribution::InTurn => "in-turn".to_owned(),
            Distribution::InPhases => "in-phases".to_owned(),
        };
        let keys = stream.keys.keys();
        let facts = json!([stream.name, operation, status, law, keys[0].as_str(), keys.len()]);
        let names = ["name", "operation", "status", "law", "first_key", "keys"];
        assert_eq!(Value::from(names.map(|name| printed[name].clone()).to_vec()), facts);
        let requests = printed["requests"].as_u64().unwrap();
        // On a busy machine k6 is inexact at a stream's ends.
        let planned = stream.mean_rate() * SECONDS;
        assert!((requests as f64 / planned - 1.0).abs() < 0.2, "{}: {requests} of {planned}", stream.name);
        assert!(printed["latency_ms"]["p99"].as_f64().unwrap() > 0.0, "{printed:#}");
        all += requests;
    }
    let reqs = &summary["http_reqs"];
    let kind = |name: &str| reqs[name].as_u64().unwrap();
    assert_eq!(kind("celebrity") + kind("background"), all, "{summary:#}");
    assert_eq!(kind("all"), all + kind("setup"), "{summary:#}");
    all
}

fn passes_all_checks_and_thresholds(summary: &Value, scenario: Scenario) {
    let checks = summary["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["fails"] == 0 && check["passes"] != 0), "{checks:#?}");
    let has = |name: &str| checks.iter().any(|check| check["name"] == name);
    let expected: &[&str] = match scenario {
        Scenario::Uniform | Scenario::Zipfian => {
            &["status is 200", "response has key", "response has shard_id"]
        }
        Scenario::Celebrity => &["normal: status is 200", "celebrity: status is 200"],
        Scenario::WithCaching => &["normal: status is 200", "celebrity: status is 200", "cache enabled"],
        Scenario::Celebrity404 => &["normal: status is 200", "celebrity: status is 404"],
        _ => &["response has key", "response has shard_id"],
    };
    assert!(expected.iter().all(|name| has(name)), "{scenario:?}: {checks:#?}");
    let thresholds = summary["thresholds"].as_array().unwrap();
    assert!(thresholds.len() == 3 && thresholds.iter().all(|t| t["ok"] == true), "{thresholds:#?}");
}

/// Checks that each shard's share is within four standard errors. Each stream is weighted by the requests that k6
/// sent for it.
fn near_the_prediction(summary: &Value, scenario: Scenario, streams: &[Stream]) {
    if scenario.absent_key().is_some() {
        return;
    }
    let sent =
        summary["streams"].as_array().unwrap().iter().map(|printed| printed["requests"].as_f64().unwrap());
    let weighed = streams.iter().cloned().zip(sent);
    let weighed: Vec<Stream> =
        weighed.map(|(stream, rate)| Stream { rate, window: (0.0, 1.0), ..stream }).collect();
    let theory = load::predict::shares(&weighed, std::num::NonZeroU32::new(SHARDS as u32).unwrap());
    let requests = summary["requests"].as_f64().unwrap();
    for (shard, p) in summary["shards"].as_array().unwrap().iter().zip(&theory.shares) {
        let share = shard["answered"].as_f64().unwrap() / requests;
        let error = (p * (1.0 - p) / requests).sqrt();
        assert!((share - p).abs() < 4.0 * error, "{scenario:?}: {shard}, predicted {p} ± {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_gives_the_same_keys_whichever_users_send_them() {
    let Some(k6) = k6::available("a_seed_gives_the_same_keys_whichever_users_send_them") else { return };
    let lab = Lab::start(Options::default()).await;
    let mut runs = Vec::new();
    for seed in ["3", "3", "4"] {
        let reset = lab.client.post(lab.at_gateway("/admin/reset")).send().await.unwrap();
        assert_eq!(reset.status(), 200);
        let url = lab.at_gateway("");
        let settings = [("BASE_URL", &*url), ("DURATION", "1"), ("RATE_FACTOR", "4"), ("SEED", seed)];
        k6::run(&k6, "zipfian", &settings).await.unwrap();
        runs.push(lab.gateway_stats().await);
    }
    // One run may end a few requests earlier. The missing requests are the last ones of the same sequence.
    let shorter = |a: &GatewayCounts, b: &GatewayCounts| a.total_requests.abs_diff(b.total_requests);
    let apart = |a: &GatewayCounts, b: &GatewayCounts| {
        let in_b =
            |key: &Key| b.top_keys.iter().find(|other| other.key == *key).map_or(0, |other| other.count);
        a.top_keys.iter().take(8).map(|top| top.count.abs_diff(in_b(&top.key))).sum::<u64>()
    };
    assert!(apart(&runs[0], &runs[1]) <= shorter(&runs[0], &runs[1]), "{runs:#?}");
    assert!(apart(&runs[0], &runs[2]) > shorter(&runs[0], &runs[2]), "{runs:#?}");
}
