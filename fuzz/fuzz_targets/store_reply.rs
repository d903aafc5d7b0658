#![no_main]
//! Replies of a store: no panic, bounded memory, the same values at every split.

use libfuzzer_sys::fuzz_target;
use store::reply::{Decoder, Reply};
use store::{commands, info::Info, topology::Topology, urls::HostPort};

/// The replies, and whether decoding failed.
fn decode(bytes: &[u8], size: usize) -> (Vec<Reply>, bool) {
    let (mut decoder, mut replies) = (Decoder::default(), Vec::new());
    for part in bytes.chunks(size) {
        decoder.feed(part);
        loop {
            match decoder.next_reply() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(_) => return (replies, true),
            }
        }
    }
    (replies, false)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = decode(bytes, usize::MAX);
    assert_eq!(whole, decode(bytes, usize::from(size).max(1)));
    let asked = HostPort { host: "a".to_owned(), port: 1 };
    for reply in &whole.0 {
        let _ = commands::parse(reply);
        for topology in [Topology::of_shards(reply, &asked), Topology::of_slots(reply, &asked)].into_iter().flatten() {
            assert!(topology.nodes.iter().all(|node| !node.addresses.is_empty()));
        }
        if let Some(info) = reply.text().and_then(Info::parse) {
            assert!(!info.fell_since(&info));
        }
    }
});
