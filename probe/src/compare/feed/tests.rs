//! Tests what the feed publishes for given seconds.

use probe_common::requests::REASONS;
use protocol::probe_api::Comparison;
use serde_json::Value;

use super::*;
use crate::compare::reconcile::AppReading;

fn seen(second: u64, kernel: u64, app: Option<(f64, u64)>, timed: u64) -> Option<ShardSample> {
    let at = Duration::from_secs(second);
    let reading =
        |(started_at, requests_received)| AppReading { requests_received, started_at, active_requests: 0 };
    let bracket = Bracket {
        from: at,
        to: at,
        kernel_before: kernel,
        kernel_after: kernel,
        undecided: 0,
        aborted: 0,
        answered: 0,
        repeated: 0,
        unparsed: [0; REASONS],
        app: app.map(reading).ok_or_else(|| "no connection".to_owned()),
        unix_seconds: 0.0,
    };
    let mut latency = Latency::default();
    latency.buckets[40] = timed;
    Some(ShardSample::of(&bracket, latency))
}

fn snapshot(taken_at: f64) -> Snapshot {
    Snapshot {
        taken_at,
        shards: vec![Comparison { kernel: Some(7), ..Comparison::default() }],
        ..Snapshot::default()
    }
}

fn publish(feed: &Feed, second: u64, seen: Option<ShardSample>) {
    feed.publish(&snapshot(second as f64), vec![seen], &Verdicts::default());
}

fn newest(frames: &mut watch::Receiver<Arc<str>>) -> Value {
    serde_json::from_str(&frames.borrow_and_update()).unwrap()
}

#[test]
fn rates_are_the_growth_of_a_second() {
    let feed = Feed::default();
    let mut frames = feed.listen();
    publish(&feed, 1, seen(1, 1_000, Some((5.5, 900)), 10));
    let first = newest(&mut frames);
    assert!(first["shards"][0]["kernel_per_second"].is_null(), "{first}");
    publish(&feed, 3, seen(3, 1_200, Some((5.5, 1_098)), 30));
    let frame = newest(&mut frames);
    let shard = &frame["shards"][0];
    assert_eq!((&shard["kernel_per_second"], &shard["app_per_second"]), (&100.0.into(), &99.0.into()));
    assert_eq!(
        (&shard["latency_ms"]["count"], &shard["kernel"], &shard["shard_id"]),
        (&20.into(), &7.into(), &0.into())
    );
    assert!(frame["verdicts"]["agree"].is_null() && frame["taken_at"] == 3.0, "{frame}");
}

#[test]
fn what_cannot_be_told_is_absent() {
    let feed = Feed::default();
    let mut frames = feed.listen();
    publish(&feed, 1, seen(1, 1_000, Some((5.5, 900)), 10));
    // The shard's process has restarted.
    publish(&feed, 2, seen(2, 1_010, Some((6.5, 3)), 10));
    let shard = &newest(&mut frames)["shards"][0];
    assert_eq!((&shard["kernel_per_second"], &shard["app_per_second"]), (&10.0.into(), &Value::Null));
    assert!(shard["latency_ms"].is_null(), "{shard}");
    publish(&feed, 3, None);
    assert!(newest(&mut frames)["shards"][0]["kernel_per_second"].is_null());
    publish(&feed, 4, seen(4, 1_020, None, 10));
    assert!(newest(&mut frames)["shards"][0]["kernel_per_second"].is_null());
    // A gap of 36 s is too long for a rate.
    publish(&feed, 40, seen(40, 9_000, None, 10));
    assert!(newest(&mut frames)["shards"][0]["kernel_per_second"].is_null());
}

#[test]
fn a_listener_is_told_the_last_two_minutes_and_who_is_late_only_the_newest() {
    let links = PageLinks { gateway: Some("http://g:8000".to_owned()), scenarios: None };
    let feed = Feed::new(links);
    (0..300).for_each(|second| publish(&feed, second, seen(second, second * 50, None, 0)));
    let hello: Value = serde_json::from_str(&feed.hello()).unwrap();
    let past = hello["past"].as_array().unwrap();
    assert_eq!(
        (past.len(), &past[0]["taken_at"], &past[119]["taken_at"]),
        (120, &180.0.into(), &299.0.into())
    );
    assert_eq!(past[5]["shards"][0]["kernel_per_second"], 50.0);
    assert_eq!(hello["links"], serde_json::json!({"gateway": "http://g:8000", "scenarios": null}));
    let mut frames = feed.listen();
    publish(&feed, 300, seen(300, 0, None, 0));
    publish(&feed, 301, seen(301, 0, None, 0));
    assert_eq!(newest(&mut frames)["taken_at"], 301.0);
}

#[test]
fn places_are_given_back() {
    let feed = Feed::default();
    let places: Vec<_> = (0..LISTENERS).map(|_| feed.place().unwrap()).collect();
    assert!(feed.place().is_none());
    assert_eq!(feed.listeners(), LISTENERS);
    drop(places);
    assert_eq!(feed.listeners(), 0);
    assert!(feed.place().is_some());
}
