//! Tests the latency buckets over their whole range.

use probe_common::latency::{BUCKETS, Latency, SLOTS, bucket, upper_bound};

#[test]
fn every_bound_parts_two_buckets() {
    for index in 0..BUCKETS - 1 {
        let bound = upper_bound(index).expect("all but the last have one");
        assert_eq!((bucket(bound - 1) as usize, bucket(bound) as usize), (index, index + 1), "{bound}");
    }
    assert_eq!(upper_bound(BUCKETS - 1), None);
    assert_eq!(bucket(u64::MAX) as usize, BUCKETS - 1);
    assert_eq!(bucket(0), 0);
    const { assert!(BUCKETS <= SLOTS) };
}

#[test]
fn buckets_reach_from_a_microsecond_to_a_minute_in_eighths_of_an_octave() {
    assert_eq!(upper_bound(0), Some(1_000));
    assert!(upper_bound(BUCKETS - 2).expect("it has one") >= 60_000_000_000);
    for index in 1..BUCKETS - 1 {
        let (low, high) = (upper_bound(index - 1).expect("has one"), upper_bound(index).expect("has one"));
        assert!(low < high && (high - low) * 8 <= low, "{low} to {high}");
    }
}

#[test]
fn longer_never_falls_lower() {
    let mut last = 0;
    let mut duration = 0_u64;
    while duration < 200_000_000_000 {
        let index = bucket(duration);
        assert!(index >= last, "{duration}");
        if let Some(bound) = upper_bound(index as usize) {
            assert!(duration < bound, "{duration}");
        }
        last = index;
        duration += 1 + duration / 1_000;
    }
    assert_eq!(last as usize, BUCKETS - 1);
}

#[test]
fn the_bucket_at_a_place_is_found() {
    let mut latency = Latency::default();
    assert_eq!(latency.bucket_of(1), None);
    latency.buckets[3] = 2;
    latency.buckets[7] = 1;
    let mut twice = latency;
    twice += &latency;
    assert_eq!((latency.count(), twice.count()), (3, 6));
    let places = [0, 1, 2, 3, 4].map(|place| latency.bucket_of(place));
    assert_eq!(places, [None, Some(3), Some(3), Some(7), None]);
}
