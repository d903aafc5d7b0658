//! Validates keys and encodes them in URL paths.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::limits::KEY_MAX_BYTES;

/// All characters except the unreserved ones of RFC 3986 section 2.3 are encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A valid key: 1 … 512 bytes of UTF-8 without NUL, and neither `.` nor `..`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(SmolStr);

/// Why a text is no valid key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Zero bytes.
    #[error("the key is empty; a key has 1 to 512 bytes")]
    Empty,
    /// More than 512 bytes after decoding.
    #[error("the key has {len} bytes; a key has 1 to 512 bytes")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A NUL byte.
    #[error("the key contains a NUL byte; a key is text without NUL")]
    Nul,
    /// `.` or `..`, which URL libraries remove from paths even when encoded.
    #[error("the keys `.` and `..` cannot be part of a URL path; choose another key")]
    DotSegment,
    /// Not UTF-8 after percent-decoding.
    #[error("the key is not UTF-8; percent-encode the bytes of its UTF-8 form")]
    NotUtf8,
    /// `%` not followed by two hexadecimal digits.
    #[error(
        "the key has a `%` that is not followed by two hexadecimal digits; write `%25` for a percent sign"
    )]
    BadEscape,
}

impl Key {
    /// Validates a decoded key.
    ///
    /// # Errors
    /// Returns the rule that the text breaks.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        match text {
            "" => Err(KeyError::Empty),
            "." | ".." => Err(KeyError::DotSegment),
            _ if text.len() > KEY_MAX_BYTES => Err(KeyError::TooLong { len: text.len() }),
            _ if text.contains('\0') => Err(KeyError::Nul),
            _ => Ok(Self(text.into())),
        }
    }

    /// Decodes and validates one path segment of the request line.
    ///
    /// # Errors
    /// Returns the rule that the segment breaks.
    pub fn from_path_segment(segment: &str) -> Result<Self, KeyError> {
        if !escapes_are_whole(segment.as_bytes()) {
            return Err(KeyError::BadEscape);
        }
        let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| KeyError::NotUtf8)?;
        Self::new(&decoded)
    }

    /// The canonical path segment: unreserved bytes unchanged, all others as upper-case `%XX`.
    #[must_use]
    pub fn to_path_segment(&self) -> String {
        utf8_percent_encode(&self.0, ENCODED).to_string()
    }

    /// The decoded text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn escapes_are_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return false,
        }
    }
    true
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::new(&text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0.into()
    }
}

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_at_the_limits() {
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert!(Key::new(&"k".repeat(512)).is_ok());
        assert_eq!(Key::new(&"k".repeat(513)), Err(KeyError::TooLong { len: 513 }));
        // The limit is in bytes, not characters.
        assert_eq!(Key::new(&"é".repeat(257)), Err(KeyError::TooLong { len: 514 }));
    }

    #[test]
    fn segments_are_decoded_and_refused_with_the_reason() {
        assert_eq!(Key::from_path_segment("a%2Fb%3F%23%25%20").unwrap().as_str(), "a/b?#% ");
        assert_eq!(Key::from_path_segment("a%00"), Err(KeyError::Nul));
        assert_eq!(Key::from_path_segment("%FF"), Err(KeyError::NotUtf8));
        assert_eq!(Key::from_path_segment("a%2"), Err(KeyError::BadEscape));
        assert_eq!(Key::from_path_segment("%zz"), Err(KeyError::BadEscape));
        assert_eq!(Key::from_path_segment("%2E%2e"), Err(KeyError::DotSegment));
        assert_eq!(Key::from_path_segment("."), Err(KeyError::DotSegment));
    }

    #[test]
    fn encoding_is_canonical() {
        assert_eq!(Key::new("a-b.c_d~e/ü").unwrap().to_path_segment(), "a-b.c_d~e%2F%C3%BC");
    }

    proptest! {
        #[test]
        fn every_valid_key_survives_the_path(text in "[^\0]{1,128}") {
            if let Ok(key) = Key::new(&text) {
                let segment = key.to_path_segment();
                prop_assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
                prop_assert_eq!(Key::from_path_segment(&segment).unwrap(), key);
            }
        }

        #[test]
        fn any_segment_is_a_key_or_an_error(segment in "\\PC{0,64}") {
            if let Ok(key) = Key::from_path_segment(&segment) {
                prop_assert!((1..=KEY_MAX_BYTES).contains(&key.as_str().len()));
            }
        }
    }
}
