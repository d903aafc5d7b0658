//! Tests dropped and late segments against a model of TCP.
//!
//! Dropped segments are not counted and do not stop parsing.

use probe_common::http::{SegmentReader, Stream, begins_request};
use probe_common::key::KeyText;
use probe_common::requests::Tally;
use probe_common::stream::Admission;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::connection::STEPS;
use crate::oracle::{self, judge};

const FIRST: u32 = u32::MAX - 700;

/// A segment that TCP has not accepted yet.
struct Waiting {
    end: u32,
    tally: Tally,
    keys: Vec<KeyText>,
}

/// One connection in the kernel programs, with a TCP that accepts whole segments in order.
struct World {
    stream: Stream,
    reader: SegmentReader,
    waiting: Vec<Waiting>,
    counted: Tally,
    keys: Vec<KeyText>,
    /// `accepted` is TCP's `rcv_nxt`. `seen` is the value that the programs read, which is lower while segments are
    /// in the socket's backlog.
    accepted: u32,
    seen: u32,
}

impl World {
    fn new() -> Self {
        let mut stream = Stream::default();
        stream.open(Some(FIRST), FIRST);
        Self {
            stream,
            reader: SegmentReader::EMPTY,
            waiting: Vec::new(),
            counted: Tally::default(),
            keys: Vec::new(),
            accepted: FIRST,
            seen: FIRST,
        }
    }

    /// TCP has processed all segments and acknowledges them.
    fn acknowledge(&mut self) {
        self.seen = self.accepted;
        let seen = self.seen;
        while self.waiting.first().is_some_and(|first| first.end.wrapping_sub(seen).cast_signed() <= 0) {
            let taken = self.waiting.remove(0);
            self.counted.get += taken.tally.get;
            self.counted.set += taken.tally.set;
            self.counted.control += taken.tally.control;
            self.keys.extend(taken.keys);
        }
    }

    fn segment(&mut self, sequence: u32, payload: &[u8], is_sound: bool) {
        let length = payload.len() as u32;
        if length == 0 {
            return;
        }
        if self.stream.roll_back(sequence, length, self.seen) {
            self.waiting.clear();
        }
        self.stream.accept(self.seen);
        let begins = payload.first_chunk().is_some_and(|bytes| begins_request(u32::from_le_bytes(*bytes)));
        if let Admission::Parse(skip) = self.stream.admit(sequence, length, Some(self.seen), begins) {
            self.reader.begin(skip, length);
            let mut keys = Vec::new();
            self.reader.read(&mut self.stream.head, payload, STEPS, |key| keys.push(*key));
            let end = sequence.wrapping_add(length);
            self.stream.finish(&self.reader, end);
            if self.reader.tally != Tally::default() {
                self.waiting.push(Waiting { end, tally: self.reader.tally, keys });
            }
        }
        let end = sequence.wrapping_add(length);
        let is_next = sequence.wrapping_sub(self.accepted).cast_signed() <= 0;
        if is_sound && is_next && end.wrapping_sub(self.accepted).cast_signed() > 0 {
            self.accepted = end;
        }
    }
}

/// A faulty copy of a segment that arrives before the correct one.
#[derive(Clone, Debug)]
enum Before {
    /// One byte differs. TCP drops the segment.
    Damaged(Index, u8),
    /// Bytes that the client never sent, outside of the window or with an old timestamp. TCP drops the segment.
    Foreign(Vec<u8>),
    /// Only the first bytes of the segment. TCP drops it.
    Cut(Index),
}

fn before() -> impl Strategy<Value = Option<Before>> {
    prop_oneof![
        3 => Just(None),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Some(Before::Damaged(at, byte))),
        1 => Just(Some(Before::Foreign(b"GET /data/never-sent HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3)))),
        1 => any::<Index>().prop_map(|at| Some(Before::Cut(at))),
    ]
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    vec(("[a-z0-9]{1,30}", 0..4_u8, 0..300_usize), 1..12).prop_map(|all| {
        let request = |(key, kind, length): (String, u8, usize)| match kind {
            0 => format!("POST /data HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{}", "b".repeat(length)),
            1 => format!("GET /stats HTTP/1.1\r\nx: {key}\r\n\r\n"),
            _ => format!("GET /data/{key} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"),
        };
        all.into_iter().map(request).collect::<String>().into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_tcp_drops_is_not_counted_and_blinds_nothing(
        stream in requests(),
        cuts in vec(any::<Index>(), 0..16),
        befores in vec(before(), 17),
    ) {
        let mut world = World::new();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        at.push(stream.len());
        at.sort_unstable();
        let mut from = 0;
        for (to, before) in at.into_iter().zip(befores.into_iter().cycle()) {
            let payload = &stream[from..to];
            let sequence = FIRST.wrapping_add(from as u32);
            match before {
                _ if payload.is_empty() => {}
                None => {}
                Some(Before::Damaged(at, byte)) => {
                    let mut damaged = payload.to_vec();
                    let at = at.index(payload.len());
                    damaged[at] = if damaged[at] == byte { !byte } else { byte };
                    world.segment(sequence, &damaged, false);
                }
                Some(Before::Foreign(other)) => world.segment(sequence, &other, false),
                Some(Before::Cut(at)) => world.segment(sequence, &payload[..at.index(payload.len())], false),
            }
            world.segment(sequence, payload, true);
            world.acknowledge();
            from = to;
        }
        let expected = judge(&stream);
        let counted = world.counted;
        prop_assert_eq!((counted.get, counted.set, counted.control), expected.counts);
        prop_assert_eq!(world.keys.len(), expected.keys.len());
        prop_assert!(world.keys.iter().zip(&expected.keys).all(|(key, sent)| oracle::is(key, sent)));
    }

    #[test]
    fn segments_in_the_backlog_are_counted_when_tcp_takes_them(
        stream in requests(),
        cuts in vec(any::<Index>(), 0..14),
        pauses in vec(any::<bool>(), 15),
    ) {
        let mut world = World::new();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        at.push(stream.len());
        at.sort_unstable();
        let mut from = 0;
        for (to, pause) in at.into_iter().zip(pauses) {
            world.segment(FIRST.wrapping_add(from as u32), &stream[from..to], true);
            if pause {
                world.acknowledge();
            }
            from = to;
        }
        world.acknowledge();
        let counted = world.counted;
        prop_assert_eq!((counted.get, counted.set, counted.control), judge(&stream).counts);
        prop_assert!(world.waiting.is_empty());
    }
}

#[test]
fn a_connection_that_tcp_is_ahead_of_recovers_at_the_next_request_head() {
    let get = b"GET /data/a HTTP/1.1\r\n\r\n";
    let length = get.len() as u32;
    let mut world = World::new();
    world.segment(FIRST, get, true);
    world.acknowledge();
    // Another CPU handled a segment, so the parser has not seen it.
    world.accepted = FIRST.wrapping_add(2 * length);
    world.acknowledge();
    world.stream.answered = 1;
    world.segment(FIRST.wrapping_add(2 * length), &get[..10], true);
    world.acknowledge();
    // The connection is not idle, and the segment does not start at a request's first byte.
    world.segment(FIRST.wrapping_add(2 * length + 10), &get[10..], true);
    world.acknowledge();
    assert_eq!(world.counted.get, 1);
    world.stream.answered = 1;
    for number in 3..50 {
        world.segment(FIRST.wrapping_add(number * length), get, true);
        world.acknowledge();
        assert_eq!(world.counted.get, number - 1);
        world.stream.answered = 1;
    }
}
