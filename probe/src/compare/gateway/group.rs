//! Treats several gateways as one: sums of their counts, one verdict.
//!
//! There is no reading unless all of them can be read. Otherwise the requests of a missing gateway would look as if
//! they had bypassed all of them.

use futures_util::future::join_all;
use hotspot::detector::Detector;
use hotspot::judge::Observation;
use protocol::ShardId;
use protocol::body::ShardRequests;
use protocol::shard_urls::ShardUrl;
use protocol::verdict::Verdict;
use service::members::Members;
use std::collections::BTreeMap;

use crate::compare::stats_client::{GatewayKeys, GatewayReading, StatsClient, as_in_kernel};

/// All gateways, and the state of their common verdict.
#[derive(Debug)]
pub(super) struct GatewayGroup {
    urls: Members,
    /// The gateways found at the last lookup.
    found: Vec<ShardUrl>,
    shards: usize,
    detector: Detector<String>,
}

impl GatewayGroup {
    pub(super) fn new(urls: Members, shards: usize) -> Self {
        Self { urls, found: Vec::new(), shards, detector: Detector::default() }
    }

    pub(super) fn is_one(&self) -> bool {
        self.urls.is_one()
    }

    /// Looks up all gateways and reads what they have sent.
    pub(super) async fn sent(&mut self, stats: &StatsClient) -> Result<GatewayReading, String> {
        // If the lookup fails, `judge` still reads the gateways found last.
        self.found = self.urls.resolve(stats.names()).await?;
        let readings = join_all(self.found.iter().map(|url| stats.gateway(url))).await;
        sum(readings.into_iter().zip(&self.found).map(|(reading, url)| self.named(url, reading)))
    }

    /// The verdict on what all gateways sent in the last second and the last ten seconds, each by its own clock.
    pub(super) async fn judge(&mut self, stats: &StatsClient) -> Result<Verdict<String>, String> {
        let read = join_all(self.found.iter().map(|url| stats.hot_keys(url))).await;
        let read: Result<Vec<_>, String> =
            read.into_iter().zip(&self.found).map(|(keys, url)| self.named(url, keys)).collect();
        let read = read.inspect_err(|_| self.detector = Detector::default())?;
        verdict(&mut self.detector, self.shards, &read)
    }

    /// With several gateways an error names the one it is about.
    fn named<T>(&self, url: &ShardUrl, read: Result<T, String>) -> Result<T, String> {
        if self.is_one() { read } else { read.map_err(|why| format!("{url}: {why}")) }
    }
}

/// The verdict on the sum of all gateways' windows. An error if one of them has another number of shards.
pub(crate) fn verdict(
    detector: &mut Detector<String>,
    shards: usize,
    read: &[GatewayKeys],
) -> Result<Verdict<String>, String> {
    let (mut second, mut ten) = (Observation::new(shards), Observation::new(shards));
    for keys in read {
        if keys.ten.requests.len() != shards || keys.second.requests.len() != shards {
            return Err(format!("a gateway does not have {shards} shards"));
        }
        if !keys.ten.is_possible() || !keys.second.is_possible() {
            return Err("a gateway reports more requests than a window can have".to_owned());
        }
        second.merge(&keys.second);
        ten.merge(&keys.ten);
    }
    Ok(detector.observe(&second, &ten).map_key(as_in_kernel))
}

/// Returns one gateway's reading unchanged, or the sums of several. The combined start time changes as soon as one
/// gateway's start time does.
fn sum(readings: impl Iterator<Item = Result<GatewayReading, String>>) -> Result<GatewayReading, String> {
    let (mut started_at, mut sent, mut verdict) = (0.0, BTreeMap::new(), None);
    for reading in readings {
        let reading = reading?;
        started_at += reading.started_at;
        for ShardRequests { shard_id, requests } in reading.sent {
            let sum: &mut u64 = sent.entry(shard_id).or_default();
            *sum = sum.saturating_add(requests);
        }
        verdict = reading.verdict;
    }
    Ok(GatewayReading { started_at, sent: requests(sent), verdict })
}

fn requests(sent: impl IntoIterator<Item = (ShardId, u64)>) -> Vec<ShardRequests> {
    sent.into_iter().map(|(shard_id, requests)| ShardRequests { shard_id, requests }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotspot::judge::{Evidence, KeyLoad};
    use hotspot::merge::Summary;

    fn reading(started_at: f64, sent: &[(u32, u64)]) -> Result<GatewayReading, String> {
        Ok(GatewayReading {
            started_at,
            sent: requests(sent.iter().map(|(shard, sent)| (ShardId(*shard), *sent))),
            verdict: None,
        })
    }

    #[test]
    fn counts_add_up_and_any_restart_shows() {
        let of = |one, other| sum([reading(one, &[(0, 7), (1, 1)]), reading(other, &[(1, 5)])].into_iter());
        let first = of(1_795_422_711.25, 1_795_422_712.5).unwrap();
        assert_eq!(first.sent, requests([(ShardId(0), 7), (ShardId(1), 6)]));
        // A restart must be noticed even when the new process's clock is behind.
        for later in [of(1_795_422_711.25, 1_795_422_600.0), of(1_795_422_799.0, 1_795_422_712.5)] {
            assert!((later.unwrap().started_at - first.started_at).abs() > 0.0);
        }
    }

    #[test]
    fn without_one_of_them_there_is_no_sum() {
        let missing = [reading(1.0, &[(0, 7)]), Err("http://g:1: no connection".to_owned())];
        assert_eq!(sum(missing.into_iter()), Err("http://g:1: no connection".to_owned()));
    }

    #[test]
    fn sums_of_faulty_gateways_saturate() {
        let faulty = [reading(1.0, &[(0, u64::MAX)]), reading(1.0, &[(0, 7)])];
        assert_eq!(sum(faulty.into_iter()).unwrap().sent, requests([(ShardId(0), u64::MAX)]));
    }

    #[test]
    fn impossible_windows_are_refused() {
        let refused = |change: fn(&mut GatewayKeys)| {
            let window = || Observation { evidence: vec![Evidence::default(); 2], ..Observation::new(2) };
            let mut keys = GatewayKeys {
                started_at: 1.0,
                requests: 0,
                summary: Summary { keys: Vec::new(), others_at_most: 0 },
                second: window(),
                ten: window(),
            };
            change(&mut keys);
            verdict(&mut Detector::default(), 2, &[keys]).err()
        };
        assert_eq!(refused(|keys| keys.ten.requests[1] = 1 << 48), None);
        let too_many = Some("a gateway reports more requests than a window can have".to_owned());
        assert_eq!(refused(|keys| keys.ten.requests[1] = (1 << 48) + 1), too_many);
        assert_eq!(refused(|keys| keys.second.evidence[0].failed = u64::MAX), too_many);
        assert_eq!(refused(|keys| keys.second.evidence[0].answered = u64::MAX), too_many);
        assert_eq!(
            refused(|keys| keys.ten.keys.push(KeyLoad { key: "k".to_owned(), shard: 0, requests: u64::MAX })),
            too_many
        );
        assert_eq!(
            refused(|keys| keys.second.requests.push(1)),
            Some("a gateway does not have 2 shards".to_owned())
        );
    }
}
