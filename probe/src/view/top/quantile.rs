//! Quantiles of what happened between two readings of a histogram.

use protocol::probe_api::Bucket;

/// The requests of `now` that were not in `before`, by bucket; `None` when counting began anew in between.
pub(super) fn between(before: &[Bucket], now: &[Bucket]) -> Option<Vec<Bucket>> {
    // Buckets that were empty before need not be listed there.
    let growth = now.iter().map(|(bound, count)| {
        let before = before.iter().find(|(other, _)| other == bound).map_or(0, |(_, count)| *count);
        count.checked_sub(before).map(|count| (*bound, count))
    });
    let growth: Vec<Bucket> = growth.collect::<Option<_>>()?;
    let vanished = before.iter().any(|(bound, count)| *count > 0 && !now.iter().any(|(b, _)| b == bound));
    (!vanished).then_some(growth)
}

/// The upper bound of the bucket in which this share of the requests ends, in milliseconds; `None` without requests, or
/// above all bounds.
pub(super) fn quantile(buckets: &[Bucket], percent: u64) -> Option<f64> {
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let place = u64::try_from((u128::from(all) * u128::from(percent)).div_ceil(100)).ok()?.max(1);
    let mut below = 0;
    for (bound, count) in buckets {
        below += count;
        if below >= place {
            return *bound;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_of_each_bucket() {
        let before = [(Some(1.0), 5), (None, 1)];
        let now = [(Some(0.5), 2), (Some(1.0), 9), (None, 1)];
        assert_eq!(between(&before, &now), Some(vec![(Some(0.5), 2), (Some(1.0), 4), (None, 0)]));
        assert_eq!(between(&now, &before), None);
        assert_eq!(between(&[(Some(2.0), 1)], &now), None);
    }

    #[test]
    fn quantiles_are_upper_bounds() {
        let buckets = [(Some(0.5), 50), (Some(1.0), 48), (Some(2.0), 1), (None, 1)];
        assert_eq!(quantile(&buckets, 50), Some(0.5));
        assert_eq!(quantile(&buckets, 51), Some(1.0));
        assert_eq!(quantile(&buckets, 99), Some(2.0));
        assert_eq!(quantile(&buckets, 100), None);
        assert_eq!(quantile(&[(Some(0.5), 0)], 50), None);
        assert_eq!(quantile(&[], 50), None);
    }
}
