//! Names keys that are any bytes, and returns the bytes of a name.

use std::fmt::Write as _;

use smol_str::{SmolStr, SmolStrBuilder};

/// What a shortened key begins with: `#`, the hash in hexadecimal, an ellipsis.
const HASH_DIGITS: usize = 16;

/// The name of a key. Text is unchanged. Otherwise bytes that are not printable ASCII are `\xNN`, and a backslash is
/// doubled.
pub(crate) fn name_of_bytes(bytes: &[u8]) -> SmolStr {
    let plain =
        |text: &&str| !text.contains(|one: char| one == '\\' || one.is_control()) && !is_shortened(text);
    if let Some(text) = std::str::from_utf8(bytes).ok().filter(plain) {
        return text.into();
    }
    let mut name = SmolStrBuilder::new();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = match byte {
            b'\\' => name.write_str("\\\\"),
            b' '..=b'~' => name.write_char(char::from(*byte)),
            byte => write!(name, "\\x{byte:02x}"),
        };
    }
    name.finish()
}

/// The bytes of a key with this name. `None` if the name is shortened.
#[cfg(feature = "stores")]
pub(crate) fn bytes_of(name: &str) -> Option<Vec<u8>> {
    if is_shortened(name) {
        return None;
    }
    if !name.contains('\\') {
        return Some(name.as_bytes().to_vec());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(name.len()), name.as_bytes());
    while let [first, behind @ ..] = rest {
        (bytes, rest) = match (first, behind) {
            (b'\\', [b'\\', rest @ ..]) => (pushed(bytes, b'\\'), rest),
            (b'\\', [b'x', high, low, rest @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                (pushed(bytes, u8::from_str_radix(digits, 16).ok()?), rest)
            }
            (b'\\', _) => return None,
            (byte, rest) => (pushed(bytes, *byte), rest),
        };
    }
    Some(bytes)
}

#[cfg(feature = "stores")]
fn pushed(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

/// Whether a name has the form of a shortened key.
fn is_shortened(name: &str) -> bool {
    let rest = name.strip_prefix('#').and_then(|rest| rest.split_at_checked(HASH_DIGITS));
    rest.is_some_and(|(hash, end)| hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && end.starts_with('…'))
}

#[cfg(all(test, feature = "stores"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_returns_its_bytes_and_is_one_line(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let name = name_of_bytes(&bytes);
            prop_assert!(!name.contains(char::is_control), "{name}");
            prop_assert_eq!(bytes_of(&name), Some(bytes));
        }

        #[test]
        fn text_without_a_backslash_is_its_own_name(text in "[^\\\\\\pC#]{0,64}") {
            prop_assert_eq!(name_of_bytes(text.as_bytes()), text);
        }
    }

    #[test]
    fn a_key_cannot_pass_for_a_shortened_one() {
        let shortened = "#00112233445566aa…end";
        assert_eq!(bytes_of(shortened), None);
        let name = name_of_bytes(shortened.as_bytes());
        assert_eq!(
            (name.as_str(), bytes_of(&name)),
            ("#00112233445566aa\\xe2\\x80\\xa6end", Some(shortened.into()))
        );
        assert_eq!(bytes_of("a\\"), None);
        assert_eq!(name_of_bytes(b"a b\xffc"), "a b\\xffc");
    }
}
