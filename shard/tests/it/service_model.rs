//! Latencies of the lab profile, simulated with the capacity.

use shard::capacity::{Capacity, Limits, ServiceTime};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The shard's times are multiplied by this factor, so tokio's resolution of 1 ms is 0.01 ms of the shard's time.
const SCALE: u32 = 100;

/// Sorted latencies in ms of `n` requests that arrive at `times`, in seconds.
async fn latencies(seed: u64, times: Vec<f64>) -> Vec<f64> {
    let model = ServiceTime { base: Duration::from_millis(15), per_request: Duration::from_micros(500) };
    let limits = Limits { concurrency: NonZeroUsize::new(2), queue: 512 };
    let capacity = Arc::new(Capacity::new(model, limits, seed));
    let start = Instant::now();
    let mut requests = tokio::task::JoinSet::new();
    for time in times {
        let capacity = Arc::clone(&capacity);
        requests.spawn(async move {
            let arrival = start + Duration::from_secs_f64(time) * SCALE;
            tokio::time::sleep_until(arrival).await;
            let arrival = Instant::now();
            let turn = capacity.enter().await.unwrap();
            tokio::time::sleep(turn.time() * SCALE).await;
            drop(turn);
            arrival.elapsed().as_secs_f64() * 1_000.0 / f64::from(SCALE)
        });
    }
    let mut all = requests.join_all().await;
    all.sort_unstable_by(f64::total_cmp);
    all
}

fn p95(sorted: &[f64]) -> f64 {
    sorted[sorted.len() * 95 / 100]
}

/// Arrival times over `seconds`: `regular` requests a second at equal distances, and a Poisson stream of `background` a
/// second.
fn arrivals(seed: u64, regular: u32, background: f64, seconds: f64) -> Vec<f64> {
    let mut times: Vec<f64> = (0..)
        .map(|n| f64::from(n) / f64::from(regular.max(1)))
        .take_while(|t| regular > 0 && *t < seconds)
        .collect();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut at = 0.0;
    while at < seconds {
        at -= (1.0 - rng.f64()).ln() / background;
        times.push(at);
    }
    times
}

#[tokio::test(start_paused = true)]
async fn the_celebritys_shard_is_slow_and_the_others_are_not() {
    for seed in 0..5 {
        let hot = p95(&latencies(seed, arrivals(seed, 100, 6.7, 120.0)).await);
        let others = p95(&latencies(seed, arrivals(seed + 100, 0, 7.5, 120.0)).await);
        // The shard alone takes 23.6 to 24 ms. The gateway adds its own time to both values.
        assert!((23.0..=30.0).contains(&hot), "seed {seed}: hot {hot:.1} ms");
        assert!((17.0..=18.0).contains(&others), "seed {seed}: others {others:.1} ms");
        assert!(hot / others >= 1.3, "seed {seed}: {hot:.1} / {others:.1}");
    }
}

#[tokio::test(start_paused = true)]
async fn behind_the_cache_all_shards_are_alike() {
    // Traffic behind the cache: about 7 requests a second for four shards.
    let healed = p95(&latencies(1, arrivals(1, 0, 1.7, 600.0)).await);
    let others = p95(&latencies(2, arrivals(2, 0, 1.6, 600.0)).await);
    assert!(healed / others <= 1.05, "{healed:.2} / {others:.2}");
}
