//! A table beside the truth.

use std::collections::HashMap;

use crate::candidates::programs::Counted;

/// So many keys of a list are compared in their counts.
const FIRST: usize = 100;

/// How right a table is.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Of its first ten keys, the share that are among the ten hottest.
    pub precision_10: f64,
    /// The same of a hundred.
    pub precision_100: f64,
    /// How far the counts of its first hundred are from the truth, as a share of the truth: on average.
    pub mean_error: f64,
    /// The same: the largest.
    pub largest_error: f64,
    /// How many of these counts are the truth itself.
    pub exact: usize,
    /// Whether every truth is within what the table says; absent if it says nothing.
    pub bounds_hold: Option<bool>,
}

impl Figures {
    /// Compares a table, most first, with how often each key came.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub fn of(table: &[Counted], truth: &[u64]) -> Self {
        let first = &table[..table.len().min(FIRST)];
        let errors: Vec<f64> = first
            .iter()
            .map(|counted| {
                let truth = truth[counted.key as usize];
                counted.count.abs_diff(truth) as f64 / truth.max(1) as f64
            })
            .collect();
        let within = |counted: &Counted| {
            let truth = truth[counted.key as usize];
            counted.error.map(|error| (counted.count..=counted.count + error).contains(&truth))
        };
        Self {
            precision_10: precision(table, truth, 10),
            precision_100: precision(table, truth, 100),
            mean_error: errors.iter().sum::<f64>() / errors.len().max(1) as f64,
            largest_error: errors.iter().copied().fold(0.0, f64::max),
            exact: first.iter().filter(|counted| counted.count == truth[counted.key as usize]).count(),
            bounds_hold: table
                .iter()
                .map(within)
                .collect::<Option<Vec<_>>>()
                .map(|all| !all.contains(&false)),
        }
    }
}

/// Of the first keys of a list, the share that came at least as often as the last of as many hottest.
#[expect(clippy::cast_precision_loss, reason = "a hundred at most")]
fn precision(table: &[Counted], truth: &[u64], first: usize) -> f64 {
    let last = nth_largest(truth, first);
    let right = table.iter().take(first).filter(|counted| truth[counted.key as usize] >= last);
    right.count() as f64 / first as f64
}

/// The count that is `n`th of all, most first; 0 if there are fewer.
#[must_use]
pub fn nth_largest(counts: &[u64], n: usize) -> u64 {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
    sorted.get(n - 1).copied().unwrap_or_default()
}

/// What a table gained, most first. The count of a key that is lower than it was began anew meanwhile.
#[must_use]
pub fn since(now: &[Counted], then: &[Counted]) -> Vec<Counted> {
    let then: HashMap<u32, u64> = then.iter().map(|counted| (counted.key, counted.count)).collect();
    let gain = |counted: &Counted| {
        let before = then.get(&counted.key).copied().unwrap_or_default();
        // What it missed since is not what it may have missed in all.
        Counted { count: counted.count.checked_sub(before).unwrap_or(counted.count), error: None, ..*counted }
    };
    let mut gained: Vec<_> = now.iter().map(gain).collect();
    gained.sort_unstable_by_key(|counted| (std::cmp::Reverse(counted.count), counted.key));
    gained
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(key: u32, count: u64, error: Option<u64>) -> Counted {
        Counted { key, count, error }
    }

    #[test]
    fn a_table_is_right_as_far_as_its_keys_and_counts_are() {
        let mut truth = vec![1; 200];
        truth[..10].copy_from_slice(&[90, 80, 70, 60, 50, 40, 30, 20, 10, 10]);
        let mut table: Vec<_> = (0..9).map(|key| counted(key, truth[key as usize], Some(0))).collect();
        // Not among the first ten, and half of its reads were missed.
        truth[100] = 4;
        table.push(counted(100, 2, Some(2)));
        let figures = Figures::of(&table, &truth);
        assert_eq!((figures.precision_10, figures.exact), (0.9, 9));
        assert_eq!((figures.largest_error, figures.mean_error), (0.5, 0.05));
        assert_eq!(figures.bounds_hold, Some(true));
        table.push(counted(101, 2, Some(5)));
        assert_eq!(Figures::of(&table, &truth).bounds_hold, Some(false));
        table.push(counted(102, 1, None));
        assert_eq!(Figures::of(&table, &truth).bounds_hold, None);
    }

    #[test]
    fn equal_keys_are_as_right_as_each_other() {
        let truth = vec![5; 300];
        let table: Vec<_> = (200..300).map(|key| counted(key, 5, None)).collect();
        assert_eq!(Figures::of(&table, &truth).precision_100, 1.0);
    }

    #[test]
    fn gains_are_since_the_first_look() {
        let then = [counted(1, 100, None), counted(2, 50, None)];
        let now = [counted(1, 103, None), counted(2, 9, None), counted(3, 20, None)];
        let gained: Vec<_> = since(&now, &then).iter().map(|gain| (gain.key, gain.count)).collect();
        assert_eq!(gained, [(3, 20), (2, 9), (1, 3)]);
    }
}
