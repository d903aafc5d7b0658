//! Summaries of a few measurements.

use serde::Serialize;

/// Minimum, quartiles and maximum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quartiles {
    /// The minimum.
    #[serde(rename = "least")]
    pub min: f64,
    /// The first quartile.
    pub lower: f64,
    /// The median.
    pub median: f64,
    /// The third quartile.
    pub upper: f64,
    /// The maximum.
    #[serde(rename = "most")]
    pub max: f64,
}

impl Quartiles {
    /// Returns `None` without values. Interpolates linearly between two values (Hyndman and Fan, type 7).
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            #[expect(clippy::cast_precision_loss, reason = "a few measurements")]
            let place = share * values.len().checked_sub(1)? as f64;
            let (below, above) = (*values.get(place.floor() as usize)?, *values.get(place.ceil() as usize)?);
            Some(below + (above - below) * place.fract())
        };
        Some(Self { min: at(0.0)?, lower: at(0.25)?, median: at(0.5)?, upper: at(0.75)?, max: at(1.0)? })
    }
}

/// Returns the mean, or `None` without values.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a few measurements")]
    let count = values.len() as f64;
    (count > 0.0).then(|| values.iter().sum::<f64>() / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_those_of_the_textbook() {
        let expected = Quartiles { min: 1.0, lower: 1.75, median: 2.5, upper: 3.25, max: 4.0 };
        assert_eq!(Quartiles::of([4.0, 1.0, 3.0, 2.0]), Some(expected));
        assert_eq!(Quartiles::of([7.0]).unwrap().median, 7.0);
        assert_eq!(Quartiles::of([]), None);
    }
}
