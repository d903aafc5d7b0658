//! Tests where a lost connection is followed again: at a command whose name the first bytes show.

use probe_common::resp::{FIRST_WORDS, hash_name, name_at_start};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// The name's hash, as the kernel program gets it from a segment with this payload.
fn name_of(payload: &[u8]) -> Option<u64> {
    let mut words = [0; FIRST_WORDS];
    for (word, bytes) in words.iter_mut().zip(payload.chunks(8)) {
        let mut all = [0; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(all);
    }
    name_at_start(words)
}

/// A number as Redis reads it: digits without leading zeros, and CR LF.
fn number(bytes: &[u8], most: usize) -> Option<(usize, &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let value = text.parse().ok().filter(|value| (1..=most).contains(value))?;
    (text == value.to_string()).then_some((value, &bytes[end + 2..]))
}

/// The same as [`name_of`], byte by byte.
fn reference(payload: &[u8]) -> Option<u64> {
    let (_, rest) = number(payload.strip_prefix(b"*")?, 9_999)?;
    let (length, rest) = number(rest.strip_prefix(b"$")?, 24)?;
    let (name, rest) = rest.split_at_checked(length)?;
    rest.starts_with(b"\r\n").then(|| hash_name(&name.to_ascii_lowercase()))
}

fn beginning(count: usize, name: &[u8]) -> Vec<u8> {
    [format!("*{count}\r\n${}\r\n", name.len()).as_bytes(), name, b"\r\n"].concat()
}

/// Names as stores have them.
fn name() -> impl Strategy<Value = String> {
    "[A-Za-z_][A-Za-z0-9_.-]{0,23}"
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![1..10_usize, 10..100_usize, 100..1_000_usize, 1_000..10_000_usize]
}

/// Parts of beginnings, for any order.
const PARTS: [&[u8]; 12] =
    [b"*", b"$", b"\r\n", b"\r", b"\n", b"0", b"1", b"24", b"GET", b"zrangebyscore", b"-", b"\0"];

fn parts() -> impl Strategy<Value = Vec<u8>> {
    vec(select(&PARTS[..]), 0..12).prop_map(|parts| parts.concat())
}

#[test]
fn every_length_of_count_and_name_is_read() {
    let letters = b"ZRANGEBYSCORE-ABCDEFGHIJK";
    for count in [1, 9, 10, 99, 100, 999, 1_000, 9_999] {
        for length in 1..=24 {
            let name = &letters[..length];
            let expected = Some(hash_name(&name.to_ascii_lowercase()));
            assert_eq!(name_of(&beginning(count, name)), expected, "*{count} ${length}");
        }
    }
    assert_eq!(name_of(&beginning(10_000, b"MSET")), None);
    assert_eq!(name_of(&beginning(0, b"MSET")), None);
    assert_eq!(name_of(&beginning(1, b"")), None);
    assert_eq!(name_of(&beginning(1, letters)), None);
}

#[test]
fn what_is_no_beginning_is_refused() {
    let refused: [&[u8]; 18] = [
        b"",
        b"*",
        b"PING\r\n",
        b"get *1\r\n$4\r\nPING\r\n",
        b"\n*1\r\n$4\r\nPING\r\n",
        b"$4\r\nPING\r\n",
        b"*-1\r\n$4\r\nPING\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n$-4\r\nPING\r\n",
        b"*1a\r\n$4\r\nPING\r\n",
        b"*1\r\n$4a\r\nPING\r\n",
        b"*1\r\n:4\r\nPING\r\n",
        b"*1\n$4\nPING\n\r\n",
        b"*1\r\n$5\r\nPING\r\n",
        b"*1\r\n$3\r\nPING\r\n",
        b"*1\r\n$13\r\nPING\r\n",
        b"*12345678901234567890123456789012345678901234567890",
    ];
    for payload in refused {
        assert_eq!(name_of(payload), None, "{}", payload.escape_ascii());
    }
}

proptest! {
    #[test]
    fn a_command_is_recognized_by_its_name(count in count(), name in name(), rest in vec(any::<u8>(), 0..40)) {
        let payload = [beginning(count, name.as_bytes()), rest].concat();
        prop_assert_eq!(name_of(&payload), Some(hash_name(name.to_ascii_lowercase().as_bytes())));
    }

    #[test]
    fn a_truncated_beginning_is_refused(count in count(), name in name(), cut: Index) {
        let payload = beginning(count, name.as_bytes());
        prop_assert_eq!(name_of(&payload[..cut.index(payload.len())]), None);
    }

    #[test]
    fn a_changed_byte_is_seen(count in count(), name in name(), at: Index, byte: u8) {
        let mut payload = beginning(count, name.as_bytes());
        let at = at.index(payload.len());
        payload[at] = byte;
        prop_assert_eq!(name_of(&payload), reference(&payload), "{}", payload.escape_ascii());
    }

    #[test]
    fn parts_of_beginnings_are_read_as_the_reference_does(bytes in parts()) {
        for before in [&b""[..], b"*1", b"*12\r\n$", b"*1\r\n$1"] {
            let payload = [before, &bytes].concat();
            prop_assert_eq!(name_of(&payload), reference(&payload), "{}", payload.escape_ascii());
        }
    }

    #[test]
    fn a_value_is_no_beginning(
        value in vec(any::<u8>(), 0..64),
        text in "[ -~]{0,20}\\*1[ -~]{0,40}",
        before in "[^*]{1,8}",
        name in name(),
    ) {
        let within = [before.as_bytes(), &beginning(1, name.as_bytes())].concat();
        for payload in [&value[..], text.as_bytes(), &within] {
            prop_assert_eq!(name_of(payload), None, "{}", payload.escape_ascii());
        }
    }
}
