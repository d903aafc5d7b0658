//! Measures what reaches the shards through the caches of two and three gateways.

use std::time::Duration;

use anyhow::Result;
use protocol::body::LoadReport;

use super::{listed, seconds};
use crate::cluster_test::generator::load;
use crate::cluster_test::lab::{LAB, Lab};
use crate::cluster_test::pods::Pod;
use crate::verdicts::Verdicts;

/// The celebrity scenario: requests a second of one key, and of this many others together.
const CELEBRITY: f64 = 100.0;
const OTHERS: f64 = 30.0;
const KEYS: f64 = 500.0;

/// Shorter than the time to live in the cache, so no entry expires.
const DURATION: &str = "30";

/// Largest distance from the prediction: about four standard errors.
const TOLERANCE: f64 = 0.1;

/// A switch must hold at every gateway within this time.
const HOLDS_WITHIN: Duration = Duration::from_secs(2);
/// The autoscaler acts every 15 s.
const SCALED_WITHIN: Duration = Duration::from_secs(90);

const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let result = measured(lab, verdicts);
    lab.reset(false)?;
    lab.apply_again()?;
    result
}

/// Sets the number of gateways, which the autoscaler then keeps.
fn scale(lab: &Lab<'_>, gateways: usize) -> Result<Vec<Pod>> {
    let bounds = format!(r#"{{"spec":{{"minReplicas":{gateways},"maxReplicas":{gateways}}}}}"#);
    lab.cluster.kubectl(&["-n", LAB, "patch", "hpa", "gateway", "-p", &bounds])?;
    lab.until("the autoscaler", SCALED_WITHIN, |lab| {
        let pods = lab.gateways()?;
        Ok(pods.len() == gateways && pods.iter().all(|pod| pod.ready))
    })?;
    lab.gateways()
}

fn measured(lab: &Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let two = scale(lab, 2)?;
    let of_others = OTHERS / (OTHERS + CELEBRITY);
    lab.reset(false)?;
    let report = through(lab, &two, &["run", "with-caching", "--duration", DURATION])?;
    reported(verdicts, "with-caching through two gateways", &report, |requests| {
        1.0 + KEYS * (1.0 - (-requests * of_others / KEYS).exp())
    });
    let three = scale(lab, 3)?;
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
    reported(verdicts, "130 requests a second through three gateways", &report, |requests| {
        KEYS * (1.0 - (-requests / KEYS).exp())
    });
    Ok(())
}

/// Runs a load. Returns its report and the requests of each gateway.
fn through(lab: &Lab<'_>, gateways: &[Pod], arguments: &[&str]) -> Result<(LoadReport, Vec<u64>)> {
    let report = load(lab, arguments)?;
    let requests = gateways.iter().map(|pod| Ok(lab.gateway_counts(pod)?.total_requests));
    Ok((report, requests.collect::<Result<_>>()?))
}

/// Compares what reached the shards with the sum of `misses` of each gateway's requests.
#[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
fn reported(
    verdicts: &mut Verdicts,
    name: &str,
    (report, requests): &(LoadReport, Vec<u64>),
    misses: impl Fn(f64) -> f64,
) {
    let reached: u64 = report.shards.iter().map(|shard| shard.upstream_requests).sum();
    let predicted: f64 = requests.iter().map(|requests| misses(*requests as f64)).sum();
    let off = reached as f64 / predicted - 1.0;
    let figure = format!(
        "{:.1} requests a second reach the shards, {:.1} predicted ({:+.1} %), gateways got {requests:?}",
        reached as f64 / report.duration_seconds,
        predicted / report.duration_seconds,
        100.0 * off
    );
    verdicts.report(name, off.abs() <= TOLERANCE && report.errors == 0, &figure);
}
