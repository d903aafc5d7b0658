//! Predicts the shards' load when keys are copied, forwarded or moved.

/// The load of one key and the shard that owns it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HomeLoad {
    /// The key's home shard.
    pub shard: usize,
    /// Its load, in any unit.
    pub load: f64,
}

/// Returns the shards that hold a copy of a key: its home and the next `copies - 1` shards of the ring, at most all.
pub fn replicas(home: usize, copies: usize, shards: usize) -> impl Iterator<Item = usize> {
    (0..copies.clamp(1, shards.max(1))).map(move |step| (home + step) % shards.max(1))
}

/// Adds the loads of `keys` to `base`, the load by shard. Each of a key's `copies` serves an equal part.
#[must_use]
pub fn evenly(base: &[f64], keys: &[HomeLoad], copies: usize) -> Vec<f64> {
    let mut loads = base.to_vec();
    for key in keys {
        let on: Vec<usize> = replicas(key.shard, copies, base.len()).collect();
        for shard in &on {
            if let Some(load) = loads.get_mut(*shard) {
                *load += key.load / on.len() as f64;
            }
        }
    }
    loads
}

/// The long-run result of [`two_choices`].
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Load by shard.
    pub loads: Vec<f64>,
    /// Load of the keys that is served by other shards than their home.
    pub elsewhere: f64,
}

/// The load whose requests choose between the same two shards.
struct Pair {
    shards: [usize; 2],
    load: f64,
    /// The part of the load that has each shard as its home.
    at_home: [f64; 2],
    /// The part of the load that the first shard serves.
    on_first: f64,
}

impl Pair {
    /// The load served away from home. The choice of a shard does not depend on the key, so all keys are split in the
    /// same ratio.
    fn elsewhere(&self) -> f64 {
        let first = if self.load > 0.0 { self.on_first / self.load } else { 0.0 };
        self.load - self.at_home[0] * first - self.at_home[1] * (1.0 - first)
    }
}

/// Adds the loads of `keys` to `base` when each request compares two of its key's `copies`, drawn at random, and goes
/// to the less loaded one.
///
/// In the long run two shards that share requests get equal loads, unless one of them already has more without these
/// requests. The function splits the load of each pair of shards accordingly and repeats this until nothing changes.
/// It converges: the sum of squared loads falls with every step and has one minimum.
#[must_use]
pub fn two_choices(base: &[f64], keys: &[HomeLoad], copies: usize) -> Chosen {
    let shards = base.len();
    if copies.min(shards) < 2 {
        return Chosen { loads: evenly(base, keys, 1), elsewhere: 0.0 };
    }
    let mut pairs = pairs(keys, copies, shards);
    let mut loads = base.to_vec();
    for Pair { shards: [a, b], load, on_first, .. } in &mut pairs {
        *on_first = *load / 2.0;
        loads[*a] += *on_first;
        loads[*b] += *on_first;
    }
    let total = loads.iter().sum::<f64>();
    for _ in 0..MOST_SWEEPS {
        let mut moved = 0.0_f64;
        for Pair { shards: [a, b], load, on_first, .. } in &mut pairs {
            let wanted = (*on_first + (loads[*b] - loads[*a]) / 2.0).clamp(0.0, *load);
            let step = wanted - *on_first;
            *on_first = wanted;
            loads[*a] += step;
            loads[*b] -= step;
            moved = moved.max(step.abs());
        }
        if moved <= 1e-9 * total {
            break;
        }
    }
    Chosen { loads, elsewhere: pairs.iter().map(Pair::elsewhere).sum() }
}

/// The pairs of shards that requests compare. Every two of a key's `copies` are equally likely.
fn pairs(keys: &[HomeLoad], copies: usize, shards: usize) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for key in keys {
        let on: Vec<usize> = replicas(key.shard, copies, shards).collect();
        let part = key.load / (on.len() * (on.len() - 1) / 2) as f64;
        for (at, one) in on.iter().enumerate() {
            for other in &on[at + 1..] {
                let both = [*one.min(other), *one.max(other)];
                let home = both.map(|shard| if shard == key.shard { part } else { 0.0 });
                match pairs.iter_mut().find(|pair| pair.shards == both) {
                    Some(pair) => {
                        pair.load += part;
                        pair.at_home[0] += home[0];
                        pair.at_home[1] += home[1];
                    }
                    None => pairs.push(Pair { shards: both, load: part, at_home: home, on_first: 0.0 }),
                }
            }
        }
    }
    pairs
}

