//! Measures what reaches the shards through the caches of two and three gateways.

use std::time::Duration;

use anyhow::Result;
use protocol::body::LoadReport;

use super::{listed, seconds};
use crate::cluster_test::generator::load;
use crate::cluster_test::lab::Lab;
use crate::cluster_test::pods::Pod;
use crate::verdicts::Verdicts;

/// The hot key of the scenario, and how many others it has.
const CELEBRITY: &str = "celebrity-user-kardashian";
const KEYS: f64 = 500.0;

/// Shorter than the time to live in the cache, so no entry expires.
const DURATION: &str = "30";

/// Largest distance from the prediction: about four standard errors.
const TOLERANCE: f64 = 0.1;

/// A switch must hold at every gateway within this time.
const HOLDS_WITHIN: Duration = Duration::from_secs(2);

const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let result = measured(lab, verdicts);
    lab.reset(false)?;
    lab.apply_again()?;
    result
}

fn measured(lab: &Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let two = lab.scale(2)?;
    lab.reset(false)?;
    let report = through(lab, &two, &["run", "with-caching", "--duration", DURATION])?;
    reported(verdicts, "with-caching through two gateways", &report);
    let three = lab.scale(3)?;
    let mut without = Vec::new();
    let took = lab.until("the switch at the third gateway", TIMEOUT, |lab| {
        without.clear();
        for pod in &three {
            if !lab.gateway_counts(pod)?.cache_enabled {
                without.push(pod.name.clone());
            }
        }
        Ok(without.is_empty())
    });
    let figure = match &took {
        Ok(took) => format!("its cache is on {} after it is ready", seconds(*took)),
        Err(_) => format!("no cache{}", listed(&without)),
    };
    let holds = took.is_ok_and(|took| took <= HOLDS_WITHIN);
    verdicts.report("a third gateway has the switch", holds, &figure);
    let keys = format!("{KEYS}");
    let stream = ["stream", "--rate", "130", "--keys", &keys, "--duration", DURATION];
    lab.reset(true)?;
    let report = through(lab, &three, &stream)?;
    reported(verdicts, "130 requests a second through three gateways", &report);
    Ok(())
}

/// Runs a load. Returns its report, and for each gateway the requests for the celebrity and for other keys.
fn through(lab: &Lab<'_>, gateways: &[Pod], arguments: &[&str]) -> Result<(LoadReport, Vec<(u64, u64)>)> {
    let report = load(lab, arguments)?;
    let requests = gateways.iter().map(|pod| {
        let counts = lab.gateway_counts(pod)?;
        let celebrity = counts.top_keys.iter().find(|top| top.key.as_str() == CELEBRITY);
        let celebrity = celebrity.map_or(0, |top| top.count);
        Ok((celebrity, counts.total_requests - celebrity))
    });
    Ok((report, requests.collect::<Result<_>>()?))
}

/// Compares what reached the shards with a prediction: each gateway fetches each key once that it is asked for. Of many
/// keys with equal rates, a number of requests reaches some more than once and others never.
#[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
fn reported(verdicts: &mut Verdicts, name: &str, (report, requests): &(LoadReport, Vec<(u64, u64)>)) {
    let reached: u64 = report.shards.iter().map(|shard| shard.upstream_requests).sum();
    let misses = |(celebrity, others): &(u64, u64)| {
        f64::from(u8::from(*celebrity > 0)) + KEYS * (1.0 - (-(*others as f64) / KEYS).exp())
    };
    let predicted: f64 = requests.iter().map(misses).sum();
    let off = reached as f64 / predicted - 1.0;
    let figure = format!(
        "{:.1} requests a second reach the shards, {:.1} predicted ({:+.1} %); the gateways got {:?} requests",
        reached as f64 / report.duration_seconds,
        predicted / report.duration_seconds,
        100.0 * off,
        requests.iter().map(|(celebrity, others)| celebrity + others).collect::<Vec<_>>(),
    );
    verdicts.report(name, off.abs() <= TOLERANCE && report.errors == 0, &figure);
}
