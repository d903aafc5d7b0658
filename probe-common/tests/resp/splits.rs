//! Tests that the parser stages what the reference stages.

use std::collections::HashMap;

use probe_common::key::{KEY_BYTES, kept};
use probe_common::protocol::Parser as _;
use probe_common::resp::head::Head;
use probe_common::resp::{SegmentReader, hash_name};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

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

/// The bytes of one command. `QUIT`, the last one of the table, is left out unless `may_quit`.
fn command(may_quit: bool) -> impl Strategy<Value = Vec<u8>> {
    let array = (0..COMMANDS.len(), vec(argument(), 0..7), 0..4_usize, any::<bool>());
    let array = array.prop_map(move |(at, mut arguments, keys, is_upper)| {
        let name = match COMMANDS.get(at) {
            Some((name, _)) if may_quit || *name != "quit" => name,
            _ => "no-such-command",
        };
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
        Just("mget a b  c\r\n"),
        Just("\"MSET\" 'a b' 1 \"c\\\"d\" 2\r\n"),
        Just("eval x 1 a\r\n"),
        Just("blpop 'it\\'s' 0\n"),
    ];
    prop_oneof![6 => array, 1 => line.prop_map(|line| line.as_bytes().to_vec())]
}

/// What is staged of one command or key, as the parser and the reference both show it.
type Shown = (Option<u16>, Option<(Vec<u8>, u32)>, u32);

/// One connection's parser, at the end of its bytes.
struct Parsed {
    staged: Vec<Shown>,
    counted: u32,
    head: Head,
}

/// Parses segments that end at these places.
fn parse(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Parsed {
    let specs: HashMap<u64, _> =
        COMMANDS.iter().map(|(name, spec)| (hash_name(name.as_bytes()), *spec)).collect();
    let (mut reader, mut head) = (SegmentReader::EMPTY, Head::default());
    // Garbage in the window: no result may depend on an earlier segment's bytes.
    reader.words.fill(u64::from_le_bytes(*b"*1\r\n$4\r\n"));
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
        assert!(reader.is_done(), "{} of {} bytes", reader.at, reader.end);
        from = to;
    }
    Parsed { staged, counted, head }
}

fn expected(bytes: &[u8]) -> Vec<Shown> {
    let shown = |one| match one {
        Staged::Key(key) => (None, Some(shortened(&key)), 0),
        Staged::Command(number, key, discards) => (Some(number), key.as_deref().map(shortened), discards),
    };
    reference::read(bytes).into_iter().map(shown).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_same_is_staged_however_the_bytes_are_divided(
        commands in vec(command(false), 1..12),
        cuts in vec(any::<Index>(), 0..24),
    ) {
        let bytes = commands.concat();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let parsed = parse(&bytes, ends);
        prop_assert!(parsed.head.stopped().is_none());
        let expected = expected(&bytes);
        let complete = expected.iter().filter(|(number, ..)| number.is_some()).count();
        prop_assert_eq!(parsed.counted as usize, complete);
        prop_assert_eq!(parsed.staged, expected);
        prop_assert!(!parsed.head.inside_request());
    }
}

/// A command whose numbers, line ends or quotes only some stores would accept.
fn odd_command() -> impl Strategy<Value = Vec<u8>> {
    let number = select(vec!["", "0", "00", "+", "-", " "]);
    let end = select(vec!["\r\n", "\r\n", "\rx", "\n", "\r"]);
    let array = (number.clone(), number, end.clone(), end.clone(), end);
    let array = array.prop_map(|(count, length, first, second, third)| {
        format!("*{count}2{first}${length}3{second}GET{third}$1\r\nk\r\n").into_bytes()
    });
    let line = "(get|'set'|mget|\"mset\") {0,2}[a'\"\\\\\x0b\t x]{0,6}\r?\n".prop_map(String::into_bytes);
    prop_oneof![
        array,
        line,
        select(vec![
            "*-0\r\n",
            "*-5\r\n",
            "*-05\r\n",
            "*\r\n",
            "$3\r\n",
            "get 'a\\\\'b'\n",
            "get \"a\\\\\"\n"
        ])
        .prop_map(|bytes| bytes.as_bytes().to_vec())
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn changed_bytes_are_read_as_the_reference_reads_them_at_every_split(
        commands in vec(prop_oneof![3 => command(true), 1 => odd_command()], 1..5),
        changes in vec((any::<Index>(), prop_oneof![any::<u8>(), select(b"*$\r\n09-'\"\\ \0".to_vec())]), 0..4),
        length in any::<Index>(),
    ) {
        let mut bytes = commands.concat();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(length.index(bytes.len().min(600)) + 1);
        let expected = expected(&bytes);
        let complete = expected.iter().filter(|(number, ..)| number.is_some()).count();
        let byte_by_byte = parse(&bytes, 1..=bytes.len());
        prop_assert_eq!(&byte_by_byte.staged, &expected);
        prop_assert_eq!(byte_by_byte.counted as usize, complete);
        for cut in 0..=bytes.len() {
            prop_assert_eq!(&parse(&bytes, [cut, bytes.len()]).staged, &expected, "cut at {}", cut);
        }
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
