//! Draws the keys of a stream from a seeded distribution.

use protocol::{Key, ShardId, placement};
use std::num::NonZeroU32;
use std::str::FromStr;

/// The distribution of keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// All keys are equally likely.
    Uniform,
    /// Zipf's law with this exponent; the first key is the hottest.
    Zipf(f64),
    /// Not random: one key after the other, starting again after the last.
    InTurn,
    /// Not random: each key for an equal part of the run.
    InPhases,
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let exponent = |text: &str| text.parse().ok().filter(|e| (0.0..=10.0).contains(e));
        match text.strip_prefix("zipf:") {
            None if text == "uniform" => Some(Self::Uniform),
            None if text == "in-turn" => Some(Self::InTurn),
            None => None,
            Some(text) => exponent(text).map(Self::Zipf),
        }
        .ok_or_else(|| {
            "allowed: `uniform`, `in-turn` or `zipf:EXPONENT` with an exponent from 0 to 10".into()
        })
    }
}

/// A set of keys and their distribution.
#[derive(Clone, Debug)]
pub struct KeySpace {
    keys: Vec<Key>,
    law: Distribution,
}

impl KeySpace {
    /// The keys `PREFIX0 … PREFIX(count-1)`.
    ///
    /// # Errors
    /// Returns an error when a name is not a valid key.
    pub fn numbered(prefix: &str, count: usize, law: Distribution) -> Result<Self, protocol::KeyError> {
        let keys = (0..count).map(|n| Key::new(&format!("{prefix}{n}"))).collect::<Result<_, _>>()?;
        Ok(Self { keys, law })
    }

    /// These keys.
    #[must_use]
    pub fn of(keys: Vec<Key>, law: Distribution) -> Self {
        Self { keys, law }
    }

    /// A single key.
    ///
    /// # Errors
    /// Returns an error when the name is not a valid key.
    pub fn single(name: &str) -> Result<Self, protocol::KeyError> {
        Ok(Self { keys: vec![Key::new(name)?], law: Distribution::Uniform })
    }

    /// The keys `names`, each for an equal part of the run.
    ///
    /// # Errors
    /// Returns an error when a name is not a valid key.
    pub fn in_phases(names: &[&str]) -> Result<Self, protocol::KeyError> {
        let keys = names.iter().map(|name| Key::new(name)).collect::<Result<_, _>>()?;
        Ok(Self { keys, law: Distribution::InPhases })
    }

    /// The distribution of the keys.
    #[must_use]
    pub fn law(&self) -> Distribution {
        self.law
    }

    /// The keys. In a skewed distribution the first is the hottest.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The probability of each key.
    #[must_use]
    pub fn probabilities(&self) -> Vec<f64> {
        let exponent = match self.law {
            Distribution::Uniform | Distribution::InTurn | Distribution::InPhases => 0.0,
            Distribution::Zipf(exponent) => exponent,
        };
        hotspot::predict::zipf(self.keys.len(), exponent)
    }

    /// The home of each key for `shards` shards.
    #[must_use]
    pub fn owners(&self, shards: NonZeroU32) -> Vec<ShardId> {
        self.keys.iter().map(|key| placement::modulo(key, shards)).collect()
    }

    /// Returns an endless sequence of indices into [`KeySpace::keys`]. The same seed returns the same sequence.
    #[must_use]
    pub fn draws(&self, seed: u64) -> Draws {
        let count = self.keys.len();
        let law = match self.law {
            Distribution::Uniform => Law::Uniform,
            Distribution::InTurn => Law::InTurn { next: 0 },
            Distribution::InPhases => Law::InPhases { drawn: 0, requests: 0 },
            Distribution::Zipf(_) => Law::Cumulative(cumulative(self.probabilities())),
        };
        Draws { rng: fastrand::Rng::with_seed(seed), count, law }
    }
}

/// The sequence returned by [`KeySpace::draws`].
pub struct Draws {
    rng: fastrand::Rng,
    count: usize,
    law: Law,
}

enum Law {
    Uniform,
    /// For each key, the cumulative probability up to and including it.
    Cumulative(Vec<f64>),
    InTurn {
        next: usize,
    },
    InPhases {
        drawn: u64,
        requests: u64,
    },
}

impl Draws {
    /// Sets the number of draws that the phases divide into equal parts.
    #[must_use]
    pub fn over(mut self, draws: u64) -> Self {
        if let Law::InPhases { requests, .. } = &mut self.law {
            *requests = draws;
        }
        self
    }

