//! Heads and streams with their expected counts: (get, set, control).

use probe_common::http::head::MAX_HEAD;
use probe_common::requests::Reason;

use crate::connection::{Connection, counts};
use crate::oracle::judge;

/// A stream, its counts, and what it demonstrates.
type Case = (&'static [u8], (u32, u32, u32), &'static str);

pub(crate) const CASES: &[Case] = &[
    (b"GET /data/abc HTTP/1.1\r\n\r\n", (1, 0, 0), "a read"),
    (b"GET /data/abc HTTP/1.1\r\nhost: x\r\n\r\n", (1, 0, 0), "with a header"),
    (b"GET /data/abc?x=1 HTTP/1.1\r\n\r\n", (1, 0, 0), "a query ends the key"),
    (b"GET /data/abc#x HTTP/1.1\r\n\r\n", (1, 0, 0), "a fragment ends the key"),
    (b"GET /data/abc?x=/y HTTP/1.1\r\n\r\n", (1, 0, 0), "a slash behind the key"),
    (b"GET /data/a HTTP/1.0\r\n\r\n", (1, 0, 0), "version 1.0"),
    (b"GET /data/\xc3\xbc\xf0\x9f\x98\x80\xe2\x82\xac HTTP/1.1\r\n\r\n", (1, 0, 0), "a key of long characters"),
    (b"GET /data/\"{}|\\^[] HTTP/1.1\r\n\r\n", (1, 0, 0), "bytes that should be encoded and need not"),
    (b"GET /data/a?`{ HTTP/1.1\r\n\r\n", (1, 0, 0), "a query takes what a path does not"),
    (b"GET /data/a#<>` HTTP/1.1\r\n\r\n", (1, 0, 0), "and a fragment takes all"),
    (b"OPTIONS * HTTP/1.1\r\n\r\n", (0, 0, 1), "the whole server"),
    (b"GET /data/a<b HTTP/1.1\r\n\r\n", (0, 0, 0), "malformed: an angle in a path"),
    (b"GET /x`y HTTP/1.1\r\n\r\n", (0, 0, 0), "malformed: a backtick in any path"),
    (b"GET /data/a?\" HTTP/1.1\r\n\r\n", (0, 0, 0), "malformed: a quote in a query"),
    (b"GET /data/\xc3 HTTP/1.1\r\n\r\n", (0, 0, 0), "malformed: half a character"),
    (b"GET /data/\xed\xa0\x80 HTTP/1.1\r\n\r\n", (0, 0, 0), "malformed: a surrogate"),
    (b"GET /data/a#\xff HTTP/1.1\r\n\r\n", (0, 0, 0), "malformed: no character at all"),
    (b"GET /data/%2F%00 HTTP/1.1\r\n\r\n", (1, 0, 0), "an encoded key"),
    (b"GET /data/ HTTP/1.1\r\n\r\n", (0, 0, 1), "no key"),
    (b"GET /data/?x HTTP/1.1\r\n\r\n", (0, 0, 1), "no key but a query"),
    (b"GET /data/a/b HTTP/1.1\r\n\r\n", (0, 0, 1), "a slash in the key"),
    (b"GET /data/a/ HTTP/1.1\r\n\r\n", (0, 0, 1), "a slash behind the key"),
    (b"GET /data HTTP/1.1\r\n\r\n", (0, 0, 1), "the other method's path"),
    (b"GET /date/a HTTP/1.1\r\n\r\n", (0, 0, 1), "another path"),
    (b"GET /health HTTP/1.1\r\n\r\n", (0, 0, 1), "a control request"),
    (b"get /data/a HTTP/1.1\r\n\r\n", (0, 0, 1), "methods have a case"),
    (b"HEAD /data/a HTTP/1.1\r\n\r\n", (0, 0, 1), "another method"),
    (b"GETT /data/a HTTP/1.1\r\n\r\n", (0, 0, 1), "a longer method"),
    (b"G /data/a HTTP/1.1\r\n\r\n", (0, 0, 1), "a shorter method"),
    (b"POST /data HTTP/1.1\r\n\r\n", (0, 1, 0), "a write"),
    (b"POST /data?x HTTP/1.1\r\n\r\n", (0, 1, 0), "a write with a query"),
    (b"POST /data/ HTTP/1.1\r\n\r\n", (0, 0, 1), "not quite the path"),
    (b"POST /data/a HTTP/1.1\r\n\r\n", (0, 0, 1), "nor this"),
    (b"POST /database HTTP/1.1\r\n\r\n", (0, 0, 1), "nor this"),
    (b"POST /admin/reset HTTP/1.1\r\n\r\n", (0, 0, 1), "a control write"),
    (b"PUT /data HTTP/1.1\r\n\r\n", (0, 0, 1), "another method"),
    (b"\r\n\r\nGET /data/a HTTP/1.1\r\n\r\n", (1, 0, 0), "leading empty lines"),
    (b"\n\nGET /data/a HTTP/1.1\n\n", (1, 0, 0), "bare LF"),
    (b"GET /data/a HTTP/1.1\r\nx: y\n\r\n", (1, 0, 0), "mixed line ends"),
    (b"GET /data/a HTTP/1.1\r\nx:\r\ny: \t \r\n\r\n", (1, 0, 0), "empty values"),
    (b"GET /data/a HTTP/1.1\r\nx: \x80\xff\t~\r\n\r\n", (1, 0, 0), "values beyond ASCII"),
    (b"GET /data/a HTTP/1.1\r\n", (0, 0, 0), "an incomplete head"),
    (b"GET /data/a HTTP/1.1\r\nx: y\r\n", (0, 0, 0), "an incomplete head"),
    (b"GET /data/a HTTP/1.1\r\nx: y\r\n\r", (0, 0, 0), "all but the last byte"),
    (b"GET /data/a HTTP/1.1 \r\n\r\n", (0, 0, 0), "malformed: a space behind the version"),
    (b"GET  /data/a HTTP/1.1\r\n\r\n", (0, 0, 0), "malformed: two spaces"),
    (b"GET /data/a HTTP/1.2\r\n\r\n", (0, 0, 0), "malformed: no such version"),
    (b"GET /data/a HTTP/2.0\r\n\r\n", (0, 0, 0), "malformed: no such version"),
    (b"GET /data/a\r\n\r\n", (0, 0, 0), "malformed: no version"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (0, 0, 0), "malformed: the HTTP/2 preface"),
    (b"GET /data/a HTTP/1.1\r\nx y\r\n\r\n", (0, 0, 0), "malformed: no colon"),
    (b"GET /data/a HTTP/1.1\r\nx : y\r\n\r\n", (0, 0, 0), "malformed: a space before the colon"),
    (b"GET /data/a HTTP/1.1\r\n x: y\r\n\r\n", (0, 0, 0), "malformed: a folded line"),
    (b"GET /data/a HTTP/1.1\r\nx: \0\r\n\r\n", (0, 0, 0), "malformed: NUL in a value"),
    (b"GET /data/a HTTP/1.1\r\nx: \x7f\r\n\r\n", (0, 0, 0), "malformed: DEL in a value"),
    (b"GET /data/a HTTP/1.1\rx: y\r\n\r\n", (0, 0, 0), "malformed: CR without LF"),
    (b"GET /data/\x7f HTTP/1.1\r\n\r\n", (0, 0, 0), "malformed: DEL in the target"),
    (b"POST /data HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /data/a HTTP/1.1\r\n\r\n", (1, 1, 0), "a body"),
    (b"POST /data HTTP/1.1\r\nCONTENT-LENGTH:3\r\n\r\nabcGET /data/a HTTP/1.1\r\n\r\n", (1, 1, 0), "loud"),
    (b"POST /data HTTP/1.1\r\nContent-Length: 3 \t\n\nabcGET /data/a HTTP/1.1\n\n", (1, 1, 0), "and loose"),
    (b"GET /data/b HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /data/a HTTP/1.1\r\n\r\n", (2, 0, 0), "a read with a body"),
    (b"POST /x HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /data/a HTTP/1.1\r\n\r\n", (1, 0, 1), "a control body"),
    (
        b"POST /data HTTP/1.1\r\ncontent-length: 26\r\n\r\nGET /data/a HTTP/1.1\r\n\r\n  GET /data/a HTTP/1.1\r\n\r\n",
        (1, 1, 0),
        "a head inside a body",
    ),
    (b"POST /data HTTP/1.1\r\ncontent-lengthy: 3\r\n\r\nGET /data/a HTTP/1.1\r\n\r\n", (1, 1, 0), "a longer name"),
    (b"POST /data HTTP/1.1\r\ncontent\rlength: 3\r\n\r\n", (0, 0, 0), "malformed: CR is not a dash"),
    (b"POST /data HTTP/1.1\r\ncontent-length: \r\n\r\n", (0, 0, 0), "malformed: no length"),
    (b"POST /data HTTP/1.1\r\ncontent-length: +3\r\n\r\nabc", (0, 0, 0), "malformed: a sign"),
    (b"POST /data HTTP/1.1\r\ncontent-length: 3, 3\r\n\r\nabc", (0, 0, 0), "malformed: a list"),
    (b"POST /data HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc", (0, 0, 0), "malformed: two lengths"),
    (
        b"POST /data HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 03\r\n\r\nabcGET /data/a HTTP/1.1\r\n\r\n",
        (1, 1, 0),
        "one length twice",
    ),
    (b"POST /data HTTP/1.1\r\ncontent-length: 18446744073709551613\r\n\r\n", (0, 1, 0), "the longest body"),
    (b"POST /data HTTP/1.1\r\ncontent-length: 18446744073709551614\r\n\r\n", (0, 0, 0), "malformed: too long"),
    (b"POST /data HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", (0, 0, 0), "malformed: not chunked"),
    (b"POST /data HTTP/1.1\r\ntransfer-encoding: chunked, gzip\r\n\r\n", (0, 0, 0), "malformed: chunked is not last"),
    (b"POST /data HTTP/1.1\r\ntransfer-encoding: chunked,\r\n\r\n", (0, 0, 0), "malformed: nothing is last"),
    (b"POST /data HTTP/1.1\r\ntransfer-encoding: chunked x\r\n\r\n", (0, 0, 0), "malformed: a blank inside"),
    (b"POST /data HTTP/1.1\r\ntransfer-encoding: \xc3\xbc, chunked\r\n\r\n", (0, 0, 0), "malformed: not ASCII"),
    (
        b"POST /data HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n\r\n",
        (0, 0, 0),
        "malformed: the last line counts",
    ),
    (b"POST /data HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", (0, 0, 0), "malformed: chunks in version 1.0"),
    (b"POST /data HTTP/1.1\r\ntransfer-encoding: gzip , CHUNKED \t\r\n\r\n", (0, 1, 0), "chunked at last"),
    (
        b"POST /data HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: x\r\n\r\n",
        (0, 1, 0),
        "a length behind an encoding is not read",
    ),
    (
        b"GET /data/a HTTP/1.1\r\nConnection: close\r\n\r\nGET /data/b HTTP/1.1\r\n\r\n",
        (1, 0, 0),
        "closed: nothing follows",
    ),
    (
        b"POST /data HTTP/1.1\r\nconnection: x,\tClose \r\ncontent-length: 2\r\n\r\n{}GET /data/b HTTP/1.1\r\n\r\n",
        (0, 1, 0),
        "closed: nothing follows the body",
    ),
    (
        b"GET /data/a HTTP/1.0\r\n\r\nGET /data/b HTTP/1.0\r\n\r\n",
        (1, 0, 0),
        "closed: version 1.0 does without being told",
    ),
    (
        b"GET /data/a HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\nGET /data/b HTTP/1.0\r\n\r\n",
        (2, 0, 0),
        "version 1.0 goes on when asked to",
    ),
    (
        b"GET /data/a HTTP/1.1\r\nconnection: closed, clos, xclose, close\xff\r\n\r\nGET /data/b HTTP/1.1\r\n\r\n",
        (2, 0, 0),
        "no such token",
    ),
    (
        b"GET /data/a HTTP/1.1\r\nconnections: close\r\n\r\nGET /data/b HTTP/1.1\r\n\r\n",
        (2, 0, 0),
        "no such header",
    ),
    (
        b"GET /data/a HTTP/1.1\r\nconnection: close\r\nconnection: keep-alive\r\n\r\nGET /data/b HTTP/1.1\r\n\r\n",
        (1, 0, 0),
        "closed: said once is said",
    ),
    (b"POST /data HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", (0, 0, 0), "malformed: too long"),
];

