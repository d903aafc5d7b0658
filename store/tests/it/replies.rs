//! The decoder at every split, and its limits.

use proptest::prelude::*;
use store::reply::{Decoder, MAX_BYTES, MAX_DEPTH, Reply, ReplyError};

fn text(text: &str) -> Reply {
    Reply::Text(text.as_bytes().to_vec())
}

/// Decodes replies, fed in parts of `size` bytes. Returns those before the first error, and whether all bytes were replies.
fn decode(bytes: &[u8], size: usize) -> (Vec<Reply>, Result<bool, ReplyError>) {
    let (mut decoder, mut replies) = (Decoder::default(), Vec::new());
    for part in bytes.chunks(size) {
        decoder.feed(part);
        loop {
            match decoder.next_reply() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Err(error)),
            }
        }
    }
    (replies, Ok(!decoder.is_inside()))
}

#[test]
fn every_type_is_decoded_at_every_split() {
    let bytes = b"+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n_\r\n#t\r\n,1.5\r\n(99\r\n!5\r\nERR x\r\n\
        =7\r\ntxt:a:b\r\n*2\r\n*0\r\n%1\r\n+k\r\n:1\r\n~1\r\n$0\r\n\r\n>2\r\n+push\r\n+gone\r\n|1\r\n+ttl\r\n:3\r\n*1\r\n:5\r\n";
    let expected = [
        text("OK"),
        Reply::Error("ERR no".to_owned()),
        Reply::Integer(-7),
        text("a\r\n"),
        Reply::Null,
        Reply::Null,
        Reply::Null,
        Reply::Integer(1),
        text("1.5"),
        text("99"),
        Reply::Error("ERR x".to_owned()),
        text("a:b"),
        Reply::List(vec![Reply::List(vec![]), Reply::List(vec![text("k"), Reply::Integer(1)])]),
        Reply::List(vec![text("")]),
        Reply::List(vec![Reply::Integer(5)]),
    ];
    for size in 1..=bytes.len() {
        // The bulk string of three bytes is "a\r\n".
        assert_eq!(decode(bytes, size), (expected.to_vec(), Ok(true)), "{size}");
    }
}

#[test]
fn malformed_replies_are_refused() {
    for bad in [
        &b"*1\r\n?"[..],
        b":x\r\n",
        b"$x\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"$1\r\nab\r\n",
        b"+a\rb",
        b"#x\r\n",
        b"_x\r\n",
    ] {
        let mut decoder = Decoder::default();
        decoder.feed(bad);
        assert!(matches!(decoder.next_reply(), Err(ReplyError::Malformed { .. })), "{}", bad.escape_ascii());
    }
    let mut decoder = Decoder::default();
    decoder.feed(b"HTTP/1.1");
    assert_eq!(decoder.next_reply(), Err(ReplyError::OtherProtocol { first: b"HTTP/1.1".to_vec() }));
}

#[test]
fn a_reply_is_bounded_before_its_memory_is_taken() {
    let limit = |bytes: &[u8]| {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        decoder.next_reply().unwrap_err()
    };
    let too_large = |limit| ReplyError::TooLarge { limit };
    assert_eq!(limit(format!("${}\r\n", MAX_BYTES + 1).as_bytes()), too_large("8 MiB"));
    assert_eq!(limit(b"*9223372036854775807\r\n"), too_large("262,144 values"));
    assert_eq!(limit(b"%4611686018427387904\r\n"), too_large("262,144 values"));
    assert_eq!(limit(&b"*1\r\n".repeat(MAX_DEPTH + 1)), too_large("16 nested lists"));
    assert_eq!(limit(&[b'+'; 1 << 15]), too_large("16 KiB a line"));
    // Each part is within its limit, and the whole is not.
    let part = [&b"$1048576\r\n"[..], &vec![b'x'; 1 << 20], b"\r\n"].concat();
    assert_eq!(limit(&[&b"*9\r\n"[..], &part.repeat(8)].concat()), too_large("8 MiB"));
}

proptest! {
    #[test]
    fn no_input_is_a_panic_and_splits_do_not_matter(
        parts in prop::collection::vec(prop::sample::select(vec![
            "*", "$", "%", "~", ">", "|", "+", "-", ":", "_", "#t", "=", "!", "1", "2", "0", "-1", "\r\n", "\r", "\n", "a", "txt:",
        ]), 0..40),
        size in 1_usize..7,
    ) {
        let bytes = parts.concat().into_bytes();
        let run = |size| {
            let (replies, end) = decode(&bytes, size);
            (replies, end.is_err())
        };
        prop_assert_eq!(run(size), run(usize::MAX));
    }
}
