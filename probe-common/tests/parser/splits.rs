//! Tests that the counts equal the oracle's, however a stream is split.

use probe_common::requests::Reason;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::connection::Connection;
use crate::oracle::{End, judge};

fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("\r\n"), 1 => Just("\n")]
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "/data/[a-zA-Z0-9%._~-]{1,24}".prop_map(String::from),
        1 => "/data/[a-zü]{1,100}".prop_map(String::from),
        1 => "/data/[a-z]{0,4}[?#/][a-z/?#]{0,6}",
        1 => "/dat[a-z/]{0,6}",
        2 => select(vec!["/data", "/data?x=/", "/stats", "/", "*", "/data/", "/data/ü", "/data/\u{1f600}?ü#\u{20ac}"]).prop_map(String::from),
    ]
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z][A-Za-z0-9-]{0,20}: ?[ -~]{0,40}",
        1 => "[Cc]ontent-[a-z]{0,7}[y]: [0-9]{1,3}",
        1 => "[Tt][rR]ansfer-[a-z]{0,8}x: [a-z]{1,8}",
        1 => Just("host: 127.0.0.1:9000".to_owned()),
        1 => "[Cc]onnection: (keep-alive|x|closed|, )",
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method =
        select(vec!["GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "G", "GETX", "P", "POS"]);
    let body = prop_oneof![
        3 => Just(None),
        1 => vec(any::<u8>(), 0..600).prop_map(Some),
        1 => Just(Some(b"GET /data/inside HTTP/1.1\r\n\r\n".to_vec())),
    ];
    let length_name = select(vec!["content-length", "Content-Length", "CONTENT-LENGTH"]);
    (method, target(), vec(header(), 0..6), body, length_name, line_end(), 0..3_usize, 0..7_usize).prop_map(
        |(method, target, mut headers, body, length_name, end, empty_lines, place)| {
            if let Some(body) = &body {
                headers.insert(place.min(headers.len()), format!("{length_name}: {}", body.len()));
            }
            let lines = headers.iter().map(|header| format!("{header}{end}")).collect::<String>();
            let head = format!("{}{method} {target} HTTP/1.1{end}{lines}{end}", end.repeat(empty_lines));
            [head.into_bytes(), body.unwrap_or_default()].concat()
        },
    )
}

fn pipeline() -> impl Strategy<Value = Vec<u8>> {
    vec(request(), 0..12).prop_map(|requests| requests.concat())
}

/// A stream with some bytes changed, removed or inserted, and with headers that hyper may refuse.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), select(b" \r\n\t:/?#G0\0\x7f-,".to_vec())];
    let sharp = prop_oneof![
        3 => Just(String::new()),
        1 => "GET /data/s HTTP/1\\.[01]\r\n(Transfer-Encoding: ?(gzip, ?)?chunked ?(, gzip)?\r\n|Connection: ?(x, ?)?[Cc]lose ?\r\n|connection: Keep-Alive\r\n|content-length: 0\r\n){0,3}\r\n",
    ];
    let stream = (pipeline(), sharp, pipeline())
        .prop_map(|(before, sharp, after)| [before, sharp.into_bytes(), after].concat());
    (stream, vec((any::<prop::sample::Index>(), byte, 0..3_u8), 0..4)).prop_map(|(mut stream, changes)| {
        for (index, byte, how) in changes {
            let at = index.index(stream.len() + 1);
            match how {
                0 if at < stream.len() => stream[at] = byte,
                1 if at < stream.len() => drop(stream.remove(at)),
                _ => stream.insert(at, byte),
            }
        }
        stream
    })
}

fn cut(stream: &[u8], cuts: &[prop::sample::Index]) -> Vec<(usize, usize)> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

proptest! {
    #[test]
    fn well_formed_streams_count_as_the_oracle_says_however_cut(
        stream in pipeline(),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
        first in any::<u32>(),
    ) {
        let expected = judge(&stream);
        prop_assert_eq!(expected.end, End::Idle);
        let mut connection = Connection::from_start(first);
        for (from, to) in cut(&stream, &cuts) {
            connection.append(&stream[from..to]);
        }
        prop_assert_eq!(connection.counts(), expected.counts);
        prop_assert!(connection.has_keys(&expected.keys));
        prop_assert!(connection.unparsed.is_empty());
        prop_assert!(connection.stream.head.between_requests());
    }

    #[test]
    fn damaged_streams_count_as_the_oracle_says_however_cut(
        stream in damaged(),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let expected = judge(&stream);
        let mut connection = Connection::from_start(7);
        for (from, to) in cut(&stream, &cuts) {
            connection.append(&stream[from..to]);
        }
        prop_assert_eq!(connection.counts(), expected.counts);
        prop_assert!(connection.has_keys(&expected.keys));
        match expected.end {
            // A target that the parser does not judge may come first.
            End::Malformed => prop_assert!(
                matches!(connection.unparsed.first(), Some(Reason::Malformed | Reason::Target)),
                "{:?}", connection.unparsed
            ),
            End::Idle => prop_assert!(connection.stream.head.between_requests()),
            // The parser refuses an invalid length at its line. hyper refuses it later.
            End::Inside | End::Chunked | End::Closed => {}
            End::Target => prop_assert_eq!(connection.unparsed.first(), Some(&Reason::Target)),
        }
    }

    #[test]
    fn repeats_and_overlaps_change_nothing(
        stream in pipeline(),
        cuts in vec(any::<prop::sample::Index>(), 1..12),
        again in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
        first in any::<u32>(),
    ) {
        let expected = judge(&stream);
        let mut connection = Connection::from_start(first);
        for (from, to) in cut(&stream, &cuts) {
            // Any earlier bytes may be retransmitted together with this segment's bytes.
            for (old, end) in &again {
                let old = old.index(from + 1);
                let end = old + end.index(from - old + 1);
                connection.segment(first.wrapping_add(old as u32), &stream[old..end]);
            }
            let old = again[0].0.index(from + 1);
            connection.segment(first.wrapping_add(old as u32), &stream[old..to]);
        }
        prop_assert_eq!(connection.counts(), expected.counts);
        prop_assert!(connection.has_keys(&expected.keys));
        prop_assert!(connection.unparsed.is_empty());
    }

    #[test]
    fn whatever_is_lost_or_out_of_order_nothing_is_counted_that_was_not_there(
        stream in pipeline(),
        cuts in vec(any::<prop::sample::Index>(), 1..12),
        order in vec(any::<prop::sample::Index>(), 1..24),
    ) {
        let expected = judge(&stream).counts;
        let segments = cut(&stream, &cuts);
        let mut connection = Connection::from_start(99);
        for index in order {
            let (from, to) = segments[index.index(segments.len())];
            connection.segment(99 + from as u32, &stream[from..to]);
        }
        let counted = connection.counts();
        prop_assert!(
            counted.0 <= expected.0 && counted.1 <= expected.1 && counted.2 <= expected.2,
            "{:?} of {:?}", counted, expected
        );
    }
}
