//! Bodies of requests: what is accepted is within its limits and survives being written, what is refused has one line.
//!
//! Input: a letter that selects the call, then the body.

#![no_main]

use gateway::fuzzing::{cache, merged, mitigation, peer_state};
use libfuzzer_sys::fuzz_target;
use protocol::ErrorBody;
use protocol::body::{MitigationChange, ScenarioRequest};
use protocol::json::SetRequest;
use serde_json::Value;

const SHARDS: u64 = 4;
const NOW_MS: u64 = 1_795_422_711_200;

fuzz_target!(|input: &[u8]| {
    let Some((call, body)) = input.split_first() else { return };
    match call {
        b's' => set(body),
        b'm' => {
            if let Some(change) = accepted(mitigation(body, SHARDS)) {
                within_limits(&change);
                assert_eq!(mitigation(&serde_json::to_vec(&change).unwrap(), SHARDS), Ok(change));
            }
        }
        b'c' => {
            if let Some(change) = accepted(cache(body)) {
                within_limits(&change);
            }
        }
        b'p' => {
            if let Some(state) = accepted(peer_state(body, SHARDS, NOW_MS)) {
                assert_eq!(peer_state(&serde_json::to_vec(&state).unwrap(), SHARDS, NOW_MS), Ok(state.clone()));
                assert_eq!(merged(&[&state.settings, &state.settings]), state.settings);
            }
        }
        b'r' => {
            if let Ok(request) = serde_json::from_slice::<ScenarioRequest>(body) {
                assert!(request.duration.is_finite() && request.rate_factor.is_finite());
            }
        }
        _ => {}
    }
});

fn set(body: &[u8]) {
    let Some(set) = accepted(SetRequest::parse(body)) else { return };
    let text = set.value.get();
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value.is_object(), "{text}");
    let written = format!("{{\"key\":{},\"value\":{text}}}", serde_json::to_string(&set.key).unwrap());
    let again = SetRequest::parse(written.as_bytes()).unwrap();
    assert_eq!((&again.key, again.value.get()), (&set.key, text));
}

fn within_limits(change: &MitigationChange) {
    let within = |value: Option<u64>, from, to| value.is_none_or(|value| (from..=to).contains(&value));
    assert!(within(change.ttl_seconds, 1, 86_400) && within(change.stale_seconds, 1, 3_600));
    assert!(within(change.negative_ttl_ms, 10, 60_000) && within(change.replicated_keys, 1, 64));
    assert!(within(change.replication, 1, SHARDS));
}

fn accepted<T>(parsed: Result<T, ErrorBody>) -> Option<T> {
    let refused = parsed.as_ref().err();
    assert!(refused.is_none_or(|body| !body.detail.contains('\n')), "{refused:?}");
    parsed.ok()
}
