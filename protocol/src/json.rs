//! Parses the JSON body of `POST /data`, regardless of its `Content-Type`.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{ErrorBody, ErrorKind, Key};

/// The body of `POST /data`.
#[derive(Clone, Debug)]
pub struct SetRequest<'a> {
    /// The key to store under.
    pub key: Key,
    /// The value: a JSON object, as the received text. A conversion could change its numbers.
    pub value: &'a RawValue,
}

#[derive(Deserialize)]
struct CheckedSetRequest {
    key: Value,
    value: Value,
}

#[derive(Deserialize)]
struct ValueText<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
}

impl<'a> SetRequest<'a> {
    /// Parses a body.
    ///
    /// # Errors
    /// Returns a 400 body with the problem: invalid JSON, no object, a field missing or of the wrong type, or an
    /// invalid key. Values that common JSON parsers refuse are refused too, such as `1e400` or a lone surrogate.
    pub fn parse(body: &'a [u8]) -> Result<Self, ErrorBody> {
        // A derived struct could also be parsed from an array of its fields.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(bad("the body must be a JSON object {\"key\":\"…\",\"value\":{…}}".into()));
        }
        let unreadable = |err| bad(format!("the body must be {{\"key\":\"…\",\"value\":{{…}}}}: {err}"));
        let checked: CheckedSetRequest = serde_json::from_slice(body).map_err(unreadable)?;
        let Value::String(text) = checked.key else {
            return Err(bad("`key` must be a string".into()));
        };
        if !checked.value.is_object() {
            return Err(bad("`value` must be an object".into()));
        }
        let ValueText { value } = serde_json::from_slice(body).map_err(unreadable)?;
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
        assert_eq!((set.key.as_str(), set.value.get()), ("k", r#"{"a":1}"#));
    }

    #[test]
    fn a_value_stays_the_text_that_was_sent() {
        for text in [
            r#"{"n":123456789012345678901234567890,"f":0.1234567890123456789,"z":1.0,"m":-0,"e":1E+2,"t":1e-400}"#,
            r#"{ "b" :  "\u0061\/",  "a":1, "a":2 }"#,
        ] {
            let body = format!(r#"{{"value":{text},"key":"k"}}"#);
            assert_eq!(SetRequest::parse(body.as_bytes()).unwrap().value.get(), text);
        }
    }

    #[test]
    fn values_that_others_could_not_read_are_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(130), "]".repeat(130));
        for value in [r#"{"e":1e400}"#, r#"{"a":"\ud800"}"#, r#"{"a":NaN}"#, &deep] {
            assert_eq!(kind(&format!(r#"{{"key":"k","value":{value}}}"#)), ErrorKind::BadBody, "{value}");
        }
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
