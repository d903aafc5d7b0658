//! Predicts the shards' shares and the load behind a cache.

use hotspot::predict;
use protocol::body::UpstreamPrediction;
use protocol::{Key, ShardId};
use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::scenario::Stream;
use crate::schedule::Schedule;

/// The predicted shares of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Share of all requests, by shard.
    pub shares: Vec<f64>,
    /// The hottest key and its share of all requests; of equal keys the first.
    pub hottest: Option<(Key, f64)>,
}

/// Predicts the shares of a run with modulo placement.
#[must_use]
pub fn shares(streams: &[Stream], shards: NonZeroU32) -> Prediction {
    let owners: Vec<_> = streams.iter().map(|stream| stream.keys.owners(shards)).collect();
    shares_of(streams, &owners, shards)
}

/// Predicts the shares of a run. Each stream is weighted by its number of requests. `placed` has the shards of each
/// stream's keys.
#[must_use]
pub fn shares_of(streams: &[Stream], placed: &[Vec<ShardId>], shards: NonZeroU32) -> Prediction {
    let all: f64 = streams.iter().map(Stream::mean_rate).sum();
    let (mut probabilities, mut owners) = (Vec::new(), Vec::new());
    // Two streams may share a key.
    let mut by_key: HashMap<&Key, f64> = HashMap::new();
    let mut hottest: Option<(Key, f64)> = None;
    for (stream, placed) in streams.iter().zip(placed) {
        let weight = stream.mean_rate() / all;
        for (key, p) in stream.keys.keys().iter().zip(stream.keys.probabilities()) {
            let p = weight * p;
            let all_of_key = by_key.entry(key).or_default();
            *all_of_key += p;
            if hottest.as_ref().is_none_or(|(_, most)| *all_of_key > *most) {
                hottest = Some((key.clone(), *all_of_key));
            }
            probabilities.push(p);
        }
        owners.extend(placed.iter().map(|owner| owner.index()));
    }
    Prediction { shares: predict::shard_shares(&probabilities, &owners, shards.get() as usize), hottest }
}

/// Predicts the load behind a cache with entries of `ttl` seconds. The streams read throughout `seconds`.
///
/// A stream of one key sends one request in every interval, so its fetches are nearly certain. There is one at the
/// start and one about an interval after each expiry. Other keys are drawn at random. Such a key has k + 1 fetches or
/// more if it was drawn at least k + 1 times outside of k times to live.
#[must_use]
pub fn upstream(streams: &[Stream], seconds: f64, ttl: f64) -> UpstreamPrediction {
    let (mut fetches, mut variance, mut steady) = (0.0, 0.0, 0.0);
    for stream in streams {
        let probabilities = stream.keys.probabilities();
        steady += probabilities.iter().map(|p| predict::steady_misses(stream.rate * p, ttl)).sum::<f64>();
        if let [_] = probabilities[..] {
            fetches += (seconds / (ttl + 1.0 / stream.rate)).ceil();
            continue;
        }
        // Consecutive keys of equal probability share one computation.
        let mut known: Option<(f64, (f64, f64))> = None;
        for p in probabilities {
            let (mean, spread) = match known {
                Some((same, moments)) if same.to_bits() == p.to_bits() => moments,
                _ => fetches_of_key(stream.rate, p, seconds, ttl),
            };
            known = Some((p, (mean, spread)));
            fetches += mean;
            variance += spread;
        }
    }
    UpstreamPrediction {
        cold_start: fetches / seconds,
        cold_start_standard_error: f64::sqrt(variance) / seconds,
        steady,
    }
}

/// Predicts the load behind the caches of `gateways` gateways, over which the load is spread evenly. Each of them has a
/// cache in front of its part of the load.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "there are at most 128 gateways")]
pub fn upstream_of(gateways: usize, streams: &[Stream], seconds: f64, ttl: f64) -> UpstreamPrediction {
    let gateways = gateways.max(1) as f64;
    let part = |stream: &Stream| Stream { rate: stream.rate / gateways, ..stream.clone() };
    let of_one = upstream(&streams.iter().map(part).collect::<Vec<_>>(), seconds, ttl);
    UpstreamPrediction {
        cold_start: gateways * of_one.cold_start,
        cold_start_standard_error: gateways.sqrt() * of_one.cold_start_standard_error,
        steady: gateways * of_one.steady,
    }
}

/// Mean and variance of the fetches of a key that is drawn with probability `p` at `rate` requests a second.
#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
fn fetches_of_key(rate: f64, p: f64, seconds: f64, ttl: f64) -> (f64, f64) {
    let (mut mean, mut square, mut k) = (0.0, 0.0, 0u32);
    loop {
        let open = seconds - f64::from(k) * ttl;
        if open <= 0.0 {
            return (mean, square - mean * mean);
        }
        let draws = Schedule::new(rate, open).count();
        let more = match k {
            0 => predict::cold_misses_of_draws(p, draws as f64),
            _ => at_least(k + 1, draws as f64, p),
        };
        // E[N] = Σ P(N > k), E[N²] = Σ (2k + 1) P(N > k).
        mean += more;
        square += f64::from(2 * k + 1) * more;
        k += 1;
    }
}

