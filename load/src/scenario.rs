//! Defines the scenarios: streams, rates, keys, limits, thresholds.
//!
//! They are the same as in the k6 scripts.

use protocol::KeyError;

use crate::keys::{Distribution, KeySpace};

/// The hot key.
pub const CELEBRITY: &str = "celebrity-user-kardashian";
/// A second hot key. With four shards its home is another shard.
pub const SECOND_CELEBRITY: &str = "celebrity-user-carol";
/// Hot keys with the homes 0, 1, 2 and 3 of four shards.
pub const MOVING_CELEBRITIES: [&str; 4] =
    ["celebrity-user-ada", "celebrity-user-anna", "celebrity-user-carol", "celebrity-user-bea"];
/// A key that is always absent.
pub const ABSENT_CELEBRITY: &str = "celebrity-user-nobody";
/// Time to live in seconds that the caching scenario sets.
pub const CACHE_TTL_SECONDS: u32 = 60;

/// A scenario's name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// 50/s over 1,000 uniform keys
    Uniform,
    /// 50/s over 1,000 keys by Zipf's law with exponent 1.5
    Zipfian,
    /// 100/s on one key and 30/s over 500 others
    Celebrity,
    /// Celebrity with the gateway's cache on
    WithCaching,
    /// Celebrity with another key on another shard in each quarter of the run
    MovingCelebrity,
    /// 50/s on each of two keys on two shards and 30/s over 500 others
    TwoCelebrities,
    /// 30/s over 500 keys, plus 100/s on one further key in the middle third
    FlashCrowd,
    /// 100/s over 12,000 keys in sequence and 30/s by Zipf's law
    Scan,
    /// 90/s reads and 10/s writes of one key and 30/s over 500 others
    WriteHot,
    /// 100/s on one absent key and 30/s over 500 others; needs shards with SHARD_MAX_KEYS=200
    #[value(name = "celebrity-404")]
    Celebrity404,
}

/// The operation of a stream's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `GET /data/{key}`, expecting a value.
    Read,
    /// `GET /data/{key}`, expecting 404.
    ReadAbsent,
    /// `POST /data`.
    Write,
}

/// One stream of requests at a constant rate.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The prefix of its checks.
    pub name: &'static str,
    /// Requests a second.
    pub rate: f64,
    /// Maximum number of requests in flight. Requests above it are dropped.
    pub max_in_flight: usize,
    /// Start and end of the stream, as parts of the run.
    pub window: (f64, f64),
    /// The operation of its requests.
    pub operation: Operation,
    /// The keys of its requests.
    pub keys: KeySpace,
}

impl Stream {
    /// A stream that reads throughout the run.
    #[must_use]
    pub fn reads(name: &'static str, rate: f64, max_in_flight: usize, keys: KeySpace) -> Self {
        Self { name, rate, max_in_flight, window: (0.0, 1.0), operation: Operation::Read, keys }
    }

    /// Requests a second, averaged over the whole run.
    #[must_use]
    pub fn mean_rate(&self) -> f64 {
        self.rate * (self.window.1 - self.window.0)
    }

    /// Returns the stream with rate and limit multiplied by `factor`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate is at most 100 a second, and the largest factor is 1,000"
    )]
    fn times(mut self, factor: f64) -> Self {
        self.rate *= factor;
        self.max_in_flight = ((self.max_in_flight as f64 * factor).ceil() as usize).max(1);
        self
    }
}

/// The limits of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// The 95th percentile of latency must be below this, in ms.
    pub p95_ms: f64,
    /// The share of errors must be below this.
    pub error_share: f64,
}

