//! Tests how keys are read, and the table that counts them.

use std::collections::HashMap;

use probe_common::key::{self, KEY_BYTES, KeyText};
use probe_common::keys::{KeySet, WAYS};
use proptest::prelude::*;

/// Appends `text` in pieces of the given lengths, which repeat.
fn read(text: &[u8], pieces: &[usize]) -> KeyText {
    let mut key = KeyText::default();
    key.append(0x6261, 2);
    key.begin();
    let mut rest = text;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*piece).min(rest.len()));
        // Bytes after the piece must not affect the result.
        let mut word = [0xa5; 8];
        word[..now.len()].copy_from_slice(now);
        key.append(u64::from_le_bytes(word), now.len() as u32);
        rest = later;
    }
    key.end();
    key
}

#[test]
fn cuts_make_no_difference() {
    let text: Vec<u8> = (0..=255).cycle().take(600).collect();
    for length in (1..=80).chain([127, 128, 129, 511, 512]) {
        let whole = read(&text[..length], &[8]);
        for pieces in [&[1][..], &[7], &[3, 8, 1], &[8, 8, 5], &[2, 6, 8]] {
            assert_eq!(read(&text[..length], pieces), whole, "{length} bytes in {pieces:?}");
        }
        let kept: Vec<u8> = key::kept(&whole.words, whole.length).collect();
        // The end of the key, in whole words except for the last.
        let from = if length > KEY_BYTES { length.next_multiple_of(8) - KEY_BYTES } else { 0 };
        assert_eq!(kept, text[from..length]);
        assert_eq!(whole.length as usize, length);
    }
}

#[test]
fn long_keys_differ_by_what_is_not_kept() {
    let (mut one, mut other) = ([b'x'; 512], [b'x'; 512]);
    one[300] = b'a';
    other[300] = b'b';
    let (one, other) = (read(&one, &[8]), read(&other, &[8]));
    assert_eq!(one.words, other.words);
    assert_ne!(one.hash, other.hash);
    assert_ne!(read(b"ab", &[8]).hash, read(b"ab\0", &[8]).hash);
}

fn key(number: u64) -> KeyText {
    read(number.to_string().as_bytes(), &[8])
}

proptest! {
    /// For reads in any order and epoch, `count ≤ true ≤ count + error`, and the table's sums are consistent.
    #[test]
    fn the_truth_lies_between_count_and_count_plus_error(
        reads in prop::collection::vec((0_u64..30, 0_u32..8), 1..600)
    ) {
        let mut set = KeySet::default();
        let mut truth: HashMap<u64, u64> = HashMap::new();
        let mut epoch = 0;
        for (number, later) in reads {
            epoch += later / 6;
            // A CPU's clock may be late.
            set.count(&key(number), if later == 5 { epoch.wrapping_sub(1) } else { epoch });
            *truth.entry(number).or_default() += 1;
            for (number, count) in &truth {
                let wanted = key(*number);
                if let Some(entry) = set.entries.iter().find(|entry| entry.words == wanted.words) {
                    prop_assert!(entry.count <= *count && *count <= entry.count + entry.error);
                } else {
                    prop_assert!(*count <= set.evicted, "{number} is out with {count}");
                }
            }
        }
        if truth.len() <= WAYS {
            prop_assert_eq!((set.evictions, set.evicted), (0, 0));
        }
    }
}

#[test]
fn a_key_with_more_than_an_eighth_of_its_set_stays() {
    let mut set = KeySet::default();
    set.count(&key(7), 1);
    for round in 0..1_000 {
        // One read in seven is of the key. Each of the others is of a new key.
        for other in 0..6 {
            set.count(&key(1_000 + round * 6 + other), 1);
        }
        set.count(&key(7), 1);
    }
    let entry = set.entries.iter().find(|entry| entry.words == key(7).words).unwrap();
    assert_eq!((entry.count, entry.error), (1_001, 0));
}

#[test]
fn a_key_that_comes_back_stays_among_those_that_come_once() {
    let mut set = KeySet::default();
    set.count(&key(7), 1);
    set.count(&key(7), 1);
    for round in 0..1_000 {
        for other in 0..14 {
            set.count(&key(1_000 + round * 14 + other), 1);
        }
        set.count(&key(7), 1);
    }
    let entry = set.entries.iter().find(|entry| entry.words == key(7).words).unwrap();
    assert_eq!((entry.count, entry.error), (1_002, 0));
}

#[test]
fn a_late_clock_does_not_wipe_the_ranks() {
    let mut set = KeySet::default();
    for number in 0..WAYS as u64 {
        for _ in 0..=number {
            set.count(&key(number), 9);
        }
    }
    // If all ranks were reset, the new keys would replace all entries in order, also the last key's.
    for newcomer in 100..107 {
        set.count(&key(newcomer), 8);
    }
    let last = key(WAYS as u64 - 1);
    let entry = set.entries.iter().find(|entry| entry.words == last.words).unwrap();
    assert_eq!((entry.count, entry.error), (WAYS as u64, 0));
}

#[test]
fn a_new_hot_key_takes_the_place_of_yesterdays() {
    let mut set = KeySet::default();
    for number in 0..WAYS as u64 {
        for _ in 0..1_000_000_u64 >> number {
            set.count(&key(number), 1);
        }
    }
    // Twenty epochs later, one key has 10 reads among 20 other keys.
    for others in 0..20 {
        set.count(&key(100 + others), 21);
        if others % 2 == 0 {
            set.count(&key(50), 21);
        }
    }
    let entry = set.entries.iter().find(|entry| entry.words == key(50).words).unwrap();
    assert_eq!(entry.count, 10);
}
