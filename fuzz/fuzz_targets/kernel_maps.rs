//! Values of kernel maps, any bytes: keys and durations are decoded without a panic, within their bounds.
//!
//! Input: a byte that selects map and protocol, then the values.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe::fuzzing::{durations, key_table};
use probe::kernel::protocol::Protocol;
use probe_common::keys::{KeySet, WAYS};
use probe_common::latency::Latency;

fuzz_target!(|input: &[u8]| {
    let Some((choice, values)) = input.split_first() else { return };
    match choice % 3 {
        0 => keys(values, Protocol::Http),
        1 => keys(values, Protocol::Resp),
        _ => latency(values),
    }
});

fn keys(values: &[u8], protocol: Protocol) {
    let sets: Vec<KeySet> = values.chunks_exact(size_of::<KeySet>()).map(set).collect();
    let table = key_table(&sets, protocol);
    assert!(table.used <= sets.len() * WAYS && table.keys.len() <= table.used);
    assert!(protocol == Protocol::Http || table.keys.keys().all(|name| !name.contains(char::is_control)));
    let top = table.top(3);
    assert!(top.len() <= 3 && top.is_sorted_by(|one, next| one.requests >= next.requests));
}

fn set(bytes: &[u8]) -> KeySet {
    // SAFETY: the bytes are as many as the type has, which is plain data (`aya::Pod`).
    unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) }
}

/// Each duration is a byte for its bucket, and eight for the count.
fn latency(values: &[u8]) {
    let mut latency = Latency::default();
    for one in values.chunks_exact(9) {
        latency.buckets[usize::from(one[0])] = u64::from_le_bytes(one[1..].try_into().unwrap());
    }
    let (buckets, quantiles) = durations(&latency);
    assert!(buckets.iter().all(|(_, count)| *count > 0));
    assert!(buckets.is_sorted_by(|(one, _), (next, _)| next.is_none() || one < next));
    let ordered = [quantiles.p50, quantiles.p95, quantiles.p99].map(|bound| bound.unwrap_or(f64::INFINITY));
    assert!(ordered.is_sorted(), "{quantiles:?}");
}
