//! Predicts the load of keys, of shards, and behind a cache.

/// The probabilities of `keys` ranks under Zipf's law: rank r (from 1) has `r^-exponent / Σ i^-exponent`. Exponent 0
/// is the uniform distribution.
#[must_use]
pub fn zipf(keys: usize, exponent: f64) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a load has far fewer than 2^53 keys")]
    let weights: Vec<f64> = (1..=keys).map(|rank| (rank as f64).powf(-exponent)).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Each shard's share of the requests: the sum of its keys' probabilities. `owners[i]` is the shard of key `i`.
#[must_use]
pub fn shard_shares(probabilities: &[f64], owners: &[usize], shards: usize) -> Vec<f64> {
    let mut shares = vec![0.0; shards];
    for (probability, owner) in probabilities.iter().zip(owners) {
        if let Some(share) = shares.get_mut(*owner) {
            *share += probability;
        }
    }
    shares
}

/// Requests a second that reach the shard for one key with `rate` reads a second, once steady. The cache has
/// single-flight and a time to live of `ttl` seconds. Each fetch is followed by hits for `ttl` and then by 1/λ until
/// the next request: λ/(1+λT).
#[must_use]
pub fn steady_misses(rate: f64, ttl: f64) -> f64 {
    rate / (1.0 + rate * ttl)
}

/// Like [`steady_misses`], for a key with `writes` writes a second. Each write drops the cached copy. An entry then
/// lives (1 − e^(−w·T))/w on average if arrivals are Poisson.
#[must_use]
pub fn steady_misses_between_writes(rate: f64, writes: f64, ttl: f64) -> f64 {
    let life = if writes > 0.0 { -(-writes * ttl).exp_m1() / writes } else { ttl };
    rate / (1.0 + rate * life)
}

/// The steady hit ratio of a cache with a time to live of `ttl` seconds over keys with `rates` reads a second. Each
/// key's ratio is λT/(1+λT). 0 without requests.
#[must_use]
pub fn hit_ratio(rates: impl IntoIterator<Item = f64>, ttl: f64) -> f64 {
    let add = |(all, misses), rate| (all + rate, misses + steady_misses(rate, ttl));
    let (all, misses) = rates.into_iter().fold((0.0, 0.0), add);
    if all > 0.0 { 1.0 - misses / all } else { 0.0 }
}

/// Calls to the shard that one expiry of a key causes without single-flight, when a call takes `latency` seconds. All
/// reads until the first answer cause a call. With single-flight it is 1.
#[must_use]
pub fn calls_per_expiry(rate: f64, latency: f64) -> f64 {
    1.0 + rate * latency
}

/// The largest of the shards' shares over their mean; 0 without load.
#[must_use]
pub fn max_over_mean(shares: &[f64]) -> f64 {
    let sum = shares.iter().sum::<f64>();
    let largest = shares.iter().copied().fold(0.0, f64::max);
    if sum > 0.0 { largest * shares.len() as f64 / sum } else { 0.0 }
}

/// Expected fetches of one key in the first `span` seconds from a cold cache: 1 − e^(−λ·span) if arrivals are
/// Poisson. `span` must not exceed the time to live, so there is at most one fetch.
#[must_use]
pub fn cold_misses(rate: f64, span: f64) -> f64 {
    1.0 - (-rate * span).exp()
}

/// Expected fetches of one key from a cold cache when the stream has `draws` independent draws and the key has
/// probability `p`: 1 − (1 − p)^draws. It applies to a generator with a fixed number of requests, while they take no
/// longer than the time to live.
#[must_use]
pub fn cold_misses_of_draws(p: f64, draws: f64) -> f64 {
    1.0 - (draws * (-p).ln_1p()).exp()
}

/// Binomial standard error of an observed share: √(p(1−p)/n).
#[must_use]
pub fn share_standard_error(p: f64, n: f64) -> f64 {
    (p * (1.0 - p) / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_figures_of_the_lab() {
        assert!((zipf(1_000, 1.5)[0] - 0.392).abs() < 0.0005);
        assert!((zipf(1_000, 0.99)[0] - 0.129).abs() < 0.0005);
        assert!((zipf(1_000, 0.0)[999] - 0.001).abs() < 1e-12);
        assert!((zipf(1_000, 1.5).iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_reaches_the_shards_behind_the_cache_in_the_celebrity_scenario() {
        // 100/s on one key and 30/s over 500 keys, T = 60 s: 6.5 of 130 requests/s once steady.
        let steady = steady_misses(100.0, 60.0) + 500.0 * steady_misses(30.0 / 500.0, 60.0);
        assert!((steady - 6.5).abs() < 0.05, "{steady}");
        for (span, expected) in [(4.0, 26.9), (15.0, 19.8)] {
            let cold = cold_misses(100.0, span) + 500.0 * cold_misses(30.0 / 500.0, span);
            assert!((cold / span - expected).abs() < 0.05, "{}", cold / span);
        }
    }

    #[test]
    fn hit_ratios_of_the_lab() {
        // 1,000 requests a second over 1,000 keys.
        for (ttl, expected) in [(1.0, 0.710), (5.0, 0.877), (60.0, 0.984)] {
            let found = hit_ratio(zipf(1_000, 0.99).into_iter().map(|p| 1_000.0 * p), ttl);
            assert!((found - expected).abs() < 0.0005, "{ttl}: {found}");
        }
        let background = hit_ratio([30.0 / 500.0; 500], 60.0);
        assert!((background - 0.783).abs() < 0.0005, "{background}");
        assert_eq!(hit_ratio([], 60.0), 0.0);
    }

    #[test]
    fn a_stampede_is_as_large_as_the_key_is_hot() {
        assert_eq!(calls_per_expiry(100.0, 0.005), 1.5);
        assert_eq!(calls_per_expiry(5_000.0, 0.05), 251.0);
    }

    #[test]
    fn writes_shorten_the_life_of_entries() {
        assert_eq!(steady_misses_between_writes(100.0, 0.0, 60.0), steady_misses(100.0, 60.0));
        // With as many writes as reads the cache saves only half of the reads.
        let found = steady_misses_between_writes(10.0, 10.0, 60.0);
        assert!((found - 5.0).abs() < 1e-9, "{found}");
        assert!(steady_misses_between_writes(10.0, 0.001, 60.0) > steady_misses(10.0, 60.0));
    }

    #[test]
    fn shares_add_up_by_owner() {
        assert_eq!(shard_shares(&[0.5, 0.25, 0.25], &[1, 0, 1], 2), [0.25, 0.75]);
    }

    #[test]
    fn draws_and_poisson_agree_for_rare_keys() {
        assert!((cold_misses_of_draws(0.002, 450.0) - cold_misses(0.06, 15.0)).abs() < 0.001);
    }
}