#[test]
fn every_case_counts_as_it_must() {
    for (stream, expected, what) in CASES {
        let shown = stream.escape_ascii();
        assert_eq!(counts(stream), *expected, "{what}: {shown}");
        if what.starts_with("malformed") {
            let mut connection = Connection::from_start(1);
            connection.append(stream);
            assert_eq!(connection.unparsed, [Reason::Malformed], "{what}: {shown}");
        }
        if what.starts_with("closed") {
            let mut connection = Connection::from_start(1);
            connection.append(stream);
            connection.answer();
            connection.append(b"GET /data/c HTTP/1.1\r\n\r\n");
            assert_eq!(connection.unparsed, [Reason::Closed; 2], "{what}: {shown}");
            assert_eq!(connection.counts(), *expected, "{what}: {shown}");
        }
    }
}

#[test]
fn every_case_counts_the_same_cut_at_every_byte() {
    for (stream, expected, what) in CASES {
        for at in 1..stream.len() {
            let mut connection = Connection::from_start(u32::MAX - 3);
            connection.append(&stream[..at]);
            connection.append(&stream[at..]);
            assert_eq!(connection.counts(), *expected, "{what}, cut at {at}: {}", stream.escape_ascii());
        }
        let mut connection = Connection::from_start(0);
        stream.iter().for_each(|byte| connection.append(&[*byte]));
        assert_eq!(connection.counts(), *expected, "{what}, byte by byte: {}", stream.escape_ascii());
    }
}

