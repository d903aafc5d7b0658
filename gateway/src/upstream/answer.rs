//! Validates a shard's answer and converts it to a result.

use axum::http::StatusCode;
use bytes::Bytes;
use protocol::body::{KeyText, STORED, ShardGet, ShardSet};
use protocol::{ErrorBody, ErrorKind, Key, ShardId};
use serde_json::value::RawValue;

use crate::error::Error;

/// The JSON text of an object, exactly as a shard sent it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ObjectText(Bytes);

impl ObjectText {
    /// The part of `body` that `value` is. `None` if it is not an object.
    fn within(body: &Bytes, value: &RawValue) -> Option<Self> {
        value.get().starts_with('{').then(|| Self(body.slice_ref(value.get().as_bytes())))
    }

    #[cfg(test)]
    pub(crate) fn new(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// A copy that keeps no other bytes in memory.
    pub(crate) fn copied(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A value and the shard that returned it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) value: ObjectText,
    /// The shard that holds the value.
    pub(crate) shard: ShardId,
}

/// The result of a read: a value, or the reason why there is none.
pub(crate) type Fetched = Result<Found, Error>;

/// A complete answer of a shard.
pub(crate) struct Answer {
    pub(crate) shard: ShardId,
    pub(crate) status: StatusCode,
    /// `Retry-After` in seconds, if the shard sent it.
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The value of `key`.
    ///
    /// # Errors
    /// 404 from a full shard, 503 from an overloaded one, and every answer to this read that violates the contract.
    pub(crate) fn value(&self, key: &Key) -> Fetched {
        if self.status != StatusCode::OK {
            return Err(self.refusal(StatusCode::NOT_FOUND, ErrorKind::NotFound));
        }
        let got: ShardGet<KeyText<'_>, &RawValue> =
            serde_json::from_slice(&self.body).map_err(|err| self.bad(err.to_string()))?;
        self.check(key, &got.key, got.shard_id)?;
        let value = ObjectText::within(&self.body, got.value);
        let value = value.ok_or_else(|| self.bad("its value is not an object"))?;
        Ok(Found { value, shard: self.shard })
    }

    /// Whether `key` was stored.
    ///
    /// # Errors
    /// 507 from a full shard, 503 from an overloaded one, and every answer to this write that violates the contract.
    pub(crate) fn stored(&self, key: &Key) -> Result<(), Error> {
        if self.status != StatusCode::OK {
            return Err(self.refusal(StatusCode::INSUFFICIENT_STORAGE, ErrorKind::StoreFull));
        }
        let set: ShardSet<KeyText<'_>> =
            serde_json::from_slice(&self.body).map_err(|err| self.bad(err.to_string()))?;
        self.check(key, &set.key, set.shard_id)?;
        if set.status != STORED {
            return Err(self.bad(format!("its status is {:?}, not {STORED:?}", set.status)));
        }
        Ok(())
    }

    /// Detects a wrong order in `SHARD_URLS`, and an answer to another request.
    fn check(&self, key: &Key, answered_key: &KeyText<'_>, answered_by: ShardId) -> Result<(), Error> {
        if answered_by != self.shard {
            return Err(self.bad(format!("it comes from shard {answered_by}; check the order of SHARD_URLS")));
        }
        if answered_key.0 != key.as_str() {
            return Err(self.bad("it is for another key"));
        }
        Ok(())
    }

    /// The error for a status other than 200. A full shard refuses this kind of request with the status `full` and with
    /// `kind`.
    fn refusal(&self, full: StatusCode, kind: ErrorKind) -> Error {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let (cause, retry_after) = ("shed the request".into(), self.retry_after);
            return Error::ShardUnavailable { shard: self.shard, cause, retry_after };
        }
        match serde_json::from_slice::<ErrorBody>(&self.body) {
            Ok(answer) if self.status == full && answer.kind == kind => {
                Error::ShardFull { shard: self.shard, answer }
            }
            _ => self.bad(format!("status {}", self.status)),
        }
    }

    fn bad(&self, reason: impl Into<String>) -> Error {
        Error::BadShardAnswer { shard: self.shard, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { shard: ShardId(2), status, retry_after: None, body: Bytes::from_static(body.as_bytes()) }
    }

    fn key() -> Key {
        Key::new("k\"1").unwrap()
    }

    #[test]
    fn a_value_is_passed_on_as_the_shard_wrote_it() {
        let body = r#"{"key":"k\"1","value":{"b":1.50,"a":[1, 2]},"shard_id":2,"found":true}"#;
        let found = answer(200, body).value(&key()).unwrap();
        assert_eq!(found.value.as_bytes(), br#"{"b":1.50,"a":[1, 2]}"#);
    }

    #[test]
    fn unusable_answers_to_a_read_are_named() {
        for (status, body, reason) in [
            (200, "<html>", "expected value"),
            (200, r#"{"key":"k\"1","value":{"a":"#, "EOF"),
            (200, r#"{"key":"k\"1","shard_id":2}"#, "missing field `value`"),
            (200, r#"{"key":"k\"1","value":[],"shard_id":2,"found":true}"#, "not an object"),
            (200, r#"{"key":"k\"1","value":{},"shard_id":1,"found":true}"#, "comes from shard 1"),
            (200, r#"{"key":"k2","value":{},"shard_id":2,"found":true}"#, "another key"),
            (500, r#"{"detail":"d","kind":"internal"}"#, "status 500"),
            (404, r#"{"detail":"d","kind":"no_such_route"}"#, "status 404"),
            (404, "not found", "status 404"),
            (507, r#"{"detail":"d","kind":"store_full"}"#, "status 507"),
            (302, "", "status 302"),
        ] {
            let err = answer(status, body).value(&key()).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::BadShardAnswer, "{body}");
            assert!(err.to_string().starts_with("Shard 2 ") && err.to_string().contains(reason), "{err}");
        }
    }

    #[test]
    fn unusable_answers_to_a_write_are_named() {
        let good = r#"{"key":"k\"1","shard_id":2,"status":"stored"}"#;
        answer(200, good).stored(&key()).unwrap();
        for body in [
            "",
            r#"{"key":"k\"1","shard_id":2,"status":"lost"}"#,
            r#"{"key":"k\"1","shard_id":3,"status":"stored"}"#,
            r#"{"key":"k","shard_id":2,"status":"stored"}"#,
        ] {
            assert_eq!(
                answer(200, body).stored(&key()).unwrap_err().kind(),
                ErrorKind::BadShardAnswer,
                "{body}"
            );
        }
    }

    #[test]
    fn a_full_shards_refusals_are_passed_on_and_a_shed_request_is_unavailable() {
        let missing =
            answer(404, r#"{"detail":"no room for k","kind":"not_found"}"#).value(&key()).unwrap_err();
        assert_eq!((missing.kind(), missing.to_string()), (ErrorKind::NotFound, "no room for k".into()));
        let full = answer(507, r#"{"detail":"full","kind":"store_full"}"#).stored(&key()).unwrap_err();
        assert_eq!((full.kind(), full.to_string()), (ErrorKind::StoreFull, "full".into()));
        for shed in [answer(503, "").value(&key()).unwrap_err(), answer(503, "x").stored(&key()).unwrap_err()]
        {
            assert_eq!(
                (shed.kind(), shed.to_string()),
                (ErrorKind::ShardUnavailable, "Shard 2 unavailable".into())
            );
        }
    }
}
