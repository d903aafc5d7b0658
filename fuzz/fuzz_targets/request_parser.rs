//! Runs the kernel's request parser over any bytes in any cut. It counts what the tests' oracle counts, the same
//! however the bytes are cut, and neither repeats nor overlaps change that.
//!
//! Input: one byte with the number of cuts, two bytes for each cut, then the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_common::http::{SegmentReader, Stream, begins_request};
use probe_common::key::KeyText;
use probe_common::requests::Tally;
use probe_common::stream::Admission;

#[path = "../../probe-common/tests/parser/oracle.rs"]
mod oracle;

/// As many steps for a segment as the kernel program has.
const STEPS: u32 = 1 << 17;

/// Number of the stream's first byte: near the end, so that numbers wrap around.
const FIRST: u32 = u32::MAX - 40;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, stream)) = split(input) else { return };
    let (whole, keys) = count(stream, &[], false);
    assert_eq!(count(stream, &cuts, false), (whole, keys.clone()), "cut at {cuts:?}");
    assert_eq!(count(stream, &cuts, true), (whole, keys.clone()), "cut at {cuts:?}, with repeats");
    let expected = oracle::judge(stream);
    let counts = (whole.get, whole.set, whole.control);
    assert_eq!(counts, expected.counts, "{:?}: {}", expected.end, stream.escape_ascii());
    let equal = keys.iter().zip(&expected.keys).all(|(key, sent)| oracle::is(key, sent));
    assert!(equal && keys.len() == expected.keys.len(), "{keys:?}: {}", stream.escape_ascii());
});

fn split(input: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let (count, rest) = input.split_first()?;
    let (cuts, stream) = rest.split_at_checked(usize::from(*count % 16) * 2)?;
    let mut cuts: Vec<usize> = cuts
        .chunks_exact(2)
        .map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])) % (stream.len() + 1))
        .collect();
    cuts.sort_unstable();
    Some((cuts, stream))
}

fn count(stream: &[u8], cuts: &[usize], repeats: bool) -> (Tally, Vec<KeyText>) {
    let mut connection = Stream::default();
    connection.open(Some(FIRST), FIRST);
    let mut reader = SegmentReader::EMPTY;
    let mut total = (Tally::default(), Vec::new());
    let mut from = 0;
    for to in cuts.iter().copied().chain([stream.len()]) {
        segment(&mut connection, &mut reader, &mut total, stream, from, to);
        if repeats {
            segment(&mut connection, &mut reader, &mut total, stream, from / 2, to);
        }
        from = if repeats { from + (to - from) / 2 } else { to };
    }
    total
}

fn segment(
    connection: &mut Stream,
    reader: &mut SegmentReader,
    (total, keys): &mut (Tally, Vec<KeyText>),
    stream: &[u8],
    from: usize,
    to: usize,
) {
    let payload = &stream[from..to];
    if payload.is_empty() {
        return;
    }
    let (sequence, length) = (FIRST.wrapping_add(from as u32), payload.len() as u32);
    let begins = payload.first_chunk().is_some_and(|bytes| begins_request(u32::from_le_bytes(*bytes)));
    let begins = connection.wants_first_bytes() && begins;
    if let Admission::Parse(skip) = connection.admit(sequence, length, None, begins) {
        reader.begin(skip, length);
        reader.read(&mut connection.head, payload, STEPS, |key| keys.push(*key));
        assert!(reader.is_done() && reader.at <= reader.end, "{} of {} bytes", reader.at, reader.end);
        total.get += reader.tally.get;
        total.set += reader.tally.set;
        total.control += reader.tally.control;
        connection.finish(reader, sequence.wrapping_add(length));
    }
}
