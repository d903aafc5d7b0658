//! Runs the load generators at full speed.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Connections of the generator. Each has one request in flight.
pub(crate) const CONNECTIONS: u32 = 64;

/// The keys that the generator requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draws {
    /// Number of keys.
    pub(crate) keys: u32,
    /// Their distribution, in the syntax of `load saturate`.
    pub(crate) distribution: &'static str,
}

/// More keys than a CPU's caches can hold counts of, all with the same rate. This is the highest cost of counting by
/// key.
pub(crate) const UNIFORM: Draws = Draws { keys: 20_000, distribution: "uniform" };
/// The keys of the lab's scenario `zipfian`.
pub(crate) const ZIPFIAN: Draws = Draws { keys: 1_000, distribution: "zipf:1.5" };

/// Runs `load`, the program at this path, which sends this many requests as fast as they are answered. `target` is
/// its option for the destination, with the value. `seed` determines which of the `draws` are requested. Returns the
/// requests per second.
pub(crate) fn saturate(
    load: &Path,
    target: [&str; 2],
    requests: u64,
    draws: Draws,
    seed: u64,
) -> Result<f64> {
    let output = Command::new(load)
        .args(["saturate", "--json", "-"])
        .args(target)
        .args(["--connections", &CONNECTIONS.to_string(), "--keys", &draws.keys.to_string()])
        .args(["--distribution", draws.distribution])
        .args(["--requests", &requests.to_string(), "--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("the load generator cannot be run")?;
    if !output.status.success() {
        bail!("the load generator: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let report: Value = serde_json::from_slice(&output.stdout)?;
    if report["errors"] != 0 || report["answered"] != requests {
        bail!("of {requests} requests {} were answered, {} failed", report["answered"], report["errors"]);
    }
    report["achieved_per_second"].as_f64().context("no rate in the generator's report")
}

/// Returns k6's version.
pub(crate) fn k6_version(k6: Option<&Path>) -> Result<String> {
    let k6 = k6.context("k6 is not installed: run `cargo xtask bench cost`, which installs it")?;
    // The same empty environment as in a load run.
    let output = Command::new(k6).arg("version").env_clear().stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} cannot be run", k6.display()))?;
    if !output.status.success() {
        bail!("{} version: {}", k6.display(), first_line(&output.stderr));
    }
    // The version ends before the build details.
    Ok(first_line(&output.stdout).split(" (").next().unwrap_or_default().to_owned())
}

/// Runs k6, the program at this path, like [`saturate`]: it sends this many requests to a gateway as fast as they are
/// answered. The keys are always [`ZIPFIAN`]. Returns the requests per second.
pub(crate) fn saturate_by_k6(k6: &Path, gateway: &str, requests: u64, seed: u64) -> Result<f64> {
    let output = Command::new(k6)
        .args(["run", "--quiet", "--no-usage-report", concat!(env!("CARGO_MANIFEST_DIR"), "/src/cost/k6.js")])
        // k6's own settings, or those of the lab's scripts, would change the measurement.
        .env_clear()
        .env("BASE_URL", gateway)
        .env("CONNECTIONS", CONNECTIONS.to_string())
        .env("KEYS", ZIPFIAN.keys.to_string())
        .env("DISTRIBUTION", ZIPFIAN.distribution)
        .env("REQUESTS", requests.to_string())
        .env("SEED", seed.to_string())
        .stdin(Stdio::null())
        .output()
        .context("k6 cannot be run")?;
    let message = first_line(&output.stderr);
    if !output.status.success() {
        bail!("k6: {message}");
    }
    let report: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("k6 wrote no report: {message}"))?;
    if report["failed"] != 0 || report["answered"] != requests {
        bail!(
            "k6 sent {requests} requests: {} were answered, {} failed: {message}",
            report["answered"],
            report["failed"]
        );
    }
    let seconds =
        report["seconds"].as_f64().filter(|seconds| *seconds > 0.0).context("k6's report has no duration")?;
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
    Ok(requests as f64 / seconds)
}

fn first_line(message: &[u8]) -> String {
    String::from_utf8_lossy(message).lines().next().unwrap_or_default().to_owned()
}
