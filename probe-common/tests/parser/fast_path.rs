//! Tests that fast path and step-by-step parsing return the same.

use probe_common::http::SegmentReader;
use probe_common::http::head::Head;
use probe_common::key::KeyText;
use probe_common::protocol::Parser;
use probe_common::requests::Tally;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::connection::STEPS;

/// The result of one segment, and the parser's state after it.
#[derive(Debug, PartialEq)]
struct Outcome {
    tally: Tally,
    keys: Vec<KeyText>,
    stands: (Option<u8>, bool, bool, u64),
    read: (u32, bool),
}

/// One connection, read with or without the fast path.
struct Reader {
    reader: SegmentReader,
    head: Head,
    by_steps: bool,
}

impl Reader {
    fn new(by_steps: bool) -> Self {
        // Garbage in the window that no result may depend on: the bytes of a read.
        let mut reader = SegmentReader::EMPTY;
        for (word, bytes) in
            reader.words.iter_mut().zip(b"GET /data/a HTTP/1.1\r\nhost: a\r\n\r\n".chunks_exact(8).cycle())
        {
            *word = u64::from_le_bytes(bytes.try_into().unwrap());
        }
        Self { reader, head: Head::default(), by_steps }
    }

    fn segment(&mut self, skip: u32, payload: &[u8]) -> Outcome {
        let mut keys = Vec::new();
        self.reader.begin(skip, payload.len() as u32);
        if self.by_steps {
            self.reader.read_by_steps(&mut self.head, payload, STEPS, |key| keys.push(*key));
        } else {
            self.reader.read(&mut self.head, payload, STEPS, |key| keys.push(*key));
        }
        let head = &self.head;
        Outcome {
            tally: self.reader.tally,
            keys,
            stands: (
                head.stopped().map(|reason| reason as u8),
                head.between_requests(),
                head.inside_request(),
                head.body,
            ),
            read: (self.reader.at, self.reader.is_done()),
        }
    }
}

/// Tails that take the fast path, that almost do, and that do not.
fn tail() -> impl Strategy<Value = String> {
    select(vec![
        " HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n",
        " HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n\r\n",
        " HTTP/1.1\r\nHost: 127.0.0.1:9000\r\nx: y\r\n\r\n",
        " HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n\r\n",
        " HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n",
        " HTTP/1.1\nHost: a\n\n",
        " HTTP/1.1\r\n\r\n",
        " HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
        " HTTP/1.1\r\ncontent-length: 3\r\n\r\nab",
        " HTTP/1.1\r\nconnection: close\r\n\r\n",
        " HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        " HTTP/1.0\r\n\r\n",
        " HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        " HTTP/1.2\r\n\r\n",
        "?x=1 HTTP/1.1\r\n\r\n",
        "/b HTTP/1.1\r\n\r\n",
        " HTTP/1.1\r\n\r\nGET /data/next HTTP/1.1\r\n\r\n",
        " HTTP/1.1\r\n\r\nGET /stats HTTP/1.1\r\n\r\n",
    ])
    .prop_map(String::from)
}

fn long_tail() -> impl Strategy<Value = String> {
    (80..130_usize).prop_map(|length| format!(" HTTP/1.1\r\nx: {}\r\n\r\n", "v".repeat(length - 18)))
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-zA-Z0-9%._~-]{1,44}",
        2 => "[a-z]{0,3}[ /?#ü<`\"\x01\x7f]{0,2}[a-z]{0,9}",
        1 => "[a-z]{6,60}",
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = select(vec![
        "GET /data/",
        "GET /data/",
        "GET /data/",
        "GET /data/",
        "\r\nGET /data/",
        "GET /date/",
        "PET /data/",
    ]);
    let tail = prop_oneof![5 => tail(), 1 => long_tail()];
    (line, key(), tail).prop_map(|(line, key, tail)| format!("{line}{key}{tail}").into_bytes())
}

/// Segments that are mostly whole requests. Some are cut elsewhere, and some have one byte changed.
fn segments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let cut = prop_oneof![6 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    let change =
        prop_oneof![8 => Just(None), 1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(Some)];
    vec((request(), cut, change), 1..24).prop_map(|requests| {
        let mut segments = Vec::new();
        for (mut request, cut, change) in requests {
            if let Some((index, byte)) = change {
                let at = index.index(request.len());
                request[at] = byte;
            }
            let at = cut.map_or(0, |cut| cut.index(request.len()));
            let (first, second) = request.split_at(at);
            segments.extend([first, second].into_iter().filter(|part| !part.is_empty()).map(<[u8]>::to_vec));
        }
        segments
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn segments_are_read_alike_in_both_ways(segments in segments(), old in 0..20_usize) {
        let (mut one, mut other) = (Reader::new(false), Reader::new(true));
        for segment in segments {
            // Some old bytes before the new ones.
            let payload = [vec![b'o'; old], segment].concat();
            let stopped = other.head.stopped().is_some();
            prop_assert_eq!(one.segment(old as u32, &payload), other.segment(old as u32, &payload));
            if stopped {
                // As for a connection whose parsing starts again.
                one.head.restart();
                other.head.restart();
            }
        }
    }
}

#[test]
fn the_second_read_with_the_same_tail_takes_the_fast_path() {
    let mut reader = Reader::new(false);
    let request =
        |key: &str| format!("GET /data/{key} HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n").into_bytes();
    let first = request("user-1");
    let _ = reader.segment(0, &first);
    for key in ["a", "user-12345", "seven77", "eight888", "nine99999", &"x".repeat(40)] {
        let payload = request(key);
        reader.reader.begin(0, payload.len() as u32);
        let mut keys = Vec::new();
        // No steps are allowed.
        reader.reader.read(&mut reader.head, &payload, 0, |key| keys.push(*key));
        assert!(reader.reader.is_done() && reader.head.between_requests());
        assert_eq!((reader.reader.tally.get, keys.len()), (1, 1), "{key}");
        assert!(crate::oracle::is(&keys[0], key.as_bytes()), "{key}");
    }
}
