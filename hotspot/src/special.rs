//! Computes the tail of the χ² distribution.

use std::f64::consts::PI;

/// Probability that χ² with `freedom` degrees of freedom is at least `x`; 1 when `freedom` is 0.
///
/// Uses the finite sums for whole degrees of freedom (Abramowitz and Stegun 26.4.4 and 26.4.5).
pub(crate) fn chi_square_tail(x: f64, freedom: usize) -> f64 {
    if freedom == 0 || x <= 0.0 {
        return 1.0;
    }
    let half = x / 2.0;
    // Q(a + 1, y) = Q(a, y) + y^a·e^−y / Γ(a + 1), starting at a = 1/2 or a = 1. Computed in logarithms because y^a
    // overflows early.
    let (mut tail, mut a, mut log_term) = if freedom % 2 == 1 {
        (libm::erfc(half.sqrt()), 0.5, 0.5 * half.ln() - half - (PI.sqrt() / 2.0).ln())
    } else {
        ((-half).exp(), 1.0, half.ln() - half)
    };
    for _ in 0..(freedom - 1) / 2 {
        tail += log_term.exp();
        a += 1.0;
        log_term += (half / a).ln();
    }
    tail.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_table() {
        // Abramowitz and Stegun, table 26.8.
        for (freedom, x, p) in [
            (1, 3.841_459, 0.05),
            (2, 5.991_465, 0.05),
            (3, 7.814_728, 0.05),
            (3, 16.266_236, 0.001),
            (4, 13.276_704, 0.01),
            (9, 16.918_978, 0.05),
            (30, 43.772_972, 0.05),
            (100, 124.342_113, 0.05),
        ] {
            let found = chi_square_tail(x, freedom);
            assert!((found - p).abs() < 1e-6, "{freedom} {x}: {found} instead of {p}");
        }
    }

    #[test]
    fn the_ends() {
        assert_eq!(chi_square_tail(0.0, 3), 1.0);
        assert_eq!(chi_square_tail(5.0, 0), 1.0);
        assert!(chi_square_tail(1e6, 3) < 1e-300);
        assert!(chi_square_tail(1.0, 5_000) > 0.999_999 && chi_square_tail(5_000.0, 5_000) < 0.51);
    }
}
