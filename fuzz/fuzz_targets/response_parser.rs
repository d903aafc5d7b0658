//! The kernel's parser of HTTP responses over any bytes: it counts the same, however they are cut.
//!
//! Input: one byte with the number of cuts, two bytes for each cut, then the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_common::http::SegmentReader;
use probe_common::http::head::ResponseHead;
use probe_common::protocol::Parser as _;
use probe_common::requests::Reason;

/// More steps than any input needs.
const STEPS: u32 = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let Some((cuts, stream)) = rest.split_at_checked(usize::from(*count % 16) * 2) else { return };
    let mut cuts: Vec<usize> = cuts
        .chunks_exact(2)
        .map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])) % (stream.len() + 1))
        .collect();
    cuts.sort_unstable();
    let whole = count_responses(stream, &[]);
    assert_eq!(count_responses(stream, &cuts), whole, "cut at {cuts:?}: {}", stream.escape_ascii());
    let lines = stream.split(|byte| *byte == b'\n').count() as u64;
    assert!(whole.0 + whole.1 < lines, "more heads than lines: {}", stream.escape_ascii());
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let is_head = response.parse(stream).is_ok_and(|status| status.is_complete());
    if is_head && whole.2.is_none() && response.code.is_some_and(|code| (100..600).contains(&code)) {
        assert!(whole.0 + whole.1 > 0, "a head that is not counted: {}", stream.escape_ascii());
    }
});

/// Final and interim responses, and why the parser stopped.
fn count_responses(stream: &[u8], cuts: &[usize]) -> (u64, u64, Option<Reason>) {
    let (mut reader, mut head) = (SegmentReader::EMPTY, ResponseHead::default());
    head.begin();
    let (mut finals, mut interims, mut from) = (0, 0, 0);
    for to in cuts.iter().copied().chain([stream.len()]) {
        let segment = &stream[from..to];
        reader.begin_responses(0, segment.len() as u32);
        reader.read_responses(&mut head, segment, STEPS);
        finals += u64::from(reader.tally.set);
        interims += u64::from(reader.tally.control);
        from = to;
        if head.stopped().is_some() {
            break;
        }
    }
    (finals, interims, head.stopped())
}
