//! The kernel's parser of RESP replies over any bytes in any cut: it finds what the tests' reference finds.
//!
//! Input: one byte that says how many cuts follow, two bytes a cut, then the stream. A short stream is also cut at every byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_common::protocol::Parser as _;
use probe_common::resp::SegmentReader;
use probe_common::resp::reply::{Outcome, ReplyHead, SHORT_REPLY, is_whole_reply};

#[path = "../../probe-common/tests/resp/reply_reference.rs"]
mod reply_reference;

use reply_reference::{Found, Value, read};

/// More steps than any input needs.
const STEPS: u32 = 1 << 20;

/// A stream that is cut at every byte has no more bytes.
const SHORT: usize = 40;

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let Some((cuts, stream)) = rest.split_at_checked(usize::from(*count % 16) * 2) else { return };
    let mut cuts: Vec<usize> = cuts
        .chunks_exact(2)
        .map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])) % (stream.len() + 1))
        .collect();
    cuts.sort_unstable();
    let expected = read(stream);
    same(stream, &expected, &[]);
    same(stream, &expected, &cuts);
    if stream.len() <= SHORT {
        same(stream, &expected, &(1..stream.len()).collect::<Vec<_>>());
        for cut in 1..stream.len() {
            same(stream, &expected, &[cut]);
        }
    }
    if looks_whole(stream) {
        assert!(expected.values.len() == 1 && !expected.is_malformed, "{}", stream.escape_ascii());
        assert!(!matches!(expected.values[0], Value::Push | Value::Reply(Outcome::Queued)));
        let found = read(&stream[..stream.len() - 1]);
        assert!(found.values.is_empty(), "more than one reply: {}", stream.escape_ascii());
    }
});

/// Asserts that the parser finds the same, whether its driver wants all replies or only those that begin a transaction.
fn same(stream: &[u8], expected: &Found, cuts: &[usize]) {
    for wants_all in [true, false] {
        let (mut reader, mut head) = (SegmentReader::EMPTY, ReplyHead::default());
        head.restart();
        head.taken(wants_all);
        let (mut outcomes, mut replies, mut pushes, mut from) = (Vec::new(), 0, 0, 0);
        for to in cuts.iter().copied().chain([stream.len()]) {
            reader.begin(0, (to - from) as u32);
            reader.read_replies(&mut head, &stream[from..to], STEPS, |outcome, _| {
                outcomes.push(Value::Reply(outcome));
                wants_all
            });
            assert!(reader.is_done() && reader.at <= reader.end, "{} of {} bytes", reader.at, reader.end);
            replies += reader.tally.set as usize;
            pushes += reader.tally.control as usize;
            from = to;
        }
        let is_wanted = |value: &&Value| match value {
            Value::Push => false,
            Value::Reply(outcome) => wants_all || *outcome == Outcome::Queued,
        };
        let wanted: Vec<Value> = expected.values.iter().filter(is_wanted).copied().collect();
        let all = expected.values.iter().filter(|value| **value != Value::Push).count();
        let shown = stream.escape_ascii();
        assert_eq!(outcomes, wanted, "cut at {cuts:?}: {shown}");
        assert_eq!((replies, pushes), (all, expected.values.len() - all), "cut at {cuts:?}: {shown}");
        assert_eq!(head.stopped().is_some(), expected.is_malformed, "cut at {cuts:?}: {shown}");
    }
}

fn looks_whole(stream: &[u8]) -> bool {
    let mut start = [0; SHORT_REPLY];
    let length = stream.len().min(SHORT_REPLY);
    start[..length].copy_from_slice(&stream[..length]);
    let mut words = [0; SHORT_REPLY / 8];
    for (word, bytes) in words.iter_mut().zip(start.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().unwrap());
    }
    is_whole_reply(&words, stream.len() as u32)
}
