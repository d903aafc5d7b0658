//! Hot keys and the metrics with a `key` label.

use std::io::Write;

use crate::lab::{Lab, until};

const HOT: &str = "shard_hot_key_detected{key=\"hot\",shard_id=\"2\"}";
const TRACKED: &str = "shard_key_access_total{key=\"hot\",shard_id=\"2\"}";
const UNTRACKED: &str = "shard_key_access_untracked_total{shard_id=\"2\"}";

#[test]
fn a_hot_key_is_named_with_its_share_and_disappears_when_it_is_no_longer_hot() {
    let lab = Lab::start(&[]);
    (0..60).for_each(|n| drop(lab.get(&format!("/data/other-{n}"))));
    (0..40).for_each(|_| drop(lab.get("/data/hot")));
    let hot = lab.stats().hot_keys;
    assert_eq!(hot.len(), 1, "{hot:?}");
    assert!(
        hot[0].key.as_str() == "hot" && hot[0].count == 40 && (hot[0].ratio - 0.4).abs() < 1e-9,
        "{hot:?}"
    );
    until(|| (lab.metric(HOT) == 1.0).then_some(()), || lab.get("/metrics").body);
    (0..60).for_each(|n| drop(lab.get(&format!("/data/more-{n}"))));
    assert!(lab.stats().hot_keys.is_empty());
    until(
        || (!lab.get("/metrics").body.contains("shard_hot_key_detected{")).then_some(()),
        || lab.get("/metrics").body,
    );
}

#[test]
fn tracked_and_untracked_accesses_add_up_to_the_requests() {
    let lab = Lab::start(&["--shard-max-keys=1"]);
    let mut asked = 0.0;
    // No key is tracked before the first update of the series.
    for _ in 0..30 {
        lab.get("/data/hot");
        asked += 1.0;
    }
    until(|| lab.get("/metrics").body.contains(TRACKED).then_some(()), || lab.get("/metrics").body);
    for n in 0..40 {
        lab.get("/data/hot");
        lab.get(&format!("/data/absent-{n}"));
        asked += 2.0;
    }
    // Refused before the key is known: an invalid key in the path or in the body, and unreadable bodies.
    assert_eq!(lab.get("/data/%FF").status, 400);
    for body in [r#"{"key":"","value":{}}"#, "{", ""] {
        assert_eq!(lab.post("/data", body).status, 400);
    }
    asked += 4.0;
    // One more, whose client disconnects in the middle of the body.
    let mut gone = lab.connect();
    gone.write_all(b"POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").unwrap();
    let received = lab.stats_when(|stats| stats.requests_received as f64 > asked).requests_received;
    drop(gone);
    asked += 1.0;
    lab.stats_when(|stats| stats.requests_served + stats.requests_rejected + stats.requests_shed == received);
    let text = lab.get("/metrics").body;
    let series: Vec<_> = text.lines().filter(|line| line.starts_with("shard_key_access_total{")).collect();
    assert!(!series.is_empty() && series.len() <= 20, "{series:?}");
    let tracked: f64 =
        series.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert!(lab.metric(TRACKED) >= 40.0);
    assert_eq!(tracked + lab.metric(UNTRACKED), asked);
    let requests =
        ["get", "set"].map(|op| format!("shard_requests_total{{operation=\"{op}\",shard_id=\"2\"}}"));
    assert_eq!(requests.iter().map(|series| lab.metric(series)).sum::<f64>(), asked);
}

#[test]
fn many_keys_make_no_more_than_twenty_series() {
    let lab = Lab::start(&[]);
    (0..600).for_each(|n| drop(lab.get(&format!("/data/key-{}", n % 40))));
    let with_key = |text: &str| text.lines().filter(|line| line.contains("key=\"")).count();
    let most = until(
        || Some(with_key(&lab.get("/metrics").body)).filter(|count| *count > 0),
        || lab.get("/metrics").body,
    );
    assert!(most <= 20, "{most}");
}
