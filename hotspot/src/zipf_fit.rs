//! Estimates a stream's Zipf exponent from known ranks, by maximum likelihood.

use crate::skew::float;

/// An exponent and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The most likely exponent.
    pub exponent: f64,
    /// Its standard error: 1 / √(n · variance of the logarithm of the rank).
    pub standard_error: f64,
}

/// Largest absolute exponent searched. The fit of a steeper stream is this value.
pub const MOST: f64 = 20.0;

/// Returns the most likely exponent for `counts`. `counts[i]` is the number of accesses to the key of rank i + 1.
/// Every key of the key space has a rank, even without accesses. `None` with fewer than two keys or without an
/// access.
///
/// Ranks must be known beforehand: ranking by the counts themselves makes any stream look skewed, even a uniform one.
/// The derivative of the log-likelihood in s is n·(E[ln rank under s] − mean ln rank). It decreases in s, so it has
/// one root.
#[must_use]
pub fn fit(counts: &[u64]) -> Option<Fit> {
    let total = float(counts.iter().sum::<u64>());
    if counts.len() < 2 || total == 0.0 {
        return None;
    }
    let logs: Vec<f64> = (1..=counts.len() as u64).map(|rank| float(rank).ln()).collect();
    let mean = counts.iter().zip(&logs).map(|(n, log)| float(*n) * log).sum::<f64>() / total;
    let (mut low, mut high) = (-MOST, MOST);
    // 36 bisections narrow the interval from 40 to below a billionth.
    for _ in 0..36 {
        let middle = f64::midpoint(low, high);
        if moments(&logs, middle).0 > mean { low = middle } else { high = middle }
    }
    let exponent = f64::midpoint(low, high);
    let (_, variance) = moments(&logs, exponent);
    Some(Fit { exponent, standard_error: standard_error(variance, total) })
}

/// The expected standard error with `requests` requests to `keys` keys and exponent `exponent`.
#[must_use]
pub fn expected_error(keys: usize, exponent: f64, requests: f64) -> f64 {
    let logs: Vec<f64> = (1..=keys as u64).map(|rank| float(rank).ln()).collect();
    standard_error(moments(&logs, exponent).1, requests)
}

fn standard_error(variance: f64, requests: f64) -> f64 {
    1.0 / (requests * variance).sqrt()
}

/// Mean and variance of the logarithm of the rank under exponent `s`.
fn moments(logs: &[f64], s: f64) -> (f64, f64) {
    // Relative to the largest weight, so that none overflows.
    let shift = if s < 0.0 { logs.last().copied().unwrap_or(0.0) } else { 0.0 };
    let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
    for log in logs {
        let weight = (-s * (log - shift)).exp();
        sum += weight;
        first += weight * log;
        second += weight * log * log;
    }
    let mean = first / sum;
    (mean, (second / sum - mean * mean).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::zipf;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::distr::Distribution;
    use rand::rngs::StdRng;

    fn drawn(exponent: f64, requests: usize, seed: u64) -> Vec<u64> {
        let law = rand_distr::weighted::WeightedAliasIndex::new(zipf(1_000, exponent)).unwrap();
        let mut counts = vec![0; 1_000];
        law.sample_iter(StdRng::seed_from_u64(seed)).take(requests).for_each(|key| counts[key] += 1);
        counts
    }

    #[test]
    fn standard_errors_of_the_lab() {
        for (exponent, requests, expected, tolerance) in [
            (0.99, 1e3, 0.015, 5e-4),
            (0.99, 1e4, 0.005, 5e-4),
            (0.99, 1e5, 0.0015, 5e-5),
            (1.5, 1e3, 0.020, 5e-4),
            (1.5, 1e4, 0.006, 5e-4),
            (1.5, 1e5, 0.002, 5e-5),
        ] {
            let found = expected_error(1_000, exponent, requests);
            assert!((found - expected).abs() < tolerance, "{exponent} {requests}: {found}");
        }
    }

    #[test]
    fn drawn_exponents_are_found_within_their_error() {
        for exponent in [0.0, 0.5, 0.99, 1.5, 2.0] {
            let deviations: Vec<f64> = (0..200)
                .map(|seed| {
                    let fit = fit(&drawn(exponent, 2_000, seed)).unwrap();
                    (fit.exponent - exponent) / fit.standard_error
                })
                .collect();
            let mean = deviations.iter().sum::<f64>() / 200.0;
            let spread = (deviations.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 199.0).sqrt();
            // Unbiased to a quarter of an error, with the stated spread. Each limit is over three standard errors of
            // its figure.
            assert!(mean.abs() < 0.25 && (0.83..1.17).contains(&spread), "{exponent}: {mean} ± {spread}");
        }
    }

    #[test]
    fn nothing_to_fit() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&[5]), None);
        assert_eq!(fit(&[0, 0]), None);
        assert!((fit(&[1_000, 0, 0]).unwrap().exponent - MOST).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn exact_counts_give_the_exponent_back(exponent in 0.0f64..3.0, keys in 2usize..200) {
            let counts: Vec<u64> = zipf(keys, exponent).iter().map(|p| (p * 1e9) as u64).collect();
            let found = fit(&counts).unwrap().exponent;
            prop_assert!((found - exponent).abs() < 1e-4, "{found} instead of {exponent}");
        }
    }
}
