//! The least-squares line through values over time.

use std::time::Duration;

/// Two-sided 95 % quantiles of Student's t distribution for 1 to 30 degrees of freedom. Source: NIST/SEMATECH e-Handbook
/// of Statistical Methods, table 1.3.6.7.2.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The slope of a line, and its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slope {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Slope {
    /// The slope through points of x and y: b ± t·s/√Sxx, where s² is the sum of the squared residuals by n − 2.
    /// `None` for fewer than three points. Source: Draper and Smith, *Applied Regression Analysis*, section 1.4.
    fn of(points: &[(f64, f64)]) -> Option<Self> {
        let freedom = points.len().checked_sub(2).filter(|freedom| *freedom > 0)?;
        let count = f64::from(u32::try_from(points.len()).ok()?);
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let sum_xx: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let sum_xy: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        if sum_xx <= 0.0 {
            return None;
        }
        let value = sum_xy / sum_xx;
        let residuals: f64 = points.iter().map(|(x, y)| (y - mean_y - value * (x - mean_x)).powi(2)).sum();
        let half = T[freedom.min(T.len()) - 1] * (residuals / (count - 2.0) / sum_xx).sqrt();
        Some(Self { value, low: value - half, high: value + half })
    }

    /// The slope in parts of the mean value an hour.
    pub(crate) fn per_hour(values: &[(Duration, f64)]) -> Option<Self> {
        let count = f64::from(u32::try_from(values.len()).ok()?);
        let mean = values.iter().map(|(_, value)| value).sum::<f64>() / count;
        let part = |(at, value): &(Duration, f64)| (at.as_secs_f64() / 3_600.0, value / mean);
        Self::of(&values.iter().map(part).collect::<Vec<_>>()).filter(|_| mean > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Slope;
    use std::time::Duration;

    /// The first data set of Anscombe, *Graphs in Statistical Analysis* (1973). R's `confint(lm(y1 ~ x1, anscombe))`
    /// has this interval.
    #[test]
    fn the_interval_is_that_of_the_textbook() {
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68];
        let slope = Slope::of(&x.into_iter().zip(y).collect::<Vec<_>>()).unwrap();
        assert!((slope.value - 0.500_090_9).abs() < 1e-6, "{slope:?}");
        assert!((slope.low - 0.233_370).abs() < 1e-4, "{slope:?}");
        assert!((slope.high - 0.766_812).abs() < 1e-4, "{slope:?}");
    }

    #[test]
    fn a_line_without_scatter_has_its_slope() {
        let minutes = |minute: u64| Duration::from_secs(60 * minute);
        let grows: Vec<_> = [(0, 99.0), (30, 100.0), (60, 101.0)].map(|(m, v)| (minutes(m), v)).to_vec();
        let slope = Slope::per_hour(&grows).unwrap();
        assert!((slope.low - 0.02).abs() < 1e-9 && (slope.high - 0.02).abs() < 1e-9, "{slope:?}");
        assert_eq!(Slope::per_hour(&grows[..2]), None);
    }
}
