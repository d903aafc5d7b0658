//! Pairs of runs: their order, and what their losses have in common.

use serde::Serialize;

/// So many times the requests go straight to a shard: it answers them faster, and a slice has connections of its own,
/// which are not what is measured.
pub const STRAIGHT: u64 = 4;

/// So many times fewer slices are by k6, each of as many times more requests: it takes a third of a second to start.
pub const K6_FEWER: u64 = 4;

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Speed {
    /// Requests a second.
    pub per_second: f64,
    /// Processor time of generator, gateway, shards and watcher together (side by side without the watcher, by k6 without the
    /// generator too), in microseconds a request.
    pub cpu_microseconds: f64,
}

impl Speed {
    /// Of several runs of as many requests each.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a few runs")]
    pub fn whole(runs: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        Self {
            per_second: 1.0 / mean(|run| 1.0 / run.per_second),
            cpu_microseconds: mean(|run| run.cpu_microseconds),
        }
    }
}

/// Two runs side by side, or several of each in turn.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// Without the watcher.
    pub without: Speed,
    /// With it.
    pub with: Speed,
    /// Whether the run with it was the first.
    pub watched_first: bool,
    /// The share of the machine's CPU time that the watcher's own process took, where it took it from both; else 0.
    pub own_share: f64,
}

impl Pair {
    /// The share of the throughput that the watcher took; less than 0 if there was more with it.
    #[must_use]
    pub fn loss(&self) -> f64 {
        1.0 - self.with.per_second / self.without.per_second + self.own_share
    }

    /// The CPU time that the watcher took, as a share of what there was without it.
    #[must_use]
    pub fn more_cpu(&self) -> f64 {
        self.with.cpu_microseconds / self.without.cpu_microseconds - 1.0
    }
}

/// Smallest, quarter, half, three quarters, largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub least: f64,
    /// A quarter are no more than this.
    pub lower: f64,
    /// The median.
    pub median: f64,
    /// Three quarters are no more than this.
    pub upper: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of any numbers; `None` of none. Between two of them it is interpolated linearly (Hyndman and Fan's type 7).
    #[must_use]
    pub fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let at = |share: f64| {
            #[expect(clippy::cast_precision_loss, reason = "a few pairs")]
            let place = share * numbers.len().checked_sub(1)? as f64;
            let (below, above) =
                (*numbers.get(place.floor() as usize)?, *numbers.get(place.ceil() as usize)?);
            Some(below + (above - below) * place.fract())
        };
        Some(Self { least: at(0.0)?, lower: at(0.25)?, median: at(0.5)?, upper: at(0.75)?, most: at(1.0)? })
    }
}

/// Orders that only a seed determines (splitmix64, Steele, Lea and Flood 2014).
#[derive(Debug)]
pub struct Shuffle(u64);

impl Shuffle {
    /// The same for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of two.
    pub fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    /// Any order is as likely as any other (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = self.next() % (last as u64 + 1);
            list.swap(last, other as usize);
        }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// How many processors the machine has.
#[expect(clippy::cast_precision_loss, reason = "a machine's processors")]
pub(super) fn processors() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |number| number.get() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_those_of_the_textbook() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        let expected = Spread { least: 1.0, lower: 1.75, median: 2.5, upper: 3.25, most: 4.0 };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(vec![7.0]).unwrap().median, 7.0);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn several_runs_are_as_fast_as_one_that_takes_their_time() {
        let run = |per_second, cpu_microseconds| Speed { per_second, cpu_microseconds };
        let whole = Speed::whole(&[run(100.0, 10.0), run(300.0, 20.0)]);
        assert!((whole.per_second - 150.0).abs() < 1e-9 && (whole.cpu_microseconds - 15.0).abs() < 1e-9);
    }

    #[test]
    fn a_loss_is_a_share_of_what_there_was_without() {
        let speed = |per_second| Speed { per_second, cpu_microseconds: 2_000.0 / per_second };
        let pair =
            |with| Pair { without: speed(200.0), with: speed(with), watched_first: false, own_share: 0.0 };
        assert!((pair(190.0).loss() - 0.05).abs() < 1e-9);
        let shared = Pair { own_share: 0.01, ..pair(190.0) };
        assert!((shared.loss() - 0.06).abs() < 1e-9, "what both had to do without is added");
        assert!(pair(210.0).loss() < 0.0 && pair(210.0).more_cpu() < 0.0);
        assert!((pair(160.0).more_cpu() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn orders_vary_and_repeat_with_their_seed() {
        let orders = |seed| {
            let mut shuffle = Shuffle::new(seed);
            let mut list: Vec<u32> = (0..20).collect();
            shuffle.shuffle(&mut list);
            let coins = (0..1_000).filter(|_| shuffle.coin()).count();
            (list, coins)
        };
        let (list, coins) = orders(1);
        assert_eq!(orders(1), (list.clone(), coins));
        assert_ne!(orders(2).0, list);
        assert!((400..600).contains(&coins), "{coins}");
        let mut sorted = list;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }
}
