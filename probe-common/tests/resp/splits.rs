//! Tests that the parser stages what the reference stages.

use std::collections::HashMap;

use probe_common::key::{KEY_BYTES, kept};
use probe_common::protocol::Parser as _;
use probe_common::resp::head::Head;
use probe_common::resp::{SegmentReader, hash_name};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::reference::{self, COMMANDS, Staged, named};

/// More steps than any segment of these tests needs.
const STEPS: u32 = 1 << 20;

/// A key as the parser keeps it: at most its last bytes, and its length.
fn shortened(key: &[u8]) -> (Vec<u8>, u32) {
    let words = key.len().div_ceil(8);
    let skip = words.saturating_sub(KEY_BYTES / 8) * 8;
    (key[skip..].to_vec(), key.len() as u32)
}

fn argument() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z]{0,12}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..100),
        1 => Just(b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n".to_vec()),
        1 => Just(vec![b'v'; 3_000]),
    ]
}

/// The bytes of one command.
fn command() -> impl Strategy<Value = Vec<u8>> {
    let array = (0..COMMANDS.len() + 1, vec(argument(), 0..7), 0..4_usize, any::<bool>());
    let array = array.prop_map(|(at, mut arguments, keys, is_upper)| {
        let name = COMMANDS.get(at).map_or("no-such-command", |(name, _)| name);
        if name == "eval" && arguments.len() > 1 {
            arguments[1] = keys.to_string().into_bytes();
        }
        let name = if is_upper { name.to_ascii_uppercase() } else { name.to_owned() };
        let mut bytes = format!("*{}\r\n${}\r\n{name}\r\n", arguments.len() + 1, name.len()).into_bytes();
        for argument in arguments {
            bytes.extend(format!("${}\r\n", argument.len()).bytes());
            bytes.extend(argument);
            bytes.extend(b"\r\n");
        }
        bytes
    });
    let line = prop_oneof![
        Just("PING\r\n"),
        Just("get key\r\n"),
        Just("  set  a\tb \n"),
        Just("\r\n"),
        Just("*0\r\n"),
        Just("*-1\r\n"),
    ];
    prop_oneof![6 => array, 1 => line.prop_map(|line| line.as_bytes().to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_same_is_staged_however_the_bytes_are_divided(
        commands in vec(command(), 1..12),
        cuts in vec(any::<Index>(), 0..24),
    ) {
        let bytes = commands.concat();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let specs: HashMap<u64, _> =
            COMMANDS.iter().map(|(name, spec)| (hash_name(name.as_bytes()), *spec)).collect();
        let (mut reader, mut head) = (SegmentReader::EMPTY, Head::default());
        head.restart();
        let (mut staged, mut from, mut counted) = (Vec::new(), 0, 0);
        for to in ends {
            reader.begin(0, (to - from) as u32);
            let spec = |hash: u64| specs.get(&hash).copied().unwrap_or_default();
            reader.read(&mut head, &bytes[from..to], STEPS, spec, |key, tag, discards| {
                let text = (kept(&key.words, key.length).collect::<Vec<u8>>(), key.length);
                staged.push((tag.number(), tag.has_key().then_some(text), discards));
            });
            counted += reader.tally.get + reader.tally.set + reader.tally.control;
            prop_assert!(reader.is_done() && head.stopped().is_none());
            from = to;
        }
        let expected: Vec<_> = reference::read(&bytes)
            .into_iter()
            .map(|one| match one {
                Staged::Key(key) => (None, Some(shortened(&key)), 0),
                Staged::Command(number, key, discards) => {
                    (Some(number), key.as_deref().map(shortened), discards)
                }
            })
            .collect();
        let complete = expected.iter().filter(|(number, ..)| number.is_some()).count();
        prop_assert_eq!(counted as usize, complete);
        prop_assert_eq!(staged, expected);
        prop_assert!(!head.inside_request());
    }
}

#[test]
fn names_are_found_in_any_case() {
    assert_eq!(named(b"GeT").number, 1);
    assert_eq!(named(b"nothing").number, 0);
}

#[test]
fn what_no_store_accepts_stops_the_parser() {
    for bytes in [
        &b"*1\r\n+4\r\nPING\r\n"[..],
        b"*99999999999\r\n",
        b"*2\r\n$-1\r\n",
        b"*2\r\n$999999999999\r\n",
        b"get \"open\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00",
    ] {
        let (mut reader, mut head) = (SegmentReader::EMPTY, Head::default());
        head.restart();
        reader.begin(0, bytes.len() as u32);
        reader.read(&mut head, bytes, STEPS, |_| Default::default(), |_, _, _| {});
        assert!(head.stopped().is_some(), "{:?}", String::from_utf8_lossy(bytes));
    }
}
