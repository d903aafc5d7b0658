//! Tests retransmissions, overlaps, gaps, and connections older than the probe.

use probe_common::requests::Reason;

use crate::connection::Connection;

const GET: &[u8] = b"GET /data/a HTTP/1.1\r\n\r\n";
const LENGTH: u32 = GET.len() as u32;

#[test]
fn repeats_are_not_counted_again() {
    for first in [1, u32::MAX - LENGTH, u32::MAX] {
        let mut connection = Connection::from_start(first);
        connection.append(GET);
        connection.segment(first, GET);
        connection.segment(first, &GET[..5]);
        connection.append(GET);
        connection.segment(first, &GET.repeat(2));
        assert_eq!((connection.tally.get, connection.duplicates, connection.unparsed.len()), (2, 3, 0));
    }
}

#[test]
fn the_old_part_of_a_segment_is_skipped() {
    let two = GET.repeat(2);
    for from in 0..=GET.len() {
        let mut connection = Connection::from_start(1);
        connection.append(GET);
        connection.segment(1 + from as u32, &two[from..]);
        assert_eq!((connection.tally.get, connection.duplicates), (2, 0), "from {from}");
    }
}

#[test]
fn a_gap_loses_the_connection_until_it_is_idle() {
    let mut connection = Connection::from_start(1);
    connection.append(GET);
    // The second segment is missing. The third arrives first.
    connection.segment(1 + 2 * LENGTH, GET);
    connection.segment(1 + LENGTH, GET);
    assert_eq!((connection.tally.get, &*connection.unparsed), (2, [Reason::Gap].as_slice()));
    // The connection is not idle, so the position of these bytes in a request is unknown.
    connection.segment(1 + 3 * LENGTH, GET);
    assert_eq!((connection.tally.get, &*connection.unparsed), (2, [Reason::Gap; 2].as_slice()));
    connection.answer();
    connection.segment(1 + 3 * LENGTH, GET);
    assert_eq!((connection.tally.get, connection.duplicates), (2, 1), "a repeat is no new request");
    connection.segment(1 + 4 * LENGTH, GET);
    assert_eq!(connection.tally.get, 3);
}

#[test]
fn a_gap_inside_a_body_costs_nothing() {
    let stream =
        [b"POST /data HTTP/1.1\r\ncontent-length: 3000\r\n\r\n".as_slice(), &[b'G'; 3000], GET].concat();
    let at = |from: usize| 1 + from as u32;
    let mut connection = Connection::from_start(1);
    connection.segment(at(500), &stream[500..1000]);
    connection.segment(at(1000), &stream[1000..2000]);
    connection.segment(at(0), &stream[..500]);
    assert_eq!(connection.counts(), (0, 1, 0));
    connection.segment(at(2000), &stream[2000..]);
    assert_eq!(connection.counts(), (1, 1, 0));
    assert_eq!(connection.unparsed, [Reason::Gap; 2]);
}

#[test]
fn a_gap_over_a_bodys_end_is_not_guessed() {
    let stream =
        [b"POST /data HTTP/1.1\r\ncontent-length: 600\r\n\r\n".as_slice(), &[b'G'; 600], GET].concat();
    let mut connection = Connection::from_start(1);
    connection.segment(501, &stream[500..]);
    connection.segment(1, &stream[..500]);
    assert_eq!((connection.counts(), &*connection.unparsed), ((0, 1, 0), [Reason::Gap].as_slice()));
    connection.answer();
    connection.segment(1 + stream.len() as u32, GET);
    assert_eq!(connection.counts(), (1, 1, 0));
}

#[test]
fn two_separate_gaps_hide_nothing_that_comes_in_order() {
    let mut connection = Connection::from_start(1);
    connection.segment(101, GET);
    connection.segment(301, GET);
    connection.segment(1, GET);
    assert_eq!((connection.tally.get, connection.duplicates), (1, 0));
    assert_eq!(connection.unparsed, [Reason::Gap; 2]);
}

#[test]
fn an_older_connection_is_followed_from_the_first_segment_with_a_method() {
    let mut connection = Connection::joined(5_000);
    connection.append(b"the rest of some body GET /data/a HTTP/1.1\r\n\r\n");
    assert_eq!((connection.tally.get, &*connection.unparsed), (0, [Reason::Joined].as_slice()));
    connection.answer();
    connection.append(&GET.repeat(2));
    assert_eq!((connection.tally.get, connection.unparsed.len()), (2, 1));

    let mut connection = Connection::joined(5_000);
    connection.append(GET);
    assert_eq!((connection.tally.get, connection.unparsed.len()), (1, 0));
}

#[test]
fn a_wrong_start_on_an_older_connection_is_mended_at_the_next_pause() {
    let mut connection = Connection::joined(1);
    // Bytes inside a body that happen to start with a method.
    connection.append(b"GET /of the body");
    connection.answer();
    connection.append(GET);
    assert_eq!((connection.tally.get, &*connection.unparsed), (1, [Reason::Malformed].as_slice()));
}

/// One request at a time. The pieces of its body arrive in reverse order, before its head.
#[test]
fn the_pieces_of_a_body_may_come_last_one_first() {
    let stream = [b"POST /data HTTP/1.1\r\ncontent-length: 3000\r\n\r\n".as_slice(), &[b'x'; 3000]].concat();
    let at = |from: usize| 1 + from as u32;
    let mut connection = Connection::from_start(1);
    connection.segment(at(2000), &stream[2000..]);
    connection.segment(at(1000), &stream[1000..2000]);
    connection.segment(at(0), &stream[..1000]);
    connection.answer();
    assert_eq!(connection.tally.set, 1);
}

/// The head and a middle piece are lost, so the arriving bytes are not contiguous.
#[test]
fn the_head_and_a_middle_piece_may_come_late() {
    let stream = [b"POST /data HTTP/1.1\r\ncontent-length: 4000\r\n\r\n".as_slice(), &[b'x'; 4000]].concat();
    let at = |from: usize| 1 + from as u32;
    let mut connection = Connection::from_start(1);
    connection.segment(at(1000), &stream[1000..2000]);
    connection.segment(at(3000), &stream[3000..]);
    connection.segment(at(0), &stream[..1000]);
    connection.segment(at(2000), &stream[2000..3000]);
    connection.answer();
    assert_eq!(connection.tally.set, 1);
}
