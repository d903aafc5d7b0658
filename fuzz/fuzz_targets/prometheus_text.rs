//! The probe's reader of a shard's `/metrics`: histograms have ascending bounds, whatever the text is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe::fuzzing::{app_latency, quantile};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(latency) = app_latency(text) else { return };
    let buckets = &latency.latency;
    assert!(!buckets.is_empty());
    let bounds: Vec<f64> = buckets.iter().map(|(bound, _)| bound.unwrap_or(f64::INFINITY)).collect();
    // Neighbours may become equal in milliseconds.
    assert!(bounds.is_sorted(), "{bounds:?}");
    let quantiles = [50, 95, 99].map(|percent| quantile(buckets, percent).unwrap_or(f64::INFINITY));
    assert!(quantiles.is_sorted(), "{quantiles:?}");
});
