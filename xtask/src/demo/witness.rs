//! Compares the witnesses of one scenario.

use serde::Serialize;

use protocol::body::{LoadReport, UpstreamPrediction};

use protocol::probe_api::{Comparison, OfShard};

/// Maximum distance between theory and count, in standard errors.
pub(crate) const STANDARD_ERRORS: f64 = 4.0;

/// The lab's counters at one moment, by shard id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// `requests_received` of each shard.
    pub(crate) app: Vec<u64>,
    /// The probe's counts of each shard. `None` without the probe.
    pub(crate) kernel: Option<Vec<Kernel>>,
}

/// The kernel's counts of one shard since the probe attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Kernel {
    pub(crate) requests: u64,
    pub(crate) payload_bytes_received: u64,
    pub(crate) payload_bytes_transmitted: u64,
}

impl Reading {
    /// Requests by shard, from the application and from the kernel. Bytes are excluded, because every `/stats`
    /// request changes them.
    pub(crate) fn requests(&self) -> (&[u64], Option<Vec<u64>>) {
        let kernel = self.kernel.as_ref().map(|all| all.iter().map(|shard| shard.requests).collect());
        (&self.app, kernel)
    }
}

impl Kernel {
    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            payload_bytes_received: self.payload_bytes_received.saturating_sub(before.payload_bytes_received),
            payload_bytes_transmitted: self
                .payload_bytes_transmitted
                .saturating_sub(before.payload_bytes_transmitted),
        }
    }

    /// Payload bytes in both directions.
    pub(crate) fn payload_bytes(self) -> u64 {
        self.payload_bytes_received + self.payload_bytes_transmitted
    }
}

/// One shard's counts from each witness.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shard {
    pub(crate) shard_id: u32,
    pub(crate) predicted_share: f64,
    /// The shard's part of all answers (0 … 1).
    pub(crate) share: f64,
    /// `share` − `predicted_share`, in binomial standard errors.
    pub(crate) z: f64,
    /// Requests that reached the shard, according to the generator.
    pub(crate) generator: u64,
    /// Requests that the shard counted.
    pub(crate) app: u64,
    /// Requests and bytes that the kernel counted. `None` without the probe.
    pub(crate) kernel: Option<Kernel>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

impl Shard {
    /// Whether all witnesses counted the same number of requests.
    pub(crate) fn counts_agree(&self) -> bool {
        self.generator == self.app && self.kernel.is_none_or(|kernel| kernel.requests == self.app)
    }

    /// Kernel count minus application count. `None` without the probe.
    pub(crate) fn difference(&self) -> Option<i128> {
        self.kernel.map(|kernel| i128::from(kernel.requests) - i128::from(self.app))
    }

    /// Whether the share is within [`STANDARD_ERRORS`] of the prediction.
    pub(crate) fn theory_agrees(&self) -> bool {
        self.z.abs() <= STANDARD_ERRORS
    }
}

/// Requests that reached a shard, compared with the prediction for a cache.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Reached {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) predicted: UpstreamPrediction,
    /// Distance from the cold-start prediction in standard errors.
    pub(crate) z: f64,
}

/// One scenario with the counts of all witnesses.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ScenarioOutcome {
    pub(crate) scenario: &'static str,
    pub(crate) load: LoadReport,
    pub(crate) shards: Vec<Shard>,
    pub(crate) reached: Option<Reached>,
    /// The probe's comparison. `None` without the probe.
    pub(crate) compare: Option<Vec<OfShard<Comparison>>>,
    /// Reads of the hottest key that the kernel counted at a shard's socket. `None` without the probe.
    pub(crate) kernel_hottest: Option<u64>,
}

