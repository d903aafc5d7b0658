//! One lab under an experiment: reads its witnesses and applies load.
//!
//! A load that does not meet its conditions is refused.

use serde_json::{Value, json};

use lab_tests::lab::{Lab, Load, Options, SHARDS};
use protocol::body::LoadReport;

/// The shard settings of the lab profile. They are slow and narrow enough for a hot shard to cause delays.
pub const PROFILE: [(&str, &str); 2] = [("BASE_LATENCY_MS", "15"), ("SHARD_CONCURRENCY", "2")];

/// A running lab with a probe.
pub struct Rig {
    pub(crate) lab: Lab,
}

/// The witnesses' counts: at one moment, each since its own start, or the growth between two moments.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Reads and writes that the gateway received.
    pub offered: u64,
    /// Reads that waited for the fetch of another read.
    pub(crate) coalesced: u64,
    /// Data requests that each shard received.
    pub app: Vec<u64>,
    /// Data requests the kernel saw at each shard's socket.
    pub kernel: Vec<u64>,
}

impl Rig {
    /// Starts a rig. It waits for its turn, or starts at once `beside` a running rig.
    pub async fn start(
        shard: &[(&'static str, &str)],
        gateway: &[(&'static str, &str)],
        beside: bool,
    ) -> Self {
        let owned = |settings: &[(&'static str, &str)]| {
            settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        let options = Options {
            probe: true,
            shard: owned(shard),
            gateway: owned(gateway),
            beside,
            ..Options::default()
        };
        Self { lab: Lab::start(options).await }
    }

    /// Starts several rigs that run at the same time.
    pub(crate) async fn several(shard: &[(&'static str, &str)], number: usize) -> Vec<Self> {
        let mut rigs = Vec::new();
        for place in 0..number {
            // The first rig waits for its turn. The others start beside it.
            rigs.push(Self::start(shard, &[], place > 0).await);
        }
        rigs
    }

    /// Resets statistics, cached entries and verdicts.
    pub(crate) async fn reset(&self) -> Result<(), String> {
        self.post("/admin/reset", &Value::Null).await.map(drop)
    }

    /// Switches mitigations and returns their state.
    ///
    /// # Errors
    /// If the gateway refuses.
    pub async fn mitigate(&self, wish: &Value) -> Result<Value, String> {
        self.post("/admin/mitigation", wish).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let request = self.lab.client.post(self.lab.at_gateway(path)).json(body);
        let answer = request.send().await.map_err(|err| format!("{path}: {err}"))?;
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        if status != 200 {
            return Err(format!("{path} is {status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|err| format!("{path}: {err}"))
    }

    /// Reads the witnesses now. Under load, a few requests arrive between one witness and the next.
    pub(crate) async fn read(&self) -> Reading {
        let kernel = self.lab.kernel_requests().await;
        let stats = self.lab.gateway_stats().await;
        let app = self.lab.received().await;
        Reading { offered: stats.total_requests, coalesced: stats.cache_coalesced, app, kernel }
    }

    /// Reads the witnesses once no request is in flight and kernel and application agree on every shard.
    ///
    /// # Errors
    /// If kernel and application do not agree.
    pub async fn read_at_rest(&self) -> Result<Reading, String> {
        self.lab.at_rest().await?;
        Ok(self.read().await)
    }

    /// Returns the reads of a key in the kernel's tables, since attach.
    pub(crate) async fn kernel_reads_of(&self, key: &str) -> u64 {
        let answer = self.lab.probe_json("/api/keys?limit=100").await;
        let shards = answer["shards"].as_array().cloned().unwrap_or_default();
        let keys = shards.iter().flat_map(|shard| shard["keys"].as_array().cloned().unwrap_or_default());
        keys.filter(|found| found["key"] == key).filter_map(|found| found["requests"].as_u64()).sum()
    }

    /// Runs the generator to its end and returns its report.
    ///
    /// # Errors
    /// The reason why the generator refuses to report.
    pub async fn load(&self, args: &[&str]) -> Result<LoadReport, String> {
        report(self.lab.load_started(args)).await
    }
}

/// Waits for a running generator and returns its report.
pub(crate) async fn report(load: Load) -> Result<LoadReport, String> {
    let report = load.report().await.map_err(|why| why.one_line())?;
    if report.errors == 0 { Ok(report) } else { Err(format!("{} requests failed", report.errors)) }
}

impl Reading {
    /// Returns the growth since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = |now: &[u64], before: &[u64]| {
            now.iter().zip(before).map(|(now, before)| now.saturating_sub(*before)).collect()
        };
        Self {
            offered: self.offered.saturating_sub(earlier.offered),
            coalesced: self.coalesced.saturating_sub(earlier.coalesced),
            app: grown(&self.app, &earlier.app),
            kernel: grown(&self.kernel, &earlier.kernel),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
impl Reading {
    /// Returns a shard's requests as a share of all offered requests, by application and kernel.
    pub(crate) fn share(&self, shard: usize) -> [f64; 2] {
        [&self.app, &self.kernel]
            .map(|counts| counts.get(shard).copied().unwrap_or(0) as f64 / self.offered.max(1) as f64)
    }

    /// Returns the hottest shard's share of the offered requests.
    pub(crate) fn hottest_share(&self) -> [f64; 2] {
        (0..SHARDS).map(|shard| self.share(shard)).fold([0.0, 0.0], |a, b| [a[0].max(b[0]), a[1].max(b[1])])
    }

    /// Returns the hottest shard's load over the mean load of the shards.
    pub(crate) fn max_over_mean(&self) -> [f64; 2] {
        [&self.app, &self.kernel].map(|counts| {
            let loads: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
            hotspot::predict::max_over_mean(&loads)
        })
    }

    /// Returns the share of the offered requests that reached no shard.
    pub fn hit_ratio(&self) -> [f64; 2] {
        [&self.app, &self.kernel]
            .map(|counts| 1.0 - counts.iter().sum::<u64>() as f64 / self.offered.max(1) as f64)
    }

    /// Whether every shard's share is the same in both halves of a run, within four standard errors.
    ///
    /// # Errors
    /// The shard, and the difference between the halves.
    pub fn is_steady(halves: &[Self; 2]) -> Result<(), String> {
        for shard in 0..SHARDS {
            let [one, two] = halves.each_ref().map(|half| half.share(shard)[0]);
            let [n, m] = halves.each_ref().map(|half| half.offered.max(1) as f64);
            let p = (one * n + two * m) / (n + m);
            let error = (p * (1.0 - p) * (1.0 / n + 1.0 / m)).sqrt();
            if (one - two).abs() > 4.0 * error {
                let (one, two) = (100.0 * one, 100.0 * two);
                return Err(format!(
                    "not steady: shard {shard} got {one:.2} % in the first half and {two:.2} % in the second, \
                     which is more than four standard errors"
                ));
            }
        }
        Ok(())
    }
}

/// Returns the settings that switch every mitigation off.
pub fn nothing() -> Value {
    json!({"cache": "off", "stale_while_revalidate": false, "negative_caching": false, "replication": 1, "auto": false})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(app: [u64; 4]) -> Reading {
        let app = app.to_vec();
        Reading { offered: 1_000, coalesced: 0, kernel: app.clone(), app }
    }

    #[test]
    fn shares_are_of_what_was_offered() {
        let half = growth([100, 200, 100, 100]);
        assert_eq!((half.share(1), half.hottest_share(), half.hit_ratio()), ([0.2; 2], [0.2; 2], [0.5; 2]));
        assert_eq!(half.max_over_mean(), [1.6; 2]);
    }

    #[test]
    fn halves_that_differ_by_more_than_chance_are_not_steady() {
        assert!(Reading::is_steady(&[growth([250; 4]), growth([260, 240, 250, 250])]).is_ok());
        let why = Reading::is_steady(&[growth([250; 4]), growth([350, 150, 250, 250])]).unwrap_err();
        assert!(why.starts_with("not steady: shard 0 got 25.00 % in the first half and 35.00 %"), "{why}");
    }
}