/// Maximum sweeps of [`two_choices`] over all pairs. A few dozen suffice for dozens of shards.
const MOST_SWEEPS: usize = 1_000;

/// The least load that bounded load must forward.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounded {
    /// Load by shard, at most the bound.
    pub loads: Vec<f64>,
    /// Load that does not go to its home shard.
    pub forwarded: f64,
}

/// Limits every shard to (1 + `epsilon`) fair shares and forwards the excess to the emptiest shards first. This is
/// the least load that must be forwarded. (Mirrokni, Thorup, Zadimoghaddam: "Consistent hashing with bounded loads",
/// SODA 2018. There the next shard in the ring that is not full gets the excess.)
#[must_use]
pub fn bounded(loads: &[f64], epsilon: f64) -> Bounded {
    let total = loads.iter().sum::<f64>();
    let bound = (1.0 + epsilon.max(0.0)) * total / loads.len().max(1) as f64;
    let forwarded = loads.iter().map(|load| (load - bound).max(0.0)).sum::<f64>();
    let capped: Vec<f64> = loads.iter().map(|load| load.min(bound)).collect();
    Bounded { loads: filled(capped, forwarded), forwarded }
}

/// Distributes `more` over the loads so that the smallest ones rise to one level.
fn filled(loads: Vec<f64>, more: f64) -> Vec<f64> {
    let mut ascending = loads.clone();
    ascending.sort_unstable_by(f64::total_cmp);
    let (mut sum, mut level) = (0.0, 0.0);
    for (count, load) in ascending.iter().enumerate() {
        // `level` is what the `count` smallest loads reach. All further loads are above it.
        if count > 0 && level <= *load {
            break;
        }
        sum += load;
        level = (sum + more) / (count + 1) as f64;
    }
    loads.into_iter().map(|load| load.max(level)).collect()
}

/// Returns the largest shard load of each of `placements` random placements of `keys`, ascending. `rest` is the load
/// of all other keys, assumed to be so many that they spread evenly. Deterministic: the same arguments return the
/// same loads.
///
/// This models any hashing that maps each key to one shard: modulo, jump, rendezvous, Maglev.
#[must_use]
pub fn random_placements(keys: &[f64], rest: f64, shards: usize, placements: usize) -> Vec<f64> {
    let mut state = 0;
    let shards = shards.max(1);
    let mut largest: Vec<f64> = (0..placements)
        .map(|_| {
            let mut loads = vec![rest / shards as f64; shards];
            keys.iter().for_each(|load| loads[draw(&mut state, shards)] += load);
            loads.into_iter().fold(0.0, f64::max)
        })
        .collect();
    largest.sort_unstable_by(f64::total_cmp);
    largest
}

