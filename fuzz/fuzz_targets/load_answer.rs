//! Answers at the load generator: a complete answer is the same however much follows it, and an error stays one.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use load::fuzzing::{answer, redirection};

fuzz_target!(|input: &[u8]| {
    let whole = answer(input);
    for end in 0..input.len() {
        match (answer(&input[..end]), &whole) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(early)), Ok(Some(late))) => assert_eq!(&early, late),
            (early, late) => panic!("{early:?} of the first {end} bytes, {late:?} of all"),
        }
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Some((_, Some(to))) = redirection(text, IpAddr::V4(Ipv4Addr::LOCALHOST))
    {
        let port = text.split(' ').nth(2).and_then(|address| address.rsplit(':').next());
        assert_eq!(port.and_then(|port| port.parse().ok()), Some(to.port()));
    }
});
