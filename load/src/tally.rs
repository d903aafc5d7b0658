//! Counts a stream's requests and answers, in bounded memory.

use hdrhistogram::Histogram;
use protocol::body::AnswerFault;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::answer::{Origin, ValidAnswer};

/// Maximum latency in µs. Longer ones are recorded as this.
const MAX_LATENCY: u64 = 60_000_000;

/// Latencies with three significant digits.
#[derive(Clone, Debug)]
pub struct Latencies(Option<Histogram<u64>>);

impl Default for Latencies {
    fn default() -> Self {
        // Fails only for invalid bounds and digits; these constants are valid.
        Self(Histogram::new_with_bounds(1, MAX_LATENCY, 3).ok())
    }
}

impl Latencies {
    /// Adds one latency.
    pub fn record(&mut self, latency: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MAX_LATENCY));
        }
    }

    /// Adds all latencies of `other`.
    pub fn merge(&mut self, other: &Self) {
        if let (Some(histogram), Some(other)) = (&mut self.0, &other.0) {
            // Both have the same bounds.
            let _ = histogram.add(other);
        }
    }

    /// Every latency in ms, to three digits, with its count.
    #[must_use]
    pub fn counts(&self) -> Vec<(f64, u64)> {
        let recorded = self.0.iter().flat_map(Histogram::iter_recorded);
        #[expect(clippy::cast_precision_loss, reason = "at most 60,000,000")]
        let counts = recorded.map(|at| (at.value_iterated_to() as f64 / 1_000.0, at.count_at_value()));
        counts.collect()
    }

    /// A quantile in ms; `None` without a latency.
    #[must_use]
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        #[expect(clippy::cast_precision_loss, reason = "at most 60,000,000")]
        let micros = histogram.value_at_quantile(quantile) as f64;
        Some(micros / 1_000.0)
    }
}

/// The counts of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardTally {
    /// Valid answers that name the shard.
    pub answered: u64,
    /// Valid answers from the shard itself.
    pub upstream: u64,
    /// Latencies of the answers from the shard itself.
    pub latencies: Latencies,
}

/// The counts of a stream: `sent` = `answered` + errors.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Sent requests.
    pub sent: u64,
    /// Valid answers.
    pub answered: u64,
    /// Requests not sent because too many were in flight.
    pub dropped: u64,
    /// Valid answers from the cache.
    pub cache_hits: u64,
    /// Valid answers from another request's fetch.
    pub coalesced: u64,
    /// All other requests, by fault.
    pub faults: BTreeMap<AnswerFault, u64>,
    /// The counts by shard.
    pub shards: Vec<ShardTally>,
    /// Latencies of valid answers.
    pub latencies: Latencies,
    /// Requests for the stream's first key.
    pub hottest_sent: u64,
    /// Longest time from due to sent.
    pub max_lag: Duration,
    /// Requests sent later than [`crate::refusal::LATE`] after they were due.
    pub late: u64,
    /// Time from the start to the last send.
    pub last_sent: Duration,
}

impl Tally {
    /// Empty counts for `shards` shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self { shards: vec![ShardTally::default(); shards], ..Self::default() }
    }

    /// Counts a sent request. `key` is the index of its key in the stream, `lag` the time since it was due,
    /// `since_start` the time since the start.
    pub fn sent(&mut self, key: usize, lag: Duration, since_start: Duration) {
        self.sent += 1;
        self.hottest_sent += u64::from(key == 0);
        self.max_lag = self.max_lag.max(lag);
        self.late += u64::from(lag > crate::refusal::LATE);
        self.last_sent = self.last_sent.max(since_start);
    }

    /// Counts the result of a request.
    pub fn ended(&mut self, result: Result<ValidAnswer, AnswerFault>, latency: Duration) {
        let ValidAnswer { shard, origin } = match result {
            Ok(valid) => valid,
            Err(fault) => {
                *self.faults.entry(fault).or_default() += 1;
                return;
            }
        };
        self.answered += 1;
        self.cache_hits += u64::from(origin == Origin::Cache);
        self.coalesced += u64::from(origin == Origin::Coalesced);
        self.latencies.record(latency);
        if let Some(shard) = self.shards.get_mut(shard.index()) {
            shard.answered += 1;
            shard.upstream += u64::from(origin == Origin::Shard);
            shard.latencies.record(latency);
        }
    }

    /// Requests without a valid answer.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Adds the counts of another stream. The hottest key stays the one of this stream.
    pub fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.dropped += other.dropped;
        self.cache_hits += other.cache_hits;
        self.coalesced += other.coalesced;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (mine, theirs) in self.shards.iter_mut().zip(&other.shards) {
            mine.answered += theirs.answered;
            mine.upstream += theirs.upstream;
            mine.latencies.merge(&theirs.latencies);
        }
        self.latencies.merge(&other.latencies);
        self.max_lag = self.max_lag.max(other.max_lag);
        self.late += other.late;
        self.last_sent = self.last_sent.max(other.last_sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ShardId;

    fn from(shard: u32, origin: Origin) -> Result<ValidAnswer, AnswerFault> {
        Ok(ValidAnswer { shard: ShardId(shard), origin })
    }

    #[test]
    fn sent_is_answered_plus_errors_and_merging_adds() {
        let ms = Duration::from_millis;
        let mut one = Tally::new(2);
        one.sent(0, ms(1), ms(10));
        one.ended(from(1, Origin::Shard), ms(5));
        one.sent(3, ms(80), ms(20));
        one.ended(from(1, Origin::Cache), ms(1));
        let mut two = Tally::new(2);
        two.sent(0, ms(2), ms(30));
        two.ended(Err(AnswerFault::WrongShard), ms(9));
        two.sent(1, ms(0), ms(5));
        two.ended(from(0, Origin::Coalesced), ms(7));
        one.merge(&two);
        assert_eq!((one.sent, one.answered, one.errors()), (4, 3, 1));
        assert_eq!((one.cache_hits, one.coalesced, one.hottest_sent), (1, 1, 1));
        assert_eq!((one.late, one.max_lag, one.last_sent), (1, ms(80), ms(30)));
        let shards: Vec<_> = one.shards.iter().map(|s| (s.answered, s.upstream)).collect();
        assert_eq!(shards, [(1, 0), (2, 1)]);
        assert!((one.latencies.quantile_ms(1.0).unwrap() - 7.0).abs() < 0.01);
        assert_eq!(one.latencies.counts().iter().map(|(_, count)| count).sum::<u64>(), 3);
        assert_eq!(Latencies::default().quantile_ms(0.5), None);
    }
}