impl ScenarioOutcome {
    /// Combines the witnesses of one run. A shard that a witness does not list counts as 0 for it.
    pub(crate) fn new(
        scenario: &'static str,
        load: LoadReport,
        before: &Reading,
        after: &Reading,
        compare: Option<Vec<OfShard<Comparison>>>,
    ) -> Self {
        let answered: u64 = load.shards.iter().map(|shard| shard.answered).sum();
        let shards: Vec<Shard> = load
            .shards
            .iter()
            .map(|report| {
                let id = report.shard_id.index();
                let app = |reading: &Reading| reading.app.get(id).copied().unwrap_or(0);
                let kernel = |reading: &Reading| {
                    reading.kernel.as_ref().map(|all| all.get(id).copied().unwrap_or_default())
                };
                Shard {
                    shard_id: report.shard_id.0,
                    predicted_share: report.predicted_share,
                    share: ratio(report.answered, answered),
                    z: binomial_z(report.answered, answered, report.predicted_share),
                    generator: report.upstream_requests,
                    app: app(after).saturating_sub(app(before)),
                    kernel: kernel(after).map(|now| now.since(kernel(before).unwrap_or_default())),
                    p50_ms: report.p50_ms,
                    p95_ms: report.p95_ms,
                    p99_ms: report.p99_ms,
                }
            })
            .collect();
        let requests = shards.iter().map(|shard| shard.generator).sum();
        let reached = load.predicted_upstream_per_second.map(|predicted| Reached {
            requests,
            per_second: float(requests) / load.duration_seconds,
            predicted,
            z: poisson_z(requests, predicted.cold_start * load.duration_seconds),
        });
        Self { scenario, load, shards, reached, compare, kernel_hottest: None }
    }

    /// Whether generator, application and kernel counts are equal for every shard, and every answer is attributed.
    pub(crate) fn counts_agree(&self) -> bool {
        let answered: u64 = self.load.shards.iter().map(|shard| shard.answered).sum();
        self.shards.iter().all(Shard::counts_agree) && answered == self.load.answered
    }

    /// Whether every share is within 4 standard errors of theory. With a cache, also the requests that reached a
    /// shard.
    pub(crate) fn theory_agrees(&self) -> bool {
        self.shards.iter().all(Shard::theory_agrees)
            && self.reached.is_none_or(|reached| reached.z.abs() <= STANDARD_ERRORS)
    }

    /// Whether the probe's own comparison agrees for every shard. True without the probe.
    pub(crate) fn compare_agrees(&self) -> bool {
        self.compare.as_ref().is_none_or(|rows| {
            self.shards.iter().all(|shard| {
                rows.iter().any(|row| row.shard_id == shard.shard_id && row.of_shard.agrees == Some(true))
            })
        })
    }

    /// Whether every request for the hottest key reached a shard, by the kernel's count. True without the probe or
    /// with a cache.
    pub(crate) fn hottest_key_agrees(&self) -> bool {
        let Some((hottest, kernel)) = self.load.hottest_key.as_ref().zip(self.kernel_hottest) else {
            return true;
        };
        self.reached.is_some() || kernel == hottest.sent
    }

    /// Whether all available witnesses agree.
    pub(crate) fn agrees(&self) -> bool {
        self.counts_agree() && self.theory_agrees() && self.compare_agrees() && self.hottest_key_agrees()
    }

    /// Requests that reached a shard, according to the generator.
    pub(crate) fn reached_shards(&self) -> u64 {
        self.shards.iter().map(|shard| shard.generator).sum()
    }

    /// The shard with the largest share.
    pub(crate) fn busiest(&self) -> Option<&Shard> {
        self.shards.iter().max_by(|one, other| one.share.total_cmp(&other.share))
    }

    /// p95 of `shard`, and the median p95 of the others. `None` if one of them got no answers.
    pub(crate) fn p95_over_others(&self, shard: u32) -> Option<(f64, f64)> {
        let mut others = Vec::new();
        let mut own = None;
        for row in &self.shards {
            if row.shard_id == shard {
                own = row.p95_ms;
            } else {
                others.push(row.p95_ms?);
            }
        }
        others.sort_by(f64::total_cmp);
        let middle = others.len() / 2;
        let median = match others.len() {
            0 => return None,
            even if even.is_multiple_of(2) => f64::midpoint(others[middle - 1], others[middle]),
            _ => others[middle],
        };
        Some((own?, median))
    }
}

/// `count` as a float. A run's counts are far below 2⁵³, so the conversion is exact.
#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// `part` divided by `whole`, or 0 if `whole` is 0.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

/// The binomial standard score (observed − p) / sqrt(p (1 − p) / n) for `hits` of `n`.
fn binomial_z(hits: u64, n: u64, p: f64) -> f64 {
    let distance = ratio(hits, n) - p;
    let error = (p * (1.0 - p) / float(n.max(1))).sqrt();
    standardized(distance, error)
}

/// (count − expected) / sqrt(expected).
///
/// The count is a sum of independent yes-or-no events, so its variance is at most `expected`.
fn poisson_z(count: u64, expected: f64) -> f64 {
    standardized(float(count) - expected, expected.sqrt())
}

fn standardized(distance: f64, error: f64) -> f64 {
    if distance == 0.0 { 0.0 } else { distance / error }
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