/// Probability that at least `least` of `draws` independent draws return a key of probability `p`.
fn at_least(least: u32, draws: f64, p: f64) -> f64 {
    // In logarithms, because the first terms of a long run would underflow.
    let mut log_term = draws * (-p).ln_1p();
    let mut below = 0.0;
    for hits in 0..least {
        let hits = f64::from(hits);
        below += log_term.exp();
        log_term += ((draws - hits).max(0.0) / (hits + 1.0) * p / (1.0 - p)).ln();
    }
    (1.0 - below).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn predicted(scenario: Scenario) -> Prediction {
        shares(&scenario.streams(1.0).unwrap(), NonZeroU32::new(4).unwrap())
    }

    #[test]
    fn the_labs_figures() {
        for (scenario, expected, key, share) in [
            (Scenario::Uniform, [0.239, 0.249, 0.262, 0.250], "user-0", 0.001),
            (Scenario::Zipfian, [0.228, 0.4875, 0.1365, 0.148], "user-0", 0.392),
            (Scenario::Celebrity, [0.8209, 0.0563, 0.0655, 0.0572], "celebrity-user-kardashian", 0.769),
            (Scenario::MovingCelebrity, [0.2440, 0.2486, 0.2578, 0.2495], "celebrity-user-ada", 0.192),
            (Scenario::TwoCelebrities, [0.4363, 0.0563, 0.4502, 0.0572], "celebrity-user-kardashian", 0.385),
            (Scenario::FlashCrowd, [0.6324, 0.1156, 0.1345, 0.1175], "celebrity-user-kardashian", 0.526),
            (Scenario::Scan, [0.2451, 0.3001, 0.2262, 0.2286], "user-0", 0.0905),
            (Scenario::WriteHot, [0.8209, 0.0563, 0.0655, 0.0572], "celebrity-user-kardashian", 0.769),
            (Scenario::Celebrity404, [0.0517, 0.0563, 0.8348, 0.0572], "celebrity-user-nobody", 0.769),
        ] {
            let prediction = predicted(scenario);
            for (share, expected) in prediction.shares.iter().zip(expected) {
                assert!((share - expected).abs() < 0.0006, "{scenario:?}: {:?}", prediction.shares);
            }
            let (hottest, p) = prediction.hottest.unwrap();
            assert_eq!(hottest.as_str(), key);
            assert!((p - share).abs() < 0.0005, "{p}");
        }
    }

    #[test]
    fn what_the_cache_lets_through() {
        let streams = Scenario::WithCaching.streams(1.0).unwrap();
        for (seconds, expected) in [(4.0, 26.9), (15.0, 19.8)] {
            let found = upstream(&streams, seconds, 60.0);
            assert!((found.cold_start - expected).abs() < 0.1, "{found:?}");
            assert!((found.steady - 6.5).abs() < 0.05, "{found:?}");
        }
        // In a long run the cold start has no more effect.
        let long = upstream(&streams, 60_000.0, 60.0);
        assert!((long.cold_start - long.steady).abs() < 0.02, "{long:?}");
    }

    #[test]
    fn several_gateways_let_more_through() {
        let streams = Scenario::WithCaching.streams(1.0).unwrap();
        assert_eq!(upstream_of(1, &streams, 120.0, 60.0), upstream(&streams, 120.0, 60.0));
        // The table of docs/scale.md.
        for (gateways, steady) in [(1, 6.5), (2, 10.7), (4, 15.9), (10, 22.2)] {
            let found = upstream_of(gateways, &streams, 120.0, 60.0);
            assert!((found.steady - steady).abs() < 0.1, "{gateways}: {found:?}");
            assert!(found.cold_start > found.steady, "{gateways}: {found:?}");
        }
    }

    #[test]
    fn a_simulated_cache_agrees_over_more_than_one_time_to_live() {
        let streams = Scenario::WithCaching.streams(1.0).unwrap();
        for seconds in [15.0, 60.0, 120.0, 200.0] {
            let mut found = Vec::new();
            for seed in 0..40 {
                let mut fetches = 0;
                for stream in &streams {
                    let (mut draws, mut fresh_until) = (stream.keys.draws(seed), HashMap::new());
                    let schedule = Schedule::new(stream.rate, seconds);
                    for now in schedule.dues(seed).map(|due| due.as_secs_f64()) {
                        let until = fresh_until.entry(draws.draw()).or_insert(0.0);
                        if now >= *until {
                            // A fetch takes time, so the entry is a little newer than the request.
                            *until = now + 60.001;
                            fetches += 1;
                        }
                    }
                }
                found.push(f64::from(fetches) / seconds);
            }
            let mean = found.iter().sum::<f64>() / 40.0;
            let spread = (found.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 39.0).sqrt();
            let theory = upstream(&streams, seconds, 60.0);
            let error = theory.cold_start_standard_error;
            assert!(
                (mean - theory.cold_start).abs() < 4.0 * error / 40f64.sqrt() + 0.01,
                "{mean} {theory:?}"
            );
            // Keys share a fixed number of draws. So the true spread is somewhat smaller than that of independent
            // keys.
            assert!(spread < 1.4 * error && spread > 0.4 * error, "{spread} {theory:?}");
        }
    }
}
