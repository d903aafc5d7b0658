//! A stream at a constant rate, and a window of it that is measured once all has settled.

use std::time::Duration;

use super::rig::{Growth, Reading, Rig, report};
use crate::table::thousands;

/// A stream over `user-0`, `user-1`, … by Zipf's law.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Requests a second.
    pub rate: f64,
    /// Keys.
    pub keys: usize,
    /// Exponent of the law.
    pub exponent: f64,
    /// Seconds before it is measured.
    pub warm: f64,
    /// Seconds that are measured.
    pub measured: f64,
}

/// The readings at begin, middle and end of the window.
#[derive(Clone, Debug)]
pub struct Window {
    readings: [Reading; 3],
    /// The generator's report on the whole stream.
    pub report: protocol::body::LoadReport,
}

impl Window {
    /// First and second half.
    pub fn halves(&self) -> [Growth; 2] {
        let [start, middle, end] = &self.readings;
        [middle.since(start), end.since(middle)]
    }

    /// The whole.
    pub fn all(&self) -> Growth {
        self.readings[2].since(&self.readings[0])
    }
}

impl Stream {
    /// Each key's probability.
    pub(crate) fn probabilities(&self) -> Vec<f64> {
        hotspot::predict::zipf(self.keys, self.exponent)
    }

    /// The command, for a reader.
    pub(crate) fn command(&self) -> String {
        let Self { rate, keys, .. } = self;
        format!("load stream --rate {rate} --keys {keys} --distribution zipf:EXPONENT")
    }

    /// Sends it; `settled` is asked when the window begins.
    ///
    /// # Errors
    /// When the generator refuses to report, a request fails, `settled` fails, or kernel and application do not agree
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
        // Why the generator was content or not comes before what the gateway was not ready for.
        let report = report(load).await?;
        settled?;
        let end = rig.read_at_rest().await?;
        Ok(Window { readings: [start, middle, end], report })
    }
}

/// Whether runs are large enough together, give or take what passes between a window's begin and its readings.
pub(crate) fn enough(requests: u64, needed: u64) -> Result<(), String> {
    if requests * 100 >= needed * 98 {
        Ok(())
    } else {
        Err(format!("{} requests are too few, {} are needed", thousands(requests), thousands(needed)))
    }
}