/// Returns the next number below `n` of a fixed sequence (SplitMix64; Steele, Lea, Flood, OOPSLA 2014).
fn draw(state: &mut u64, n: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    #[expect(clippy::cast_possible_truncation, reason = "below n, a usize")]
    let below = ((u128::from(bits) * n as u128) >> 64) as usize;
    below
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(shard: usize, load: f64) -> HomeLoad {
        HomeLoad { shard, load }
    }

    fn near(found: &[f64], expected: &[f64]) {
        let same = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(same && found.len() == expected.len(), "{found:?} instead of {expected:?}");
    }

    #[test]
    fn copies_go_round_the_ring() {
        assert_eq!(replicas(3, 2, 4).collect::<Vec<_>>(), [3, 0]);
        assert_eq!(replicas(1, 9, 4).collect::<Vec<_>>(), [1, 2, 3, 0]);
        assert_eq!(replicas(2, 0, 4).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn two_choices_level_what_an_even_split_leaves() {
        let base = [10.0, 20.0, 5.0, 5.0];
        near(&evenly(&base, &[key(0, 40.0)], 4), &[20.0, 30.0, 15.0, 15.0]);
        near(&two_choices(&base, &[key(0, 40.0)], 4).loads, &[20.0; 4]);
        // Two copies, on shards 0 and 1: the other shards get nothing.
        near(&two_choices(&base, &[key(0, 40.0)], 2).loads, &[35.0, 35.0, 5.0, 5.0]);
        // The load is too small for equal loads: one pair in three contains none of the empty shards.
        near(&two_choices(&[30.0, 30.0, 0.0, 0.0], &[key(1, 6.0)], 4).loads, &[30.5, 30.5, 2.5, 2.5]);
        near(&two_choices(&base, &[key(3, 40.0)], 1).loads, &[10.0, 20.0, 5.0, 45.0]);
    }

    #[test]
    fn elsewhere_is_what_the_loads_leave_away_from_home() {
        // The home serves 25 of 40, the other shard 15.
        near(&[two_choices(&[10.0, 20.0], &[key(0, 40.0)], 2).elsewhere], &[15.0]);
        // Both keys use the same two shards and are split in the same ratio: 30 of 60 in total are away from home.
        near(&[two_choices(&[0.0, 0.0], &[key(0, 40.0), key(1, 20.0)], 2).elsewhere], &[30.0]);
        // The home is so loaded that every pair with it selects the other shard: it serves nothing.
        near(&[two_choices(&[90.0, 0.0, 0.0], &[key(0, 12.0)], 3).elsewhere], &[12.0]);
        near(&[two_choices(&[10.0, 20.0], &[key(0, 40.0)], 1).elsewhere], &[0.0]);
    }

    #[test]
    fn a_bound_forwards_what_is_above_it() {
        let found = bounded(&[70.0, 10.0, 20.0, 0.0], 0.25);
        assert_eq!(found.forwarded, 38.75);
        near(&found.loads, &[31.25, 22.916_667, 22.916_667, 22.916_667]);
        assert_eq!(bounded(&[30.0, 25.0, 25.0, 20.0], 0.25).forwarded, 0.0);
    }

    #[test]
    fn no_placement_beats_the_hottest_key() {
        let found = random_placements(&[0.77], 0.23, 4, 100);
        near(&found, &[0.77 + 0.23 / 4.0; 100]);
        let many = random_placements(&[0.001; 1_000], 0.0, 4, 200);
        // The standard deviation of a shard's count is 14 keys. The largest of four is about one standard deviation
        // above the mean.
        assert!((0.255..0.275).contains(&many[100]) && many[199] < 0.32, "{many:?}");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_largest_never_grows(
            base in prop::collection::vec(0.0f64..100.0, 2..12),
            keys in prop::collection::vec((0usize..12, 0.0f64..500.0), 0..10),
            copies in 1usize..14,
            epsilon in 0.0f64..2.0,
        ) {
            let shards = base.len();
            let keys: Vec<_> = keys.into_iter().map(|(at, load)| key(at % shards, load)).collect();
            let total = base.iter().sum::<f64>() + keys.iter().map(|k| k.load).sum::<f64>();
            let largest = |loads: &[f64]| loads.iter().copied().fold(0.0, f64::max);
            let (at_home, even) = (evenly(&base, &keys, 1), evenly(&base, &keys, copies));
            let Chosen { loads: chosen, elsewhere } = two_choices(&base, &keys, copies);
            let copied = keys.iter().map(|k| k.load).sum::<f64>();
            prop_assert!((-1e-6..=copied + 1e-6).contains(&elsewhere));
            let bound = bounded(&at_home, epsilon);
            for loads in [&at_home, &even, &chosen, &bound.loads] {
                prop_assert!((loads.iter().sum::<f64>() - total).abs() < 1e-6 * (1.0 + total));
            }
            for (loads, base) in [&even, &chosen].into_iter().flat_map(|loads| loads.iter().zip(&base)) {
                prop_assert!(*loads >= base - 1e-6, "nothing leaves its shard but the keys");
            }
            // The sum of squares measures the imbalance. The largest load alone may belong to a shard without a copy.
            let squares = |loads: &[f64]| loads.iter().map(|load| load * load).sum::<f64>();
            prop_assert!(squares(&chosen) <= squares(&even) * (1.0 + 1e-9));
            prop_assert!(largest(&bound.loads) <= (1.0 + epsilon) * total / shards as f64 * (1.0 + 1e-9));
            prop_assert!(largest(&bound.loads) <= largest(&at_home) * (1.0 + 1e-9));
        }
    }
}
