//! Answers of a shard at the gateway and at the load generator: what the gateway passes on is the shard's own text.
//!
//! Input: a byte that selects the status, then the body.

#![no_main]

use axum::http::StatusCode;
use gateway::fuzzing::{stored, value};
use libfuzzer_sys::fuzz_target;
use load::answer::{Expected, ExpectedBody, check};
use load::client::Answer;
use protocol::{ErrorKind, Key, ShardId};
use serde_json::value::RawValue;

const SHARD: ShardId = ShardId(2);
const STATUSES: [u16; 6] = [200, 404, 503, 507, 302, 500];

fuzz_target!(|input: &[u8]| {
    let Some((choice, body)) = input.split_first() else { return };
    let status = STATUSES[usize::from(*choice) % STATUSES.len()];
    let key = Key::new("k").unwrap();
    let code = StatusCode::from_u16(status).unwrap();
    let checked = |body_kind| {
        let expected = Expected { body: body_kind, key: "k", owner: SHARD, shards: 4, any_shard: false };
        check(Ok(Answer { status, body }), &expected)
    };
    match value(SHARD, &key, code, body) {
        Ok(text) => {
            assert!(status == 200 && text.starts_with('{'));
            assert!(serde_json::from_str::<&RawValue>(&text).is_ok(), "{text}");
            assert!(body.windows(text.len()).any(|part| part == text.as_bytes()), "{text}");
            assert!(checked(ExpectedBody::ShardGet).is_ok());
        }
        Err(error) => {
            let passed_on = status == 404 && error.kind == ErrorKind::NotFound;
            let own = matches!(error.kind, ErrorKind::BadShardAnswer | ErrorKind::ShardUnavailable);
            assert!(own != passed_on, "{error:?}");
            assert_eq!(passed_on, status == 404 && checked(ExpectedBody::NotFound).is_ok());
        }
    }
    if let Err(error) = stored(SHARD, &key, code, body) {
        let passed_on = status == 507 && error.kind == ErrorKind::StoreFull;
        assert!(passed_on != matches!(error.kind, ErrorKind::BadShardAnswer | ErrorKind::ShardUnavailable));
    }
    for body_kind in [ExpectedBody::GatewayGet, ExpectedBody::GatewaySet] {
        if let Ok(valid) = checked(body_kind) {
            assert_eq!(valid.shard, SHARD);
        }
    }
});
