//! Reading the JSON bodies of `POST /data`: whatever the `Content-Type`, unknown fields ignored.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{ErrorBody, ErrorKind, Key};

/// The body of `POST /data`.
#[derive(Clone, Debug, PartialEq)]
pub struct SetRequest {
    /// The key to store under.
    pub key: Key,
    /// The value: a JSON object.
    pub value: Map<String, Value>,
}

#[derive(Deserialize)]
struct RawSetRequest {
    key: Value,
    value: Value,
}

impl SetRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// A 400 body saying what is wrong: not JSON, no object, a field missing or of the wrong type, or a bad key.
    pub fn parse(body: &[u8]) -> Result<Self, ErrorBody> {
        // A derived struct would also be read from an array of its fields.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(bad("the body must be a JSON object {\"key\":\"…\",\"value\":{…}}".into()));
        }
        let raw: RawSetRequest = serde_json::from_slice(body)
            .map_err(|err| bad(format!("the body must be {{\"key\":\"…\",\"value\":{{…}}}}: {err}")))?;
        let Value::String(text) = raw.key else {
            return Err(bad("`key` must be a string".into()));
        };
        let Value::Object(value) = raw.value else {
            return Err(bad("`value` must be an object".into()));
        };
        let key =
            Key::new(&text).map_err(|err| ErrorBody { detail: err.to_string(), kind: ErrorKind::BadKey })?;
        Ok(Self { key, value })
    }
}

fn bad(detail: String) -> ErrorBody {
    ErrorBody { detail, kind: ErrorKind::BadBody }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &str) -> ErrorKind {
        SetRequest::parse(body.as_bytes()).unwrap_err().kind
    }

    #[test]
    fn a_good_body_is_read_and_unknown_fields_are_ignored() {
        let set = SetRequest::parse(br#"{"key":"k","value":{"a":1},"more":true}"#).unwrap();
        assert_eq!((set.key.as_str(), set.value["a"].clone()), ("k", Value::from(1)));
    }

    #[test]
    fn bad_bodies_are_named() {
        for body in
            ["", "{", "[]", "3", r#"{"key":"k"}"#, r#"{"key":3,"value":{}}"#, r#"{"key":"k","value":3}"#]
        {
            assert_eq!(kind(body), ErrorKind::BadBody, "{body}");
        }
        assert_eq!(kind(r#"{"key":"","value":{}}"#), ErrorKind::BadKey);
        assert_eq!(kind(r#"{"key":"a\u0000","value":{}}"#), ErrorKind::BadKey);
    }
}
