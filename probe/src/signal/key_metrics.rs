//! Counts reads by key: hottest keys separately, all others together.
//!
//! The watch loop counts once a second. A scrape only exposes the result, so the number of scrapes changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hotspot::promotion::{Change, MAX_ACTIVE, Promotion};
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};
use protocol::Key;
use service::metrics::Metrics;
use smol_str::SmolStr;

use super::key_table::{KeyTable, largest};
use super::key_window::{KeyReading, KeyWindow, Unlisted};
use super::series::{raise, remove};

/// The two metric families and the state behind them.
pub(crate) struct KeyMetrics {
    tracked: IntCounterVec,
    untracked: IntCounterVec,
    known: Mutex<Known>,
}

/// The state of all shards.
#[derive(Default)]
struct Known {
    /// Whether the first reading of each shard includes the counts of an earlier probe.
    adopted: bool,
    shards: BTreeMap<u32, Shard>,
    /// The tracked keys by shard, with their series.
    series: HashMap<ShardKey, IntCounter>,
    /// One for the whole process, so that the limits hold for any number of shards.
    promotion: Promotion<ShardKey>,
}

type ShardKey = (u32, SmolStr);

/// The state of one shard.
struct Shard {
    window: KeyWindow,
    /// Reads in no series, because they precede the first reading of an adopted set.
    before: u64,
    /// Reads counted in a series.
    counted: u64,
    /// Of them, the ones without a series of their own.
    untracked: u64,
}

