//! Keys in paths, in names and on terminals: decoding is exact, and every form leads back to the same key.

#![no_main]

use std::num::NonZeroU32;

use libfuzzer_sys::fuzz_target;
use probe::fuzzing::{bytes_of, name_of_bytes};
use probe::signal::keys::name_of;
use protocol::escape::{escaped, escaped_json};
use protocol::placement::modulo;
use protocol::{Key, KeyError};

fuzz_target!(|input: &[u8]| {
    let name = name_of_bytes(input);
    assert!(!name.contains(char::is_control), "{name:?}");
    assert_eq!(bytes_of(&name).as_deref(), Some(input), "{name:?}");
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = bytes_of(text);
    assert!(!escaped(text).contains(char::is_control));
    let json = serde_json::to_string(text).unwrap();
    assert_eq!(serde_json::from_str::<String>(&escaped_json(&json)).unwrap(), text);
    let parsed = Key::from_path_segment(text);
    assert_eq!(parsed.as_ref().ok().map(|key| key.as_str().as_bytes()), decoded(input).as_deref(), "{parsed:?}");
    if let Ok(key) = parsed {
        assert!((1..=512).contains(&key.as_str().len()));
        assert_eq!(Key::from_path_segment(&key.to_path_segment()).as_ref(), Ok(&key));
        assert!(modulo(&key, NonZeroU32::new(7).unwrap()).0 < 7);
        if key.to_path_segment().len() <= 64 {
            assert_eq!(name_of(&key), key.as_str());
        }
    } else {
        assert_ne!(Key::new(text), Err(KeyError::BadEscape), "not a rule for decoded keys");
    }
});

/// The key in a path segment by the rules of the contract, or `None` if one is broken.
fn decoded(segment: &[u8]) -> Option<Vec<u8>> {
    let (mut key, mut rest) = (Vec::new(), segment);
    while let [byte, behind @ ..] = rest {
        if *byte == b'%' {
            let (digits, behind) = behind.split_at_checked(2)?;
            let digit = |digit: u8| char::from(digit).to_digit(16);
            key.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
            rest = behind;
        } else {
            key.push(*byte);
            rest = behind;
        }
    }
    let is_key = std::str::from_utf8(&key).is_ok()
        && (1..=512).contains(&key.len())
        && !key.contains(&0)
        && key != b"."
        && key != b"..";
    is_key.then_some(key)
}
