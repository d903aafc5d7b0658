//! Judges seconds of counts like those of the kernel's tables.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::verdict::{Reason, State};

use super::*;
use protocol::probe_api::KernelKey;

/// Counts that grow second by second.
#[derive(Default)]
struct Kernel {
    judge: KernelJudge,
    at: Duration,
    requests: [u64; 4],
    keys: [BTreeMap<&'static str, (u64, u64)>; 4],
}

impl Kernel {
    /// The state before the first second.
    fn new() -> Self {
        let mut kernel = Self::default();
        kernel.reading();
        kernel
    }

    fn reading(&mut self) -> Verdict<String> {
        let shards = self.requests.iter().zip(&self.keys).map(|(requests, keys)| {
            let keys = keys.iter().map(|(key, (requests, error))| KernelKey {
                key: (*key).to_owned(),
                requests: *requests,
                error: *error,
            });
            ShardReading { requests: *requests, table: Arc::new(keys.collect()) }
        });
        self.judge.observe(Reading {
            at: self.at,
            shards: shards.collect(),
            evidence: Vec::new(),
            replicas: Vec::new(),
        })
    }

    fn count(&mut self, shard: usize, key: &'static str, requests: u64) {
        self.requests[shard] += requests;
        self.keys[shard].entry(key).or_default().0 += requests;
    }

    /// Advances by `millis`, with `each` reads of one key per shard and `celebrity` reads of the hot key on shard 0.
    fn pass(&mut self, millis: u64, each: u64, celebrity: u64) -> Verdict<String> {
        self.at += Duration::from_millis(millis);
        for (shard, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
            self.count(shard, key, each);
        }
        self.count(0, "celebrity", celebrity);
        self.reading()
    }
}

#[test]
fn the_celebrity_is_named_in_the_first_full_second() {
    let mut kernel = Kernel::new();
    // Too few requests for a verdict.
    assert_eq!(kernel.pass(1_000, 7, 0).state, State::NotEnoughTraffic);
    let verdict = kernel.pass(1_000, 7, 100);
    assert_eq!((verdict.state, verdict.reason), (State::Critical, Some(Reason::HotKey)), "{verdict:?}");
    assert_eq!((verdict.shard_id, verdict.key.as_deref()), (Some(0), Some("celebrity")));
    assert!(verdict.sentence.contains("\"celebrity\""), "{}", verdict.sentence);
}

#[test]
fn even_load_is_balanced_and_silence_is_not_enough() {
    let mut kernel = Kernel::new();
    let verdicts: Vec<State> = (0..20).map(|_| kernel.pass(1_000, 250, 0).state).collect();
    assert_eq!(verdicts, [State::Balanced; 20]);
    let silent: Vec<Verdict<String>> = (0..14).map(|_| kernel.pass(1_000, 0, 0)).collect();
    assert_eq!(silent[13].state, State::NotEnoughTraffic, "{:?}", silent[13]);
    assert_eq!((silent[13].requests, silent[13].window_seconds), (0, 10.0));
}

#[test]
fn a_second_that_comes_late_is_a_longer_one() {
    let mut kernel = Kernel::new();
    (0..9).for_each(|_| drop(kernel.pass(1_000, 100, 0)));
    let verdict = kernel.pass(3_000, 300, 0);
    // The window has as many whole readings as fit into its maximum span: 8 × 1 s and 3 s.
    assert_eq!((verdict.requests, verdict.window_seconds), (4_400, 11.0));
    assert_eq!(verdict.state, State::Balanced);
    // After a gap of one minute nothing is known of the last ten seconds.
    let verdict = kernel.pass(60_000, 0, 10_000);
    assert_eq!((verdict.state, verdict.requests), (State::NotEnoughTraffic, 0), "{verdict:?}");
    assert_eq!(kernel.pass(1_000, 100, 0).requests, 400);
}

#[test]
fn a_reading_too_near_the_last_one_is_not_wanted() {
    let mut kernel = Kernel::new();
    kernel.pass(1_000, 10, 0);
    assert!(!kernel.judge.is_due(Duration::from_millis(1_800)));
    assert!(kernel.judge.is_due(Duration::from_millis(1_900)));
}

#[test]
fn the_past_counts_for_nothing() {
    let mut kernel = Kernel::default();
    kernel.count(3, "yesterday", 1_000_000);
    assert_eq!(kernel.reading().state, State::NotEnoughTraffic);
    let verdict = kernel.pass(1_000, 100, 0);
    assert_eq!((verdict.state, verdict.requests), (State::Balanced, 400), "{verdict:?}");
}

#[test]
fn a_key_that_came_into_the_table_between_two_readings_is_seen_with_what_it_surely_got() {
    let mut kernel = Kernel::new();
    kernel.pass(1_000, 100, 0);
    // The key takes the rank of the evicted key. It may have had up to 900 reads before, but none of them in this
    // second.
    kernel.keys[0].insert("celebrity", (0, 900));
    let verdict = kernel.pass(1_000, 20, 300);
    assert_eq!(verdict.key.as_deref(), Some("celebrity"));
    // The key is evicted and returns with a lower count. All of its requests are new.
    kernel.keys[0].insert("celebrity", (0, 300));
    (0..12).for_each(|_| drop(kernel.pass(1_000, 20, 0)));
    kernel.keys[0].insert("celebrity", (0, 300));
    let verdict = kernel.pass(1_000, 20, 250);
    assert_eq!((verdict.state, verdict.key.as_deref()), (State::Critical, Some("celebrity")), "{verdict:?}");
    assert_eq!(verdict.p1, Some(250.0 / 330.0));
}

#[test]
fn a_hot_key_of_writes_is_placement_for_the_kernel() {
    let mut kernel = Kernel::new();
    kernel.requests[2] += 800;
    let verdict = kernel.pass(1_000, 20, 0);
    assert_eq!((verdict.state, verdict.reason), (State::Critical, Some(Reason::Placement)), "{verdict:?}");
    assert_eq!((verdict.shard_id, verdict.key), (Some(2), None));
}

#[test]
fn counts_that_fall_begin_a_new_time() {
    let mut kernel = Kernel::new();
    kernel.pass(1_000, 1_000, 9_000);
    kernel.requests = [0; 4];
    kernel.keys = Default::default();
    let verdict = kernel.pass(1_000, 100, 0);
    assert_eq!((verdict.state, verdict.requests), (State::NotEnoughTraffic, 0), "{verdict:?}");
}

proptest! {
    #[test]
    fn no_more_than_ten_slots_are_judged_whatever_the_pace(spans in prop::collection::vec(900u64..4_000, 1..60)) {
        let mut kernel = Kernel::new();
        for span in spans {
            let verdict = kernel.pass(span, span, 0);
            // One request per millisecond and shard, so the window's requests match its span.
            let expected = 4_000.0 * verdict.window_seconds;
            prop_assert!((verdict.requests as f64 - expected).abs() < 1.0, "{verdict:?}");
            prop_assert!(verdict.window_seconds <= 11.0 && kernel.judge.slots.len() <= 10);
        }
    }
}