impl KeyMetrics {
    /// Registers both families.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Ok(Self {
            tracked: metrics.counters(
                "kernel_shard_key_requests_total",
                "Reads of a tracked key at the shard's socket, counted since the key has a series.",
                &["shard_id", "key"],
            )?,
            untracked: metrics.counters(
                "kernel_shard_key_requests_untracked_total",
                "Reads at the shard's socket of keys without a series.",
                &["shard_id"],
            )?,
            known: Mutex::default(),
        })
    }

    /// Excludes each shard's first reading from the series, because it includes the counts of an earlier probe.
    pub(crate) fn adopted(&self) {
        self.known.lock().adopted = true;
    }

    /// Counts a shard's table read at `now` (since any fixed start). `reads` is the count of all its reads, taken
    /// after the table.
    pub(crate) fn counted(&self, shard: u32, now: Duration, table: &Arc<KeyTable>, reads: u64) {
        let Known { adopted, shards, series, .. } = &mut *self.known.lock();
        let before = if *adopted { reads } else { 0 };
        let seen = shards.entry(shard).or_insert_with(|| Shard {
            window: KeyWindow::new(Unlisted::Nothing),
            before,
            counted: 0,
            untracked: 0,
        });
        let reading = KeyReading { total: reads, keys: Arc::clone(table) };
        if let Some(before) = seen.window.observe(now, reading) {
            for ((_, key), series) in series.iter().filter(|((of, _), _)| *of == shard) {
                let grown = table.grown(key, &before);
                series.inc_by(grown);
                seen.counted += grown;
            }
        }
        // A request may be in the table before it is in `reads`. It must not be counted twice.
        let rest = reads.saturating_sub(seen.before).saturating_sub(seen.counted);
        seen.counted += rest;
        seen.untracked += rest;
        raise(&self.untracked, &[&shard.to_string()], seen.untracked);
    }

    /// Removes the series of a shard that is not watched now. Its reads until it is watched again have no series of
    /// their own.
    pub(crate) fn interrupted(&self, shard: u32) {
        let Known { shards, series, .. } = &mut *self.known.lock();
        if let Some(seen) = shards.get_mut(&shard) {
            seen.window = KeyWindow::new(Unlisted::Nothing);
        }
        let id = shard.to_string();
        series.retain(|(of, key), _| {
            let is_other = *of != shard;
            if !is_other {
                remove(&self.tracked, &[&id, key]);
            }
            is_other
        });
        remove(&self.untracked, &[&id]);
    }

    /// The keys of a shard with the most reads of the last ten seconds, most first.
    pub(crate) fn recent(&self, shard: u32, most: usize) -> Vec<SmolStr> {
        let known = self.known.lock();
        let counts = known.shards.get(&shard).map(|seen| seen.window.counts()).unwrap_or_default();
        largest(counts.into_iter(), most).into_iter().map(|(key, _)| key.clone()).collect()
    }

    /// Decides which keys have a series from now on, by the last ten seconds. Call it after all tables have been read.
    pub(crate) fn decide(&self, now: Duration) {
        let Known { shards, series, promotion, .. } = &mut *self.known.lock();
        let counts = shards.iter().flat_map(|(shard, seen)| {
            seen.window.counts().into_iter().map(|(key, count)| ((*shard, key), count))
        });
        // Ignore keys that the shards reject.
        let largest = largest(counts.filter(|((_, key), _)| Key::new(key).is_ok()), MAX_ACTIVE).into_iter();
        let mut top: Vec<(ShardKey, u64)> =
            largest.map(|((shard, key), count)| ((shard, key.clone()), count)).collect();
        // Keys with a series take part however small they are.
        for key in series.keys() {
            if let Some(seen) = shards.get(&key.0)
                && !top.iter().any(|(large, _)| large == key)
            {
                top.push((key.clone(), seen.window.known(&key.1)));
            }
        }
        for change in promotion.update(&top, now) {
            match change {
                Change::Promote(key) => {
                    let of_key =
                        self.tracked.with_label_values(&[key.0.to_string().as_str(), key.1.as_str()]);
                    series.insert(key, of_key);
                }
                Change::Retire(key) => drop(series.remove(&key)),
                // Fails only if the family was reset elsewhere, which does not happen.
                Change::Remove(key) => {
                    drop(self.tracked.remove_label_values(&[key.0.to_string().as_str(), key.1.as_str()]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::probe_api::KernelKey;

    fn table(keys: &[(&str, u64)]) -> Arc<KeyTable> {
        let keys = keys.iter().map(|(key, requests)| KernelKey {
            key: (*key).to_owned(),
            requests: *requests,
            error: 0,
        });
        Arc::new(keys.collect())
    }

    fn registered() -> (Metrics, KeyMetrics) {
        let metrics = Metrics::default();
        let keys = KeyMetrics::register(&metrics).unwrap();
        (metrics, keys)
    }

    fn second(keys: &KeyMetrics, second: u64, shard: u32, counts: &[(&str, u64)], reads: u64) {
        keys.counted(shard, Duration::from_secs(second), &table(counts), reads);
        keys.decide(Duration::from_secs(second));
    }

    /// The value of a metric line.
    fn value(metrics: &Metrics, name: &str) -> Option<u64> {
        let text = metrics.encode().unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    const HOT: &str = r#"kernel_shard_key_requests_total{key="hot",shard_id="3"}"#;
    const REST: &str = r#"kernel_shard_key_requests_untracked_total{shard_id="3"}"#;

    #[test]
    fn series_start_at_0_and_with_the_remainder_add_up_to_all_reads() {
        let (metrics, keys) = registered();
        second(&keys, 1, 3, &[("hot", 100), ("cold", 2)], 110);
        assert_eq!((value(&metrics, HOT), value(&metrics, REST)), (None, Some(110)));
        second(&keys, 2, 3, &[("hot", 150), ("cold", 2)], 160);
        assert_eq!((value(&metrics, HOT), value(&metrics, REST)), (Some(0), Some(160)));
        // `cold` was evicted and came back, and `hot` grew. Five reads were of keys that are already evicted.
        second(&keys, 3, 3, &[("hot", 210), ("cold", 1)], 226);
        assert_eq!((value(&metrics, HOT), value(&metrics, REST)), (Some(60), Some(166)));
        // Four requests were counted between the table and `reads`, so the table has them only next time.
        second(&keys, 4, 3, &[("hot", 210)], 230);
        second(&keys, 5, 3, &[("hot", 214)], 230);
        second(&keys, 6, 3, &[("hot", 220)], 240);
        assert_eq!((value(&metrics, HOT), value(&metrics, REST)), (Some(70), Some(170)));
        assert!(!metrics.encode().unwrap().contains("cold"));
    }

    #[test]
    fn the_past_of_an_adopted_set_counts_for_nothing() {
        let (metrics, keys) = registered();
        keys.adopted();
        second(&keys, 1, 3, &[("hot", 1_000_000)], 2_000_000);
        assert_eq!(value(&metrics, REST), Some(0));
        second(&keys, 2, 3, &[("hot", 1_000_020)], 2_000_030);
        second(&keys, 3, 3, &[("hot", 1_000_025)], 2_000_036);
        assert_eq!((value(&metrics, HOT), value(&metrics, REST)), (Some(5), Some(31)));
    }

    #[test]
    fn a_key_keeps_its_series_through_seconds_without_a_read_of_it() {
        let (metrics, keys) = registered();
        let hot: Vec<(String, u64)> = (0..16).map(|n| (format!("hot-{n}"), 1_000)).collect();
        let with = |more: &[(&str, u64)]| {
            let old = hot.iter().map(|(key, count)| (key.as_str(), *count)).chain(more.iter().copied());
            table(&old.collect::<Vec<_>>())
        };
        let read = |at: u64, more: &[(&str, u64)]| {
            keys.counted(0, Duration::from_secs(at), &with(more), 100_000 + at);
            keys.decide(Duration::from_secs(at));
        };
        keys.counted(0, Duration::ZERO, &Arc::default(), 0);
        read(1, &[]);
        // For one second only the newcomer is read. It has far fewer reads than the others have in ten seconds.
        read(2, &[("newcomer", 50)]);
        let text = metrics.encode().unwrap();
        assert!(text.contains("hot-0") && !text.contains("newcomer"), "{text}");
    }

    #[test]
    fn the_bounds_hold_for_all_shards_together() {
        let (metrics, keys) = registered();
        for at in 0..300_u64 {
            for shard in 0..8 {
                // The keys change every ten seconds, and their number grows.
                let name = |n| format!("{}-{n}", at / 10);
                let list: Vec<(String, u64)> =
                    (0..10).map(|n| (name(n), at % 10 * 100 * (at / 10 + 1))).collect();
                let list: Vec<(&str, u64)> = list.iter().map(|(key, count)| (key.as_str(), *count)).collect();
                keys.counted(shard, Duration::from_secs(at), &table(&list), at * 100_000);
            }
            keys.decide(Duration::from_secs(at));
            let text = metrics.encode().unwrap();
            let series = text.lines().filter(|line| line.starts_with("kernel_shard_key_requests_total{"));
            assert!(series.count() <= hotspot::promotion::MAX_KEYS);
        }
    }
}
