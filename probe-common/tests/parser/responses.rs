//! Tests that each final response counts when its head ends, at every split of the stream.

use probe_common::http::SegmentReader;
use probe_common::http::head::ResponseHead;
use probe_common::protocol::Parser;
use probe_common::requests::Reason;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::connection::STEPS;

/// A response, and whether it is a final one.
fn response() -> impl Strategy<Value = (String, bool)> {
    let length = prop_oneof![Just(0_usize), Just(20), Just(21), 0..600_usize];
    (0..6_u8, length, 0..3_usize).prop_map(|(kind, length, extra)| {
        let header = format!("x-trace: {}\r\n", "t".repeat(60)).repeat(extra);
        let body = "HTTP/1.1 200 OK\r\n".repeat(40)[..length].to_owned();
        match kind {
            0 => ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), false),
            1 => (format!("HTTP/1.1 204 No Content\r\n{header}\r\n"), true),
            2 => (format!("HTTP/1.1 404 Not Found\r\ncontent-length: {length}\r\n{header}\r\n{body}"), true),
            _ => (format!("HTTP/1.1 200 OK\r\n{header}content-length: {length}\r\n\r\n{body}"), true),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn finals_are_counted_when_their_heads_end(
        pool in vec(response(), 1..4),
        order in vec(any::<Index>(), 1..40),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let mut stream = String::new();
        let mut heads = Vec::new();
        for at in order {
            let (text, is_final) = at.get(&pool);
            if *is_final {
                heads.push(stream.len() + text.find("\r\n\r\n").unwrap() + 4);
            }
            stream.push_str(text);
        }
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        ends.push(stream.len());
        ends.sort_unstable();
        let (mut reader, mut head) = (SegmentReader::EMPTY, ResponseHead::default());
        head.begin();
        let mut from = 0;
        for to in ends {
            let segment = &stream.as_bytes()[from..to];
            reader.begin_responses(0, segment.len() as u32);
            reader.read_responses(&mut head, segment, STEPS);
            let expected = heads.iter().filter(|end| (from + 1..=to).contains(*end)).count();
            prop_assert_eq!(reader.tally.set as usize, expected);
            prop_assert_eq!(head.stopped(), None);
            from = to;
        }
        prop_assert!(head.is_at_first_byte());
    }
}

/// A cache that held the end of a head, here a line feed, would take a body's byte for a response.
#[test]
fn the_end_of_a_head_that_began_earlier_is_not_cached() {
    let (mut reader, mut head) = (SegmentReader::EMPTY, ResponseHead::default());
    head.begin();
    for (segment, finals, stopped) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r"[..], 0, None),
        (b"\nok\nok\n", 1, Some(Reason::Malformed)),
    ] {
        reader.begin_responses(0, segment.len() as u32);
        reader.read_responses(&mut head, segment, STEPS);
        assert_eq!((reader.tally.set, head.stopped()), (finals, stopped));
    }
}
