//! A stream at a constant rate, and a measured window of it.
//!
//! The window begins once the lab is steady.

use std::time::Duration;

use super::rig::{Reading, Rig, report};
use crate::table::thousands;

/// A stream over `user-0`, `user-1`, … with Zipf's distribution.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Requests per second.
    pub rate: f64,
    /// Number of keys.
    pub keys: usize,
    /// Exponent of the distribution.
    pub exponent: f64,
    /// Seconds before the measurement.
    pub warm: f64,
    /// Measured seconds.
    pub measured: f64,
}

/// The readings at the start, middle and end of the window.
#[derive(Clone, Debug)]
pub struct Window {
    readings: [Reading; 3],
    /// The generator's report on the whole stream.
    pub report: protocol::body::LoadReport,
}

impl Window {
    /// Returns the growth in the first and in the second half.
    pub fn halves(&self) -> [Reading; 2] {
        let [start, middle, end] = &self.readings;
        [middle.since(start), end.since(middle)]
    }

    /// Returns the growth in the whole window.
    pub fn all(&self) -> Reading {
        self.readings[2].since(&self.readings[0])
    }
}

impl Stream {
    /// Returns each key's probability.
    pub(crate) fn probabilities(&self) -> Vec<f64> {
        hotspot::predict::zipf(self.keys, self.exponent)
    }

    /// Returns the generator's command, for the report.
    pub(crate) fn command(&self) -> String {
        let Self { rate, keys, .. } = self;
        format!("load stream --rate {rate} --keys {keys} --distribution zipf:EXPONENT")
    }

    /// Sends the stream. `settled` is called when the window begins.
    ///
    /// # Errors
    /// If the generator refuses to report, a request fails, `settled` fails, or kernel and application do not agree
    /// afterwards.
    pub async fn send(
        &self,
        rig: &Rig,
        seed: u64,
        settled: impl AsyncFnOnce() -> Result<(), String>,
    ) -> Result<Window, String> {
        let seconds = (self.warm + self.measured).to_string();
        let (rate, keys, seed) = (self.rate.to_string(), self.keys.to_string(), seed.to_string());
        let law = format!("zipf:{}", self.exponent);
        let load = rig.lab.load_started(&[
            "stream",
            "--rate",
            &rate,
            "--keys",
            &keys,
            "--distribution",
            &law,
            "--duration",
            &seconds,
            "--seed",
            &seed,
        ]);
        tokio::time::sleep(Duration::from_secs_f64(self.warm)).await;
        let settled = settled().await;
        let start = rig.read().await;
        tokio::time::sleep(Duration::from_secs_f64(self.measured / 2.0)).await;
        let middle = rig.read().await;
        // A refusal by the generator takes precedence over an error of `settled`.
        let report = report(load).await?;
        settled?;
        let end = rig.read_at_rest().await?;
        Ok(Window { readings: [start, middle, end], report })
    }
}

/// Whether the runs together have enough requests. It tolerates the requests that arrive between a window's start and
/// its readings.
pub(crate) fn enough(requests: u64, needed: u64) -> Result<(), String> {
    if requests * 100 >= needed * 98 {
        Ok(())
    } else {
        Err(format!("{} requests are too few, {} are needed", thousands(requests), thousands(needed)))
    }
}
