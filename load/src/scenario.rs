//! The four scenarios: streams, rates, keys, limits and thresholds, as the k6 scripts have them.

use protocol::KeyError;

use crate::keys::{Distribution, KeySpace};

/// The key that everybody asks for.
pub const CELEBRITY: &str = "celebrity-user-kardashian";
/// Time to live that the caching scenario sets, in seconds.
pub const CACHE_TTL_SECONDS: u32 = 60;

/// A scenario's name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// 50/s over 1,000 keys alike
    Uniform,
    /// 50/s over 1,000 keys by Zipf's law with exponent 1.5
    Zipfian,
    /// 100/s on one key and 30/s over 500 others
    Celebrity,
    /// The same with the gateway's cache on
    WithCaching,
}

/// One stream of requests at a constant rate.
#[derive(Clone, Debug)]
pub struct Stream {
    /// What its checks are led by.
    pub name: &'static str,
    /// Requests a second.
    pub rate: f64,
    /// Most requests in flight; one more is dropped.
    pub max_in_flight: usize,
    /// What it asks for.
    pub keys: KeySpace,
}

/// What a run must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// The 95th percentile of latency stays below this, in ms.
    pub p95_ms: f64,
    /// The share of errors stays below this.
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
        }
    }

    /// Whether the cache is switched on before.
    #[must_use]
    pub fn caches(self) -> bool {
        self == Self::WithCaching
    }

    /// What it must keep to.
    #[must_use]
    pub fn thresholds(self) -> Thresholds {
        let (p95_ms, error_share) = match self {
            Self::Uniform | Self::WithCaching => (500.0, 0.1),
            Self::Zipfian => (1_000.0, 0.1),
            Self::Celebrity => (2_000.0, 0.2),
        };
        Thresholds { p95_ms, error_share }
    }

    /// Its streams, rates and limits multiplied by `factor`.
    ///
    /// # Errors
    /// Never for the names in this table.
    pub fn streams(self, factor: f64) -> Result<Vec<Stream>, KeyError> {
        let users = |law| KeySpace::numbered("user-", 1_000, law);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "at most 100 times the largest factor, 1,000"
        )]
        let stream = |name, rate: f64, in_flight: usize, keys| Stream {
            name,
            rate: rate * factor,
            max_in_flight: ((in_flight as f64 * factor).ceil() as usize).max(1),
            keys,
        };
        Ok(match self {
            Self::Uniform => vec![stream("user", 50.0, 50, users(Distribution::Uniform)?)],
            Self::Zipfian => vec![stream("user", 50.0, 50, users(Distribution::Zipf(1.5))?)],
            Self::Celebrity | Self::WithCaching => {
                let normal = KeySpace::numbered("normal-user-", 500, Distribution::Uniform)?;
                vec![
                    stream("celebrity", 100.0, 100, KeySpace::single(CELEBRITY)?),
                    stream("normal", 30.0, 30, normal),
                ]
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn hot_keys_come_first() {
        let first = |s: Scenario| s.streams(1.0).unwrap()[0].keys.keys()[0].to_string();
        assert_eq!(
            (first(Scenario::Zipfian), first(Scenario::Celebrity)),
            ("user-0".into(), CELEBRITY.into())
        );
    }
}
