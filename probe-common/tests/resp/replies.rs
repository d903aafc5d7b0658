//! Tests that the parser of replies finds what the reference finds.

use probe_common::protocol::Parser as _;
use probe_common::resp::SegmentReader;
use probe_common::resp::reply::{Outcome, ReplyHead, SHORT_REPLY, is_whole_reply};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::reply_reference::{Found, Value, read};

/// More steps than any segment of these tests needs.
const STEPS: u32 = 1 << 20;

/// Reads segments that end at these places, with a driver that wants all replies or only those that begin a transaction.
/// Returns the outcomes that it got, replies and pushes, and whether the parser stopped.
fn parse(
    bytes: &[u8],
    ends: impl IntoIterator<Item = usize>,
    wants_all: bool,
) -> (Vec<Outcome>, u32, u32, bool) {
    let (mut reader, mut head) = (SegmentReader::EMPTY, ReplyHead::default());
    reader.words.fill(u64::from_le_bytes(*b"+QUEUED\r"));
    head.restart();
    head.taken(wants_all);
    let (mut outcomes, mut replies, mut pushes, mut from) = (Vec::new(), 0, 0, 0);
    for to in ends {
        reader.begin(0, (to - from) as u32);
        reader.read_replies(&mut head, &bytes[from..to], STEPS, |outcome, _| {
            outcomes.push(outcome);
            wants_all
        });
        replies += reader.tally.set;
        pushes += reader.tally.control;
        assert!(reader.is_done(), "{} of {} bytes", reader.at, reader.end);
        from = to;
    }
    (outcomes, replies, pushes, head.stopped().is_some())
}

/// Asserts that the parser finds the same, with these cuts.
fn same(bytes: &[u8], expected: &Found, ends: &[usize]) {
    let replies: Vec<Outcome> = expected
        .values
        .iter()
        .filter_map(|value| match value {
            Value::Push => None,
            Value::Reply(outcome) => Some(*outcome),
        })
        .collect();
    let counts = (replies.len() as u32, (expected.values.len() - replies.len()) as u32);
    let shown = bytes.escape_ascii();
    let all = parse(bytes, ends.iter().copied(), true);
    assert_eq!((all.1, all.2, all.3), (counts.0, counts.1, expected.is_malformed), "{ends:?}: {shown}");
    assert_eq!(all.0, replies, "{ends:?}: {shown}");
    let queued = parse(bytes, ends.iter().copied(), false);
    assert_eq!(
        (queued.1, queued.2, queued.3),
        (counts.0, counts.1, expected.is_malformed),
        "{ends:?}: {shown}"
    );
    assert!(queued.0.iter().all(|one| *one == Outcome::Queued), "{ends:?}: {shown}");
    assert_eq!(queued.0.len(), replies.iter().filter(|one| **one == Outcome::Queued).count());
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let lines = vec![
        "+OK\r\n",
        "+QUEUED\r\n",
        "+QUEUED \r\n",
        "-ERR no\r\n",
        "-EXECABORT Transaction discarded because of previous errors.\r\n",
        ":-12\r\n",
        "_\r\n",
        ",3.14\r\n",
        "#t\r\n",
        "(3492890328409238509324850943850943825024385\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "$0\r\n\r\n",
    ];
    select(lines).prop_map(|line| line.as_bytes().to_vec())
}

fn string() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![vec(any::<u8>(), 0..14), Just(b"+QUEUED\r\n".to_vec()), Just(vec![b'v'; 1_200])];
    (select(b"$=!".to_vec()), text).prop_map(|(kind, text)| {
        [&[kind], text.len().to_string().as_bytes(), b"\r\n", &text, b"\r\n"].concat()
    })
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => line(), 2 => string()].prop_recursive(3, 12, 5, |inner| {
        (select(b"*~%>|".to_vec()), vec(inner.clone(), 0..5), inner).prop_map(|(kind, parts, last)| {
            let count = if matches!(kind, b'%' | b'|') { parts.len() / 2 } else { parts.len() };
            let used = if matches!(kind, b'%' | b'|') { count * 2 } else { count };
            let head = format!("{}{count}\r\n", char::from(kind)).into_bytes();
            let behind = if kind == b'|' { last } else { Vec::new() };
            [head, parts[..used].concat(), behind].concat()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_same_replies_are_found_however_the_bytes_are_divided(
        values in vec(value(), 1..8),
        changes in vec((any::<Index>(), select(b"*$+->|%\r\n0-Q".to_vec())), 0..2),
        cuts in vec(any::<Index>(), 0..24),
    ) {
        let mut bytes = values.concat();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let expected = read(&bytes);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        same(&bytes, &expected, &ends);
        same(&bytes, &expected, &(1..=bytes.len()).collect::<Vec<_>>());
        for cut in 0..bytes.len().min(200) {
            same(&bytes, &expected, &[cut, bytes.len()]);
        }
    }

    #[test]
    fn a_short_look_takes_only_what_is_exactly_one_reply(value in value(), more in value()) {
        let looks = |bytes: &[u8]| {
            let mut start = [0; SHORT_REPLY];
            let length = bytes.len().min(SHORT_REPLY);
            start[..length].copy_from_slice(&bytes[..length]);
            let mut words = [0; SHORT_REPLY / 8];
            for (word, bytes) in words.iter_mut().zip(start.chunks_exact(8)) {
                *word = u64::from_ne_bytes(bytes.try_into().unwrap());
            }
            is_whole_reply(&words, bytes.len() as u32)
        };
        for bytes in [value.clone(), [&value[..], &more].concat(), value[..value.len() - 1].to_vec()] {
            let found = read(&bytes);
            let is_one = found.values.len() == 1 && !found.is_malformed && value.len() == bytes.len();
            prop_assert!(!looks(&bytes) || is_one, "{}", bytes.escape_ascii());
        }
        let is_short = matches!(value[0], b'$' | b'+' | b':') && value.len() < 28 && value[..8.min(value.len())] != *b"+QUEUED\r";
        prop_assert!(!is_short || looks(&value), "{}", value.escape_ascii());
    }
}

#[test]
fn what_is_no_reply_stops_the_parser() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\n"[..],
        b"$?\r\n",
        b"*?\r\n",
        b"$1\rx",
        b"$\r\n",
        b"*1x\r\n",
        b"\r\n",
        b"|-1\r\n",
    ] {
        assert!(parse(bytes, [bytes.len()], true).3, "{}", bytes.escape_ascii());
        assert!(read(bytes).is_malformed, "{}", bytes.escape_ascii());
    }
}
