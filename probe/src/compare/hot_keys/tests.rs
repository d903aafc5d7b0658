//! Replays two witnesses of one shard, second by second.

use std::collections::HashMap;

use super::*;

/// Counts of kernel and application since the start.
#[derive(Default)]
struct World {
    now: Duration,
    kernel: HashMap<String, u64>,
    kernel_total: u64,
    app: HashMap<String, u64>,
    app_total: u64,
    app_hot: Vec<HotKey>,
    started_at: f64,
    ledger: HotKeysLedger,
}

impl World {
    /// Requests that both witnesses count.
    fn request(&mut self, key: &str, count: u64) {
        self.seen_by_kernel(key, count);
        *self.app.entry(key.to_owned()).or_default() += count;
        self.app_total += count;
    }

    fn seen_by_kernel(&mut self, key: &str, count: u64) {
        *self.kernel.entry(key.to_owned()).or_default() += count;
        self.kernel_total += count;
    }

    /// Advances one second and reads both. The application lists its ten largest keys.
    fn second(&mut self) -> HotKeyOverlap {
        self.now += Duration::from_millis(1_003);
        let list = |counts: &HashMap<String, u64>| -> Vec<(String, u64)> {
            counts.iter().map(|(key, count)| (key.clone(), *count)).collect()
        };
        let mut top = list(&self.app);
        top.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        top.truncate(10);
        let kernel = KeyReading::listed(self.kernel_total, list(&self.kernel));
        let top = KeyReading::listed(self.app_total, top);
        let app = AppKeys { started_at: self.started_at, top, hot: self.app_hot.clone() };
        self.ledger.observe(self.now, kernel, app).clone()
    }
}

fn named(keys: &[HotKey]) -> Vec<(&str, u64)> {
    keys.iter().map(|hot| (hot.key.as_str(), hot.count)).collect()
}

#[test]
fn the_same_hot_key_on_both_sides_overlaps_wholly() {
    let mut world =
        World { app_hot: vec![HotKey { key: "star".into(), count: 95, ratio: 0.5 }], ..World::default() };
    // Requests before the window count in neither witness.
    world.request("old", 5_000);
    world.second();
    let mut last = HotKeyOverlap::default();
    for second in 0..12 {
        world.request("star", 10);
        (0..10).for_each(|n| world.request(&format!("user-{}", second * 10 + n), 1));
        last = world.second();
        assert_eq!(last.overlap_ratio.is_some(), second >= 8, "not before the window is full: {second}");
    }
    // Nine slots of 1.003 s fit into ten seconds.
    assert_eq!(named(&last.kernel), [("star", 90)]);
    assert!((last.kernel[0].ratio - 0.5).abs() < 1e-9 && (9.0..10.0).contains(&last.window_seconds));
    // `app` is the application's own list. The overlap uses both counts over the same time.
    assert_eq!(named(&last.app), [("star", 95)]);
    assert_eq!(last.overlap_ratio, Some(1.0));
}

#[test]
fn keys_that_only_one_calls_hot_lower_the_overlap() {
    let mut world = World::default();
    world.request("app-only", 1);
    world.second();
    let mut last = HotKeyOverlap::default();
    for _ in 0..10 {
        world.request("both", 40);
        // Each witness counts one key that the other does not.
        world.seen_by_kernel("kernel-only", 40);
        *world.app.entry("app-only".to_owned()).or_default() += 40;
        world.app_total += 40;
        world.app_hot =
            ["both", "app-only"].map(|key| HotKey { key: key.into(), count: 400, ratio: 0.5 }).into();
        last = world.second();
    }
    assert_eq!(named(&last.kernel), [("both", 360), ("kernel-only", 360)]);
    // 360 of (360 + 360 + 360).
    assert!(last.overlap_ratio.is_some_and(|ratio| (ratio - 1.0 / 3.0).abs() < 1e-9), "{last:?}");
}

#[test]
fn without_a_hot_key_there_is_no_overlap() {
    let mut world = World::default();
    let mut last = HotKeyOverlap::default();
    for _ in 0..12 {
        (0..10).for_each(|n| world.request(&format!("user-{n}"), 3));
        last = world.second();
    }
    assert_eq!((last.kernel.len(), last.app.len(), last.overlap_ratio), (0, 0, None));
}

#[test]
fn a_key_the_application_does_not_list_has_the_count_of_its_own_window() {
    let mut world = World::default();
    // Ten keys with large old counts fill the application's list.
    (0..10).for_each(|n| world.request(&format!("past-{n}"), 1_000_000));
    world.second();
    let mut last = HotKeyOverlap::default();
    for _ in 0..10 {
        world.request("new", 10);
        world.app_hot = vec![HotKey { key: "new".into(), count: 81, ratio: 0.9 }];
        last = world.second();
    }
    assert_eq!(named(&last.kernel), [("new", 90)]);
    assert!(last.overlap_ratio.is_some_and(|ratio| (ratio - 0.9).abs() < 1e-9), "{last:?}");
}

#[test]
fn spellings_of_one_key_are_added_up() {
    let mut window = KeyWindow::new(Unlisted::Nothing);
    window.observe(Duration::from_secs(1), KeyReading::default());
    let keys = vec![("a/b".into(), 6), ("a/b".into(), 7)];
    window.observe(Duration::from_secs(2), KeyReading::listed(13, keys));
    assert_eq!(named(&hottest(&window)), [("a/b", 13)]);
}

#[test]
fn readings_that_are_near_are_one_and_a_long_gap_starts_over() {
    let mut ledger = HotKeysLedger::default();
    let at = Duration::from_millis;
    let read = |count| KeyReading::listed(count, [("k".into(), count)]);
    ledger.observe(at(0), read(0), AppKeys::default());
    ledger.observe(at(50), read(5), AppKeys::default());
    assert!(ledger.kernel.span().is_zero() && !ledger.is_due(at(899)) && ledger.is_due(at(900)));
    let seen = ledger.observe(at(1_000), read(20), AppKeys::default());
    assert_eq!(named(&seen.kernel), [("k", 20)]);
    ledger.observe(at(9_000), read(5_000), AppKeys::default());
    assert!(ledger.kernel.span().is_zero() && ledger.shown().kernel.is_empty());
}

#[test]
fn a_shard_started_anew_begins_a_new_window() {
    let mut world = World::default();
    for _ in 0..11 {
        world.request("star", 10);
        world.app_hot = vec![HotKey { key: "star".into(), count: 90, ratio: 1.0 }];
        world.second();
    }
    assert_eq!(world.ledger.shown().overlap_ratio, Some(1.0));
    (world.started_at, world.app_total) = (2.0, 0);
    world.app.clear();
    assert_eq!(world.second().overlap_ratio, None);
}