    /// The next index.
    pub fn draw(&mut self) -> usize {
        match &mut self.law {
            Law::Uniform => self.rng.usize(..self.count),
            Law::Cumulative(below) => {
                let drawn = self.rng.f64();
                below.partition_point(|sum| *sum <= drawn).min(self.count - 1)
            }
            Law::InTurn { next } => {
                let drawn = *next;
                *next = (drawn + 1) % self.count;
                drawn
            }
            Law::InPhases { drawn, requests } => {
                let phase = u128::from(*drawn) * self.count as u128 / u128::from((*requests).max(1));
                *drawn += 1;
                usize::try_from(phase).unwrap_or(usize::MAX).min(self.count - 1)
            }
        }
    }
}

fn cumulative(probabilities: Vec<f64>) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |p| {
        sum += p;
        sum
    };
    probabilities.into_iter().map(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_turn_asks_for_every_key_once_before_any_twice() {
        let space = KeySpace::numbered("user-", 3, "in-turn".parse().unwrap()).unwrap();
        let mut draws = space.draws(1);
        assert_eq!([(); 5].map(|()| draws.draw()), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn in_phases_each_key_has_an_equal_part_of_the_run() {
        let space = KeySpace::in_phases(&["a", "b", "c"]).unwrap();
        let mut draws = space.draws(1).over(7);
        assert_eq!([(); 8].map(|()| draws.draw()), [0, 0, 0, 1, 1, 2, 2, 2]);
    }

    fn counted(space: &KeySpace, seed: u64, n: usize) -> Vec<u32> {
        let mut draws = space.draws(seed);
        let mut counts = vec![0; space.keys().len()];
        (0..n).for_each(|_| counts[draws.draw()] += 1);
        counts
    }

    #[test]
    fn the_same_seed_gives_the_same_keys() {
        let space = KeySpace::numbered("user-", 1_000, Distribution::Zipf(1.5)).unwrap();
        let drawn = |seed| {
            let mut draws = space.draws(seed);
            (0..1_000).map(|_| draws.draw()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn drawn_keys_and_shards_are_within_four_standard_errors_of_the_prediction() {
        const N: u32 = 200_000;
        let shards = NonZeroU32::new(4).unwrap();
        for (law, seed) in [
            (Distribution::Uniform, 1),
            (Distribution::Zipf(1.5), 2),
            (Distribution::Zipf(0.99), 3),
            (Distribution::Zipf(1.0), 4),
        ] {
            let space = KeySpace::numbered("user-", 1_000, law).unwrap();
            let (counts, probabilities) = (counted(&space, seed, N as usize), space.probabilities());
            let near = |observed: u32, p: f64, what: &str| {
                let se = hotspot::predict::share_standard_error(p, f64::from(N));
                let share = f64::from(observed) / f64::from(N);
                assert!((share - p).abs() < 4.0 * se, "{law:?} {what}: {share} instead of {p} ± {se}");
            };
            for rank in [0, 1, 2, 5, 10, 50] {
                near(counts[rank], probabilities[rank], &format!("key {rank}"));
            }
            let owners: Vec<usize> = space.owners(shards).iter().map(|owner| owner.index()).collect();
            for (shard, p) in
                hotspot::predict::shard_shares(&probabilities, &owners, 4).into_iter().enumerate()
            {
                let on_shard = (0..1_000).filter(|i| owners[*i] == shard).map(|i| counts[i]).sum();
                near(on_shard, p, &format!("shard {shard}"));
            }
            // χ² over all keys expected at least five times. Its mean is the degrees of freedom, its variance twice
            // that.
            let (mut chi2, mut cells) = (0.0, 0.0);
            for (count, p) in counts.iter().zip(&probabilities) {
                let expected = p * f64::from(N);
                if expected >= 5.0 {
                    chi2 += (f64::from(*count) - expected).powi(2) / expected;
                    cells += 1.0;
                }
            }
            let z = (chi2 - cells) / f64::sqrt(2.0 * cells);
            assert!(z.abs() < 4.0, "{law:?}: chi-square {chi2} over {cells} keys");
        }
    }

    #[test]
    fn laws_are_read_from_text() {
        assert_eq!("uniform".parse(), Ok(Distribution::Uniform));
        assert_eq!("zipf:0.99".parse(), Ok(Distribution::Zipf(0.99)));
        for bad in ["", "zipf", "zipf:", "zipf:x", "zipf:nan", "zipf:11"] {
            assert!(bad.parse::<Distribution>().is_err(), "{bad}");
        }
    }
}
