//! Measures the cost of detection: per access, and per second.
//!
//! `cargo bench -p hotspot --bench cost` prints a Markdown table.

#![expect(clippy::expect_used, reason = "a benchmark that cannot begin has nobody to tell but its caller")]

use hotspot::counter::{KeyCounter, Limits};
use hotspot::detector::Detector;
use hotspot::judge::Observation;
use hotspot::what_if::{Settings, Traffic};
use hotspot::window::{Access, Window};
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::rngs::StdRng;
use rand_distr::Zipf;
use smol_str::SmolStr;
use std::time::{Duration, Instant};

/// The key type, with the same storage as the lab's keys.
type Key = SmolStr;

/// Accesses counted in one run.
const ACCESSES: usize = 1_000_000;
/// The limits of the gateway.
const TOTALS: Limits = Limits { exact_keys: 50_000, sketch_keys: 1_792 };
const SECOND: Limits = Limits { exact_keys: 448, sketch_keys: 256 };

fn main() {
    println!("| what | 1,000 keys, Zipf 1.5 | 1,000,000 keys, Zipf 0.99 |");
    println!("|---|--:|--:|");
    let streams = [stream(1_000.0, 1.5), stream(1_000_000.0, 0.99)];
    row("totals, ns an access", &streams, |keys| per(keys.len(), || count(keys)));
    row("window, ns an access", &streams, |keys| per(keys.len(), || drop(fill(keys))));
    row("verdict of 4 shards, µs a second", &streams, |keys| {
        let mut windows: Vec<_> = (0..4).map(|_| fill(keys)).collect();
        let mut detector = Detector::default();
        per(20, || (0..20).for_each(|_| judge(&mut windows, &mut detector))) / 1_000.0
    });
    row("what-if of 4 shards, µs", &streams, |keys| {
        let mut window = fill(keys);
        let mut traffic = Traffic::new(4);
        (0..4).for_each(|shard| traffic.add(shard, &window.full(10, END), 64));
        per(20, || (0..20).for_each(|_| drop(traffic.what_if(&Settings::usual(4))))) / 1_000.0
    });
}

/// The end of the window, after the last access.
const END: Duration = Duration::from_secs(10);

fn stream(keys: f64, exponent: f64) -> Vec<Key> {
    let (law, mut rng) = (Zipf::new(keys, exponent).expect("a valid law"), StdRng::seed_from_u64(39));
    (0..ACCESSES).map(|_| Key::from(format!("user-{}", law.sample(&mut rng) - 1.0))).collect()
}

fn row(what: &str, streams: &[Vec<Key>], cost: impl Fn(&[Key]) -> f64) {
    let cells: Vec<_> = streams.iter().map(|keys| format!("{:.0}", cost(keys))).collect();
    println!("| {what} | {} |", cells.join(" | "));
}

/// Nanoseconds for each of the `n` operations of `run`; the fastest of three runs.
fn per(n: usize, mut run: impl FnMut()) -> f64 {
    let once = |_| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    let fastest = (0..3).map(once).min().unwrap_or_default();
    fastest.as_nanos() as f64 / n as f64
}

fn count(keys: &[Key]) {
    let mut counter = KeyCounter::new(TOTALS);
    keys.iter().for_each(|key| counter.add(key));
    assert_eq!(counter.total(), keys.len() as u64);
}

/// A window of ten seconds with the accesses spread over them.
fn fill(keys: &[Key]) -> Window<Key> {
    let mut window = Window::new(SECOND, Duration::ZERO);
    let step = END / u32::try_from(keys.len()).expect("a million");
    let mut now = Duration::ZERO;
    for key in keys {
        window.add(key, Access::Read, now);
        now += step;
    }
    window
}

fn judge(windows: &mut [Window<Key>], detector: &mut Detector<Key>) {
    let (mut last, mut ten) = (Observation::new(windows.len()), Observation::new(windows.len()));
    for (shard, window) in windows.iter_mut().enumerate() {
        last.add(shard, &window.full(1, END));
        ten.add(shard, &window.full(10, END));
    }
    assert!(detector.observe(&last, &ten).requests > 0);
}
