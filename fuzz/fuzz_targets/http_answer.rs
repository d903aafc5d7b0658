//! Answers of shards at the gateway, and plain requests at its socket: what is read does not depend on how it arrives.
//!
//! Input: a byte that selects the length of a piece, then the bytes.

#![no_main]

use gateway::fuzzing::{answer_head, chunked};
use libfuzzer_sys::fuzz_target;
use service::fuzzing::plain_read;

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let whole = answer_head(bytes);
    if let Ok(Some((length, _))) = &whole {
        assert!((1..=bytes.len()).contains(length));
    }
    let whole_request = plain_read(bytes);
    for end in 0..bytes.len() {
        match (answer_head(&bytes[..end]), &whole) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(early)), Ok(Some(late))) => assert_eq!(&early, late),
            (early, late) => panic!("{early:?} of the first {end} bytes, {late:?} of all"),
        }
        // A head is the same however much follows it.
        if let Some(early) = plain_read(&bytes[..end]) {
            assert_eq!(Some(early), whole_request);
        }
    }
    if let Some((segment, length)) = &whole_request {
        assert!(*length <= bytes.len() && !segment.is_empty() && !segment.contains('/'));
    }
    let step = usize::from(*choice).max(1);
    assert_eq!(chunked(bytes.chunks(step)), chunked([bytes]));
});
