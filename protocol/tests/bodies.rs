//! Compares the bodies with the contract's literal JSON.
//!
//! The written JSON must be identical byte for byte.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions, where clippy.toml does not reach"
)]

use protocol::body::*;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Parses `json` as a `T`, and asserts that it is written as the same bytes.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &str) -> T {
    let body: T = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&body).unwrap(), json);
    body
}

const VERDICT: &str = concat!(
    r#"{"state":"not enough traffic","reason":null,"shard_id":null,"key":null,"max_over_mean":null,"#,
    r#""lower_bound":null,"cv":null,"p1":null,"n_p1":null,"chi2":null,"p":null,"requests":0,"#,
    r#""window_seconds":0.0,"sentence":"Not enough traffic to judge."}"#
);

const MITIGATION: &str = concat!(
    r#"{"cache":"hot_only","ttl_seconds":60,"stale_while_revalidate":false,"stale_seconds":10,"#,
    r#""negative_caching":false,"negative_ttl_ms":500,"replication":2,"replicated_keys":8,"hot_entries":6,"#,
    r#""hot_keys":["k"],"replicated":[{"key":"k","replicas":[0,1]}],"#,
    r#""auto":{"enabled":true,"chosen":"hot_only_cache","reason":"hot","since":1.5}}"#
);

