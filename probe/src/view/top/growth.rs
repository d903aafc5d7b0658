//! Computes the growth of a histogram between two readings.

use protocol::probe_api::Bucket;

/// The requests in `now` that are not in `before`, by bucket. `None` when counting restarted in between.
pub(super) fn between(before: &[Bucket], now: &[Bucket]) -> Option<Vec<Bucket>> {
    // Buckets that were empty need not be listed in `before`.
    let growth = now.iter().map(|(bound, count)| {
        let before = before.iter().find(|(other, _)| other == bound).map_or(0, |(_, count)| *count);
        count.checked_sub(before).map(|count| (*bound, count))
    });
    let growth: Vec<Bucket> = growth.collect::<Option<_>>()?;
    let vanished = before.iter().any(|(bound, count)| *count > 0 && !now.iter().any(|(b, _)| b == bound));
    (!vanished).then_some(growth)
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
}
