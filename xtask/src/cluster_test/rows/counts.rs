//! Compares what the generator, the shards and the kernels counted.

use std::time::Duration;

use anyhow::Result;
use protocol::body::LoadReport;
use serde_json::json;

use super::listed;
use crate::cluster_test::generator::{is_busy_machine, load};
use crate::cluster_test::lab::{Counts, LAB, Lab, SHARDS};
use crate::table::thousands;
use crate::verdicts::Verdicts;
use lab::signals;

/// The scenarios that the shards of the overlay can serve.
const SCENARIOS: [&str; 9] = [
    "uniform",
    "zipfian",
    "celebrity",
    "with-caching",
    "moving-celebrity",
    "two-celebrities",
    "flash-crowd",
    "scan",
    "write-hot",
];

/// This scenario needs shards that refuse new keys.
const WITH_FEW_KEYS: &str = "celebrity-404";
const FEW_KEYS: &str = "SHARD_MAX_KEYS=200";

/// Requests with which the generator fills the shard of the absent key before its load: one for each key, one for a key
/// that is refused, and one for the absent key. Its report has none of them.
const FILLING: u64 = 200 + 2;

const DURATION: &str = "15";

/// Runs of a scenario while the machine is too busy for its rate.
const ATTEMPTS: u32 = 3;

/// Requests of the row `million`.
const MILLION: u64 = 1_000_000;

pub(crate) fn scenarios(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    lab.spread()?;
    for name in SCENARIOS {
        one(lab, name, &["run", name, "--duration", DURATION], 0, verdicts)?;
    }
    lab.set("statefulset/shard", &[FEW_KEYS])?;
    lab.spread()?;
    let name = WITH_FEW_KEYS;
    let result = one(lab, name, &["run", name, "--duration", DURATION], FILLING, verdicts);
    lab.set("statefulset/shard", &["SHARD_MAX_KEYS-"])?;
    result
}

/// Sends a million requests to shards without simulated latency.
pub(crate) fn million(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let fast = ["BASE_LATENCY_MS=0", "LOAD_LATENCY_FACTOR_MS=0", "SHARD_CONCURRENCY=0"];
    let limits = json!([{ "op": "remove", "path": "/spec/template/spec/containers/0/resources/limits/cpu" }]);
    lab.cluster.kubectl(&[
        "-n",
        LAB,
        "patch",
        "statefulset",
        "shard",
        "--type=json",
        "-p",
        &limits.to_string(),
    ])?;
    lab.set("statefulset/shard", &fast)?;
    lab.spread()?;
    let requests = MILLION.to_string();
    one(lab, "1,000,000 requests", &["saturate", "--requests", &requests], 0, verdicts)?;
    lab.set("statefulset/shard", &["BASE_LATENCY_MS=15", "LOAD_LATENCY_FACTOR_MS-", "SHARD_CONCURRENCY=2"])
}

/// Compares one run. `filling` requests go to the hottest shard beside the load.
fn one(lab: &Lab<'_>, name: &str, arguments: &[&str], filling: u64, verdicts: &mut Verdicts) -> Result<()> {
    for attempt in 1.. {
        match compared(lab, arguments, filling) {
            Ok((holds, figure)) => verdicts.report(name, holds, &figure),
            Err(error) if is_busy_machine(&error) && attempt < ATTEMPTS => {
                println!("  {name}: {error:#}; trying again");
                continue;
            }
            Err(error) => {
                signals::check()?;
                verdicts.could_not(name, &error);
            }
        }
        break;
    }
    Ok(())
}

fn compared(lab: &Lab<'_>, arguments: &[&str], filling: u64) -> Result<(bool, String)> {
    let mut problems = lab.disagreements()?;
    lab.reset(false)?;
    let before = lab.counts()?;
    let report = load(lab, arguments)?;
    // The gateways may still fetch what no request waits for.
    signals::pause(Duration::from_secs(1));
    problems.extend(lab.disagreements()?);
    let counted = lab.counts()?.since(before);
    let mut generator = reached(&report);
    if let Some(hottest) = generator.iter_mut().max() {
        *hottest += filling;
    }
    let equal = generator == counted.app && counted.app == counted.kernel;
    if !equal {
        problems.push(difference(generator, counted));
    }
    if report.errors > 0 {
        problems.push(format!("errors: {:?}", report.error_kinds));
    }
    let total: u64 = generator.iter().sum();
    let figure = format!(
        "{} requests, {} reached a shard by generator, shards and kernel{}",
        thousands(report.sent),
        thousands(total),
        listed(&problems)
    );
    Ok((equal && problems.is_empty(), figure))
}

/// The requests that reached each shard, by the answers that the generator got.
fn reached(report: &LoadReport) -> [u64; SHARDS] {
    let mut counts = [0; SHARDS];
    for (count, shard) in counts.iter_mut().zip(&report.shards) {
        *count = shard.upstream_requests;
    }
    counts
}

fn difference(generator: [u64; SHARDS], counted: Counts) -> String {
    format!("NOT the same: generator {generator:?}, shards {:?}, kernel {:?}", counted.app, counted.kernel)
}