#[test]
fn pipelines_of_any_depth_are_counted() {
    let request = b"GET /data/user-123 HTTP/1.1\r\naccept: */*\r\nhost: 127.0.0.1:9000\r\n\r\n";
    for depth in 1..=64 {
        assert_eq!(counts(&request.repeat(depth)), (depth as u32, 0, 0));
    }
}

#[test]
fn keys_of_any_length_are_counted() {
    for length in 1..=1_600 {
        let request = format!("GET /data/{} HTTP/1.1\r\nhost: x\r\n\r\n", "k".repeat(length));
        assert_eq!(counts(request.as_bytes()), (1, 0, 0), "{length}");
    }
}

#[test]
fn as_many_headers_as_hyper_takes_and_no_more() {
    for (headers, expected) in [(100, (1, 0, 0)), (101, (0, 0, 0))] {
        let request = format!("GET /data/a HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(headers));
        assert_eq!(counts(request.as_bytes()), expected, "{headers} headers");
    }
}

#[test]
fn heads_as_long_as_the_services_take_and_no_longer() {
    for (length, expected) in [(MAX_HEAD, (1, 0, 0)), (MAX_HEAD + 1, (0, 0, 0))] {
        let frame = "\r\nGET /data/a HTTP/1.1\r\nx: \r\n\r\n".len();
        let value = "y".repeat(length as usize - frame);
        let request = format!("\r\nGET /data/a HTTP/1.1\r\nx: {value}\r\n\r\n");
        assert_eq!(counts(request.as_bytes()), expected, "{length}");
        assert_eq!(judge(request.as_bytes()).counts, expected, "{length}");
        // The size limit applies to each head separately.
        let after = [get(3), request.into_bytes()].concat();
        assert_eq!(counts(&after).0, 3 + expected.0, "{length}");
    }
}

fn get(times: usize) -> Vec<u8> {
    b"GET /data/a HTTP/1.1\r\n\r\n".repeat(times)
}

#[test]
fn targets_that_are_no_paths_are_not_judged() {
    for target in ["http://127.0.0.1:9000/data/a", "*x", "127.0.0.1:9000", "?x", "\u{fc}"] {
        let mut connection = Connection::from_start(1);
        connection.append(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
        assert_eq!((connection.counts(), &*connection.unparsed), ((0, 0, 0), [Reason::Target].as_slice()));
        connection.answer();
        connection.append(&get(2));
        assert_eq!((connection.counts(), connection.unparsed.len()), ((2, 0, 0), 1), "{target}");
    }
}

#[test]
fn targets_have_the_bytes_that_http_takes() {
    for byte in 0..=u8::MAX {
        for (before, after) in
            [("/", "b"), ("/data/", ""), ("/data/k", ""), ("/data?", "k"), ("/data/k?q", ""), ("/#", "x")]
        {
            let target = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            // A control byte or a blank ends or breaks a target before `http` reads it.
            let taken =
                byte > b' ' && byte != 0x7f && http::uri::PathAndQuery::try_from(target.as_slice()).is_ok();
            let stream = [b"GET ", target.as_slice(), b" HTTP/1.1\r\n\r\n"].concat();
            let (get, set, control) = counts(&stream);
            let shown = stream.escape_ascii();
            // `http` ignores the bytes after a `#`. `httparse` requires UTF-8 there too.
            let taken = taken && std::str::from_utf8(&target).is_ok();
            assert_eq!(get + set + control == 1, taken, "{shown}");
            assert_eq!((get, set, control), judge(&stream).counts, "{shown}");
        }
    }
}

#[test]
fn characters_are_judged_as_the_standard_library_does() {
    // All pairs of first and second byte, complete and one byte short.
    for first in 0x80..=u8::MAX {
        for second in 0..=u8::MAX {
            for more in [&b""[..], b"\x80", b"\x80\xbf", b"\x80\x80\x80", b"\x7f"] {
                let target = [b"/data/", &[first, second][..], more].concat();
                let stream = [b"GET ", target.as_slice(), b" HTTP/1.1\r\n\r\n"].concat();
                assert_eq!(counts(&stream), judge(&stream).counts, "{}", stream.escape_ascii());
            }
        }
    }
}

#[test]
fn chunked_bodies_are_not_followed_until_the_connection_is_idle() {
    let head = b"POST /data HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let get = b"GET /data/a HTTP/1.1\r\n\r\n";
    let mut connection = Connection::from_start(1);
    connection.append(&[head.as_slice(), b"18\r\nGET /data/a HTTP/1.1\r\n\r\n\r\n"].concat());
    connection.append(get);
    connection.append(b"0\r\n\r\n");
    assert_eq!((connection.counts(), &*connection.unparsed), ((0, 1, 0), [Reason::Chunked; 3].as_slice()));
    connection.answer();
    connection.append(&get.repeat(2));
    assert_eq!((connection.counts(), connection.unparsed.len()), ((2, 1, 0), 3));
}

#[test]
fn a_refused_connection_is_never_followed_again() {
    let mut connection = Connection::from_start(1);
    connection.append(b"GET /data/a HTTP/9.9\r\n\r\n");
    connection.answer();
    connection.append(b"GET /data/a HTTP/1.1\r\n\r\n");
    assert_eq!((connection.counts(), &*connection.unparsed), ((0, 0, 0), [Reason::Malformed; 2].as_slice()));
}

#[test]
fn what_exceeds_the_budget_is_counted_as_such() {
    let get = b"GET /data/a HTTP/1.1\r\n\r\n";
    let mut connection = Connection::from_start(1).with_steps(40);
    connection.append(&get.repeat(10));
    let counted = connection.tally.get;
    assert!((1..10).contains(&counted), "{counted}");
    assert_eq!(connection.unparsed, [Reason::Budget]);
    connection.answer();
    connection.append(get);
    assert_eq!((connection.tally.get, connection.unparsed.len()), (counted + 1, 1));
}