#[test]
fn data_of_a_shard() {
    let made = round_trip::<ShardGet>(
        r#"{"key":"k","value":{"a":1},"shard_id":2,"found":false,"auto_created":true}"#,
    );
    assert!(made.auto_created && !made.found);
    round_trip::<ShardGet>(r#"{"key":"k","value":{},"shard_id":0,"found":true}"#);
    let set = round_trip::<ShardSet>(r#"{"key":"k","shard_id":2,"status":"stored"}"#);
    assert_eq!(set.status, STORED);
}

#[test]
fn data_of_the_gateway() {
    round_trip::<GatewayGet>(r#"{"key":"k","value":{},"shard_id":0,"cache_hit":true,"latency_ms":0.12}"#);
    round_trip::<GatewayGet>(concat!(
        r#"{"key":"k","value":{},"shard_id":0,"cache_hit":false,"latency_ms":5.0,"#,
        r#""coalesced":true,"stale":true}"#
    ));
    round_trip::<GatewaySet>(r#"{"key":"k","shard_id":1,"status":"stored","latency_ms":1.25}"#);
}

#[test]
fn data_is_read_without_copies() {
    let json = r#"{"key":"k","value":{"a":[1,2]},"shard_id":1,"found":true}"#;
    let got: ShardGet<KeyText<'_>, IgnoredAny> = serde_json::from_str(json).unwrap();
    assert!(matches!(got.key.0, std::borrow::Cow::Borrowed("k")), "{got:?}");
    let escaped = json.replace("\"k\"", r#""a\"b""#);
    let got: ShardGet<KeyText<'_>, IgnoredAny> = serde_json::from_str(&escaped).unwrap();
    assert_eq!(got.key.0, "a\"b");
}

#[test]
fn health_and_reset() {
    round_trip::<ShardHealth>(r#"{"status":"ok","shard_id":3}"#);
    round_trip::<ShardReset>(r#"{"status":"reset","shard_id":3}"#);
    round_trip::<GatewayHealth>(r#"{"service":"api-gateway","status":"ok"}"#);
    round_trip::<GatewayReset>(r#"{"status":"reset"}"#);
    round_trip::<GatewayReset>(r#"{"status":"reset","gateways":{"holding":2,"known":2,"failed":[]}}"#);
}

#[test]
fn stats_of_a_shard() {
    let json = [
        r#"{"shard_id":1,"total_keys":2,"total_accesses":9,"requests_received":10,"started_at":1795422711.25,"#,
        r#""active_requests":1,"requests_served":7,"requests_rejected":2,"requests_shed":0,"#,
        r#""top_keys":[{"key":"k","count":5,"error":0}],"hot_keys":[{"key":"k","ratio":0.5,"count":5}],"#,
        r#""verdict":"#,
        VERDICT,
        "}",
    ];
    let stats = round_trip::<ShardStats>(&json.concat());
    assert_eq!((stats.requests_received, stats.hot_keys[0].ratio), (10, 0.5));
}

#[test]
fn stats_of_the_gateway() {
    let json = [
        r#"{"num_shards":4,"cache_enabled":true,"cache_ttl_seconds":60,"cache_size":1,"cache_hits":1,"#,
        r#""cache_misses":2,"cache_coalesced":1,"cache_hit_ratio":0.25,"total_requests":5,"#,
        r#""started_at":1795422711.25,"shard_requests":[{"shard_id":0,"requests":3}],"#,
        r#""shard_requests_total":[{"shard_id":0,"requests":9}],"top_keys":[],"#,
        r#""breakers":[{"shard_id":0,"state":"half_open","opened":2,"refused":7}],"placement":"modulo","#,
        r#""verdict":"#,
        VERDICT,
        r#","mitigation":"#,
        MITIGATION,
        "}",
    ];
    let stats = round_trip::<GatewayStats>(&json.concat());
    assert_eq!((stats.counts.total_requests, stats.mitigation.settings.replication), (5, 2));
}

#[test]
fn admin_of_the_gateway() {
    assert_eq!(round_trip::<CacheChange>("{}"), CacheChange::default());
    round_trip::<CacheChange>(r#"{"enabled":true,"ttl_seconds":60}"#);
    round_trip::<CacheSwitched>(r#"{"cache_enabled":true,"cache_ttl_seconds":60}"#);
    round_trip::<CacheSwitched>(concat!(
        r#"{"cache_enabled":true,"cache_ttl_seconds":60,"gateways":{"holding":1,"known":2,"#,
        r#""failed":[{"url":"http://b:8000","problem":"no answer within 1 s"}]}}"#
    ));
    round_trip::<ShardMapping>(
        r#"{"key":"k","replicas":[1,2],"shard_id":1,"shard_url":"http://127.0.0.1:9001"}"#,
    );
    let alone = round_trip::<MitigationState>(MITIGATION);
    assert_eq!(alone.gateways, None);
    round_trip::<PeerState>(concat!(
        r#"{"gateway":7,"settings":{"cache":{"value":"all","time_ms":1795422711200,"gateway":7},"#,
        r#""reset":{"value":true,"time_ms":1795422711201,"gateway":9}}}"#
    ));
    assert_eq!(round_trip::<MitigationChange>("{}"), MitigationChange::default());
    round_trip::<MitigationChange>(concat!(
        r#"{"cache":"off","ttl_seconds":1,"stale_while_revalidate":true,"stale_seconds":2,"#,
        r#""negative_caching":true,"negative_ttl_ms":10,"replication":1,"replicated_keys":1,"auto":false}"#
    ));
}

#[test]
fn hot_keys_of_the_gateway() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Summary {
        keys: Vec<TopKey>,
        others_at_most: u64,
    }
    round_trip::<HotKeys<Summary, Vec<u64>>>(concat!(
        r#"{"started_at":1.5,"requests":3,"keys":[{"key":"k","count":2,"error":1}],"others_at_most":1,"#,
        r#""second":[1],"ten":[3]}"#
    ));
}

#[test]
fn what_if_of_the_gateway() {
    let answer = round_trip::<WhatIf>(concat!(
        r#"{"offered":{"requests":1300,"reads":1300,"writes":0,"window_seconds":10.0,"#,
        r#""requests_per_second":130.0,"shares":[0.75,0.25],"max_over_mean":1.5,"top_key":"k","#,
        r#""top_key_share":0.5},"options":["#,
        r#"{"mitigation":"hot_only_cache","settings":{"entries":6,"ttl_seconds":60},"#,
        r#""hottest_shard_share":0.25,"shard_id":1,"max_over_mean":1.0,"shares":[0.25,0.25],"#,
        r#""shard_load":0.5,"elsewhere":0.0,"note":"n"},"#,
        r#"{"mitigation":"nothing","settings":{"placement":"modulo"},"hottest_shard_share":0.75,"#,
        r#""shard_id":null,"max_over_mean":1.5,"shares":[],"shard_load":1.0,"elsewhere":0.0,"note":""}]}"#
    ));
    assert_eq!(answer.options[0].mitigation, WhatIfMitigation::HotOnlyCache);
    for settings in [r#"{"copies":2,"keys":8}"#, r#"{"epsilon":0.25}"#, "{}"] {
        round_trip::<WhatIfSettings>(settings);
    }
    round_trip::<WhatIf>(concat!(
        r#"{"offered":{"requests":0,"reads":0,"writes":0,"window_seconds":0.0,"requests_per_second":0.0,"#,
        r#""shares":[0.0],"max_over_mean":null,"top_key":null,"top_key_share":null},"options":[],"#,
        r#""note":"not enough traffic"}"#
    ));
}

#[test]
fn report_of_the_load_generator() {
    let report = round_trip::<LoadReport>(concat!(
        r#"{"scenario":"zipfian_distribution","gateway":"http://127.0.0.1:8000","seed":3,"#,
        r#""duration_seconds":2.0,"offered_per_second":200.0,"achieved_per_second":199.5,"sent":400,"#,
        r#""answered":399,"errors":1,"error_kinds":{"wrong_shard":1},"dropped":0,"cache_hits":0,"#,
        r#""coalesced":0,"max_send_lag_ms":0.5,"shards":[{"shard_id":0,"predicted_share":1.0,"#,
        r#""answered":399,"upstream_requests":399,"p50_ms":0.5,"p95_ms":0.5,"p99_ms":null}],"#,
        r#""hottest_key":{"key":"user-0","predicted_share":0.5,"sent":200},"#,
        r#""keys":[{"key":"user-0","sent":200}],"#,
        r#""latency_ms":{"p50":0.5,"p95":0.5,"p99":0.5,"max":null},"#,
        r#""streams":[{"name":"user","offered_per_second":200.0,"sent":400,"answered":399,"errors":1,"#,
        r#""latency_ms":{"p50":null,"p95":null,"p99":null,"max":null},"shards":["#,
        r#"{"shard_id":0,"answered":1,"upstream_requests":1,"#,
        r#""latency_ms":{"p50":null,"p95":null,"p99":null,"max":null},"histogram":[[0.5,1]]},"#,
        r#"{"shard_id":1,"answered":0,"upstream_requests":0,"#,
        r#""latency_ms":{"p50":null,"p95":null,"p99":null,"max":null}}]}],"#,
        r#""thresholds":[{"name":"p95_ms","limit":500.0,"value":0.5,"ok":true}],"#,
        r#""checks":[{"name":"status is 200","passes":400,"fails":0}],"#,
        r#""predicted_upstream_per_second":{"cold_start":9.0,"cold_start_standard_error":0.5,"steady":6.5},"#,
        r#""cache_entries_at_start":null,"steady":true,"steady_reason":"r"}"#
    ));
    assert_eq!(report.error_kinds[&AnswerFault::WrongShard], 1);
}

#[test]
fn refusal_of_the_load_generator() {
    let refused = round_trip::<LoadRefused>(r#"{"refused":{"reason":"sent_late","detail":"Too busy."}}"#);
    assert!(refused.refused.reason.is_busy_machine());
    let names = [
        (RefusalReason::RequestsDropped, "requests_dropped"),
        (RefusalReason::RateNotKept, "rate_not_kept"),
        (RefusalReason::TooFewAnswers, "too_few_answers"),
    ];
    for (reason, name) in names {
        assert_eq!(serde_json::to_value(reason).unwrap(), name);
    }
}

#[test]
fn scenarios_of_the_starter() {
    let overview = round_trip::<ScenarioOverview>(concat!(
        r#"{"running":{"scenario":"celebrity","duration":60.0,"rate_factor":1.0,"started_at":1.5,"#,
        r#""elapsed_seconds":0.5},"last":{"scenario":"uniform","outcome":"done","detail":"d"},"#,
        r#""scenarios":[{"name":"uniform","about":"a"}]}"#
    ));
    assert_eq!(overview.last.unwrap().outcome, ScenarioOutcome::Done);
    let request: ScenarioRequest = serde_json::from_str(r#"{"scenario":"uniform"}"#).unwrap();
    assert_eq!((request.duration, request.rate_factor), (60.0, 1.0));
}