impl Scenario {
    /// The name in reports.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Uniform => "uniform_distribution",
            Self::Zipfian => "zipfian_distribution",
            Self::Celebrity => "celebrity_user_hot_key",
            Self::WithCaching => "celebrity_user_with_caching_mitigation",
            Self::MovingCelebrity => "moving_celebrity",
            Self::TwoCelebrities => "two_celebrities",
            Self::FlashCrowd => "flash_crowd",
            Self::Scan => "scan",
            Self::WriteHot => "write_hot_key",
            Self::Celebrity404 => "celebrity_not_found",
        }
    }

    /// Whether the cache is switched on before the run.
    #[must_use]
    pub fn caches(self) -> bool {
        self == Self::WithCaching
    }

    /// The key that must be absent. Its shard is filled with other keys before the run.
    #[must_use]
    pub fn absent_key(self) -> Option<&'static str> {
        (self == Self::Celebrity404).then_some(ABSENT_CELEBRITY)
    }

    /// The limits of the scenario.
    #[must_use]
    pub fn thresholds(self) -> Thresholds {
        let (p95_ms, error_share) = match self {
            Self::Uniform | Self::WithCaching => (500.0, 0.1),
            Self::Zipfian | Self::Scan => (1_000.0, 0.1),
            Self::Celebrity
            | Self::MovingCelebrity
            | Self::TwoCelebrities
            | Self::FlashCrowd
            | Self::WriteHot
            | Self::Celebrity404 => (2_000.0, 0.2),
        };
        Thresholds { p95_ms, error_share }
    }

    /// The streams of the scenario, with rates and limits multiplied by `factor`.
    ///
    /// # Errors
    /// Never for the names in this table.
    pub fn streams(self, factor: f64) -> Result<Vec<Stream>, KeyError> {
        let users = |law| KeySpace::numbered("user-", 1_000, law);
        let celebrity =
            |name| KeySpace::single(name).map(|keys| Stream::reads("celebrity", 100.0, 100, keys));
        let normal = || {
            let keys = KeySpace::numbered("normal-user-", 500, Distribution::Uniform)?;
            Ok::<_, KeyError>(Stream::reads("normal", 30.0, 30, keys))
        };
        let streams = match self {
            Self::Uniform => vec![Stream::reads("user", 50.0, 50, users(Distribution::Uniform)?)],
            Self::Zipfian => vec![Stream::reads("user", 50.0, 50, users(Distribution::Zipf(1.5))?)],
            Self::Celebrity | Self::WithCaching => vec![celebrity(CELEBRITY)?, normal()?],
            Self::MovingCelebrity => {
                let keys = KeySpace::in_phases(&MOVING_CELEBRITIES)?;
                vec![Stream { keys, ..celebrity(CELEBRITY)? }, normal()?]
            }
            Self::TwoCelebrities => {
                let one = |name, key| Ok::<_, KeyError>(Stream { name, ..celebrity(key)?.times(0.5) });
                vec![one("celebrity", CELEBRITY)?, one("second", SECOND_CELEBRITY)?, normal()?]
            }
            Self::FlashCrowd => {
                let window = (1.0 / 3.0, 2.0 / 3.0);
                vec![Stream { name: "crowd", window, ..celebrity(CELEBRITY)? }, normal()?]
            }
            Self::Scan => {
                let items = KeySpace::numbered("item-", 12_000, Distribution::InTurn)?;
                let users = users(Distribution::Zipf(1.5))?;
                vec![Stream::reads("crawler", 100.0, 100, items), Stream::reads("user", 30.0, 30, users)]
            }
            Self::WriteHot => {
                let writer = Stream { name: "writer", operation: Operation::Write, ..celebrity(CELEBRITY)? };
                vec![celebrity(CELEBRITY)?.times(0.9), writer.times(0.1), normal()?]
            }
            Self::Celebrity404 => {
                vec![Stream { operation: Operation::ReadAbsent, ..celebrity(ABSENT_CELEBRITY)? }, normal()?]
            }
        };
        Ok(streams.into_iter().map(|stream| stream.times(factor)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;
    use protocol::{ShardId, placement};
    use std::num::NonZeroU32;

    #[test]
    fn the_table_of_the_contract() {
        let table = |scenario: Scenario, factor| {
            let streams = scenario.streams(factor).unwrap();
            let rows = streams.iter().map(|s| (s.rate, s.max_in_flight, s.keys.keys().len()));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(table(Scenario::Uniform, 1.0), [(50.0, 50, 1_000)]);
        assert_eq!(table(Scenario::Zipfian, 2.0), [(100.0, 100, 1_000)]);
        assert_eq!(table(Scenario::Celebrity, 1.0), [(100.0, 100, 1), (30.0, 30, 500)]);
        assert_eq!(table(Scenario::WithCaching, 0.01), [(1.0, 1, 1), (0.3, 1, 500)]);
        let limits = |s: Scenario| (s.thresholds().p95_ms, s.thresholds().error_share);
        assert_eq!(limits(Scenario::Uniform), (500.0, 0.1));
        assert_eq!(limits(Scenario::Zipfian), (1_000.0, 0.1));
        assert_eq!(limits(Scenario::Celebrity), (2_000.0, 0.2));
        assert_eq!(limits(Scenario::WithCaching), (500.0, 0.1));
    }

    #[test]
    fn every_other_scenario_offers_130_requests_a_second_while_all_its_streams_send() {
        for scenario in Scenario::value_variants() {
            let all: f64 = scenario.streams(1.0).unwrap().iter().map(|stream| stream.rate).sum();
            let expected =
                if matches!(scenario, Scenario::Uniform | Scenario::Zipfian) { 50.0 } else { 130.0 };
            assert!((all - expected).abs() < 1e-9, "{scenario:?}: {all}");
        }
    }

    #[test]
    fn hot_keys_come_first() {
        let first = |s: Scenario| s.streams(1.0).unwrap()[0].keys.keys()[0].to_string();
        assert_eq!(
            (first(Scenario::Zipfian), first(Scenario::Celebrity)),
            ("user-0".into(), CELEBRITY.into())
        );
    }

    #[test]
    fn celebrities_live_where_the_scenarios_want_them() {
        let four = NonZeroU32::new(4).unwrap();
        let home = |name: &str| placement::modulo(&protocol::Key::new(name).unwrap(), four);
        assert_eq!(MOVING_CELEBRITIES.map(home), [0, 1, 2, 3].map(ShardId));
        assert_ne!(home(CELEBRITY), home(SECOND_CELEBRITY));
    }
}
