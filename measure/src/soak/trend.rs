//! The least-squares line through values over time.

use std::time::Duration;

/// Returns the slope in parts of the mean value an hour. `None` for fewer than three values.
pub(crate) fn growth_per_hour(values: &[(Duration, f64)]) -> Option<f64> {
    if values.len() < 3 {
        return None;
    }
    let count = f64::from(u32::try_from(values.len()).ok()?);
    let hours = |at: Duration| at.as_secs_f64() / 3_600.0;
    let mean_at = values.iter().map(|(at, _)| hours(*at)).sum::<f64>() / count;
    let mean = values.iter().map(|(_, value)| value).sum::<f64>() / count;
    let covariance: f64 = values.iter().map(|(at, value)| (hours(*at) - mean_at) * (value - mean)).sum();
    let variance: f64 = values.iter().map(|(at, _)| (hours(*at) - mean_at).powi(2)).sum();
    (variance > 0.0 && mean > 0.0).then(|| covariance / variance / mean)
}

#[cfg(test)]
mod tests {
    use super::growth_per_hour;
    use std::time::Duration;

    #[test]
    fn a_line_has_its_slope() {
        let minutes = |minute: u64| Duration::from_secs(60 * minute);
        let grows: Vec<_> = [(0, 99.0), (30, 100.0), (60, 101.0)].map(|(m, v)| (minutes(m), v)).to_vec();
        assert!((growth_per_hour(&grows).unwrap() - 0.02).abs() < 1e-9);
        assert_eq!(growth_per_hour(&grows[..2]), None);
    }
}
