//! Measures how unevenly requests are distributed over shards.
//!
//! No single measure suffices:
//!
//! - max/mean misses two hot shards (40/40/10/10 has 1.6) and a dead shard (33/33/33/0 has 1.33). It reaches 1.64 by
//!   chance on 100 even requests.
//! - χ² reports any skew as significant once there are enough requests.

use crate::special::chi_square_tail;

/// Standard deviations of the confidence bounds: 99.9 % two-sided.
pub const Z: f64 = 3.29;

/// The skew measures of one set of counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skew {
    /// The shard with the most requests; the first one if several are equal.
    pub largest: usize,
    /// Largest count over the mean: 1 when even, at most the number of shards.
    pub max_over_mean: f64,
    /// L: the number of shards times the lower Wilson bound of the largest share. It combines significance and size.
    /// With 99.9 % confidence the true value of `max_over_mean` is at least this.
    pub lower_bound: f64,
    /// Coefficient of variation: standard deviation of the counts over their mean.
    pub cv: f64,
    /// χ² of the counts against an even split.
    pub chi2: f64,
    /// Probability of a χ² at least as large when the split is even.
    pub p: f64,
}

impl Skew {
    /// Computes the measures of `requests` by shard; `None` without a request.
    #[must_use]
    pub fn of(requests: &[u64]) -> Option<Self> {
        let total = requests.iter().sum::<u64>();
        if total == 0 {
            return None;
        }
        let by_count = requests.iter().copied().enumerate();
        let (largest, most) = by_count.max_by_key(|(at, n)| (*n, std::cmp::Reverse(*at)))?;
        let (shards, total) = (float(requests.len() as u64), float(total));
        let mean = total / shards;
        let squares = requests.iter().map(|n| (float(*n) - mean).powi(2)).sum::<f64>();
        let chi2 = squares / mean;
        Some(Self {
            largest,
            max_over_mean: float(most) / mean,
            lower_bound: shards * wilson(float(most), total, Z).0,
            cv: (squares / shards).sqrt() / mean,
            chi2,
            p: chi_square_tail(chi2, requests.len() - 1),
        })
    }
}

/// The Wilson score interval of a share: `hits` of `n`, `z` standard deviations to each side. (0, 1) when `n` is 0.
///
/// Wilson: "Probable inference, the law of succession, and statistical inference", JASA 22, 1927. Unlike p ±
/// z·√(p(1−p)/n) it stays valid near 0 and 1 and for few samples.
#[must_use]
pub fn wilson(hits: f64, n: f64, z: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let (p, z2) = (hits / n, z * z);
    let middle = p + z2 / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).max(0.0).sqrt();
    let scale = 1.0 + z2 / n;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}

#[expect(clippy::cast_precision_loss, reason = "a window has far fewer than 2^53 requests")]
pub(crate) fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
    }

    #[test]
    fn what_max_over_mean_alone_misses() {
        let two_hot = Skew::of(&[400, 400, 100, 100]).unwrap();
        near(two_hot.max_over_mean, 1.6, 1e-12);
        near(two_hot.cv, 0.6, 1e-12);
        let dead = Skew::of(&[333, 333, 333, 0]).unwrap();
        near(dead.max_over_mean, 4.0 / 3.0, 1e-12);
    }

    #[test]
    fn lower_bounds_of_the_labs_scenarios() {
        // Celebrity: 130 requests in one second, 82.09 % on shard 0. That is no whole number of requests, so the test
        // calls the Wilson bound directly.
        near(4.0 * wilson(0.8209 * 130.0, 130.0, Z).0, 2.75, 0.005);
        // Zipf 1.5: 500 requests in ten seconds, 48.75 % on shard 1.
        near(4.0 * wilson(0.4875 * 500.0, 500.0, Z).0, 1.66, 0.005);
    }

    #[test]
    fn wilson_as_published() {
        // Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        for (hits, n, low, high) in
            [(81.0, 263.0, 0.2553, 0.3662), (15.0, 148.0, 0.0624, 0.1605), (0.0, 20.0, 0.0, 0.1611)]
        {
            let found = wilson(hits, n, 1.959_964);
            near(found.0, low, 5e-5);
            near(found.1, high, 5e-5);
        }
    }

    #[test]
    fn an_even_split_has_no_skew() {
        let even = Skew::of(&[25, 25, 25, 25]).unwrap();
        assert_eq!((even.max_over_mean, even.cv, even.chi2, even.p), (1.0, 0.0, 0.0, 1.0));
        assert!(even.lower_bound < 1.0);
        assert_eq!(Skew::of(&[0, 0]), None);
        assert_eq!(Skew::of(&[]), None);
        let alone = Skew::of(&[7]).unwrap();
        assert_eq!((alone.max_over_mean, alone.p), (1.0, 1.0));
    }

    #[test]
    fn chi_square_of_a_known_table() {
        // (10² + 0 + 0 + 10²) / 50.
        let skew = Skew::of(&[60, 50, 50, 40]).unwrap();
        near(skew.chi2, 4.0, 1e-12);
        near(skew.p, 0.261_464, 1e-6);
    }

    proptest! {
        #[test]
        fn figures_are_sound(requests in prop::collection::vec(0u64..10_000, 1..20)) {
            let Some(skew) = Skew::of(&requests) else { return Ok(()) };
            let shards = requests.len() as f64;
            prop_assert!(skew.lower_bound <= skew.max_over_mean + 1e-9 && skew.max_over_mean <= shards + 1e-9);
            prop_assert!(skew.max_over_mean >= 1.0 - 1e-12);
            prop_assert!((0.0..=1.0).contains(&skew.p), "{skew:?}");
            // χ² = n · cv², and max/mean gives an upper bound for cv.
            let total = requests.iter().sum::<u64>() as f64;
            prop_assert!((skew.chi2 - total * skew.cv.powi(2)).abs() < 1e-6 * (1.0 + skew.chi2));
            prop_assert!(skew.cv <= (shards * (skew.max_over_mean - 1.0)).sqrt() + 1e-9);
            prop_assert_eq!(requests[skew.largest], *requests.iter().max().unwrap());
        }

        #[test]
        fn more_requests_narrow_the_bounds(hits in 1u32..100, factor in 2u32..50) {
            let (hits, factor) = (f64::from(hits), f64::from(factor));
            let (few, many) = (wilson(hits, 100.0, Z), wilson(hits * factor, 100.0 * factor, Z));
            prop_assert!(few.0 <= many.0 && many.1 <= few.1, "{few:?} {many:?}");
        }
    }
}
