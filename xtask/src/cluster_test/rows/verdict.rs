//! Compares the aggregator's verdict with the generator's counts, and takes one probe away from it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use protocol::body::LoadReport;
use protocol::probe_api::Verdicts as OfShards;
use protocol::verdict::{Reason, State, Verdict};

use super::seconds;
use crate::cluster_test::generator::{Load, is_busy_machine};
use crate::cluster_test::lab::{Lab, PROBE_PORT, SHARDS};
use crate::cluster_test::network::{NODES, inside};
use crate::cluster_test::pods::Pod;
use crate::cluster_test::wait::pass;
use crate::verdicts::Verdicts;
use lab::{command, signals};

/// The scenario's hot key. Its home is shard 0.
const CELEBRITY: &str = "celebrity-user-kardashian";

/// Length of the load, and of its start in which the window of ten seconds fills.
const DURATION: &str = "45";
const FILLS: Duration = Duration::from_secs(15);
const SAMPLES: usize = 20;

/// Largest distance of max/mean from the generator's.
const TOLERANCE: f64 = 0.05;

/// Runs of the load while this machine is too busy for its rate.
const ATTEMPTS: u32 = 3;

/// The aggregator must notice an unreachable probe, and its return, within this time.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let Some(aggregator) = lab.aggregator()? else {
        verdicts.left_out("the aggregator's verdict", "the overlay has no aggregator");
        return Ok(());
    };
    lab.spread()?;
    let mut attempt = 1;
    let (judged, report) = loop {
        match under_load(lab, &aggregator) {
            Err(error) if is_busy_machine(&error) && attempt < ATTEMPTS => attempt += 1,
            other => break other?,
        }
    };
    compare(&judged, &report, verdicts)?;
    without_a_probe(lab, &aggregator, verdicts)
}

fn under_load(lab: &Lab<'_>, aggregator: &Pod) -> Result<(Vec<Verdict<String>>, LoadReport)> {
    let load = Load::start(lab, &["run", "celebrity", "--duration", DURATION])?;
    pass("the window fills", FILLS)?;
    let mut judged = Vec::new();
    for _ in 0..SAMPLES {
        signals::check()?;
        judged.push(kernel(lab, aggregator)?.context("the aggregator has no kernel verdict")?);
        signals::pause(Duration::from_secs(1));
    }
    Ok((judged, load.finish()?))
}

fn kernel(lab: &Lab<'_>, aggregator: &Pod) -> Result<Option<Verdict<String>>> {
    Ok(lab.read::<OfShards>(aggregator, PROBE_PORT, "/api/verdict")?.kernel)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
fn compare(judged: &[Verdict<String>], report: &LoadReport, verdicts: &mut Verdicts) -> Result<()> {
    let reached: Vec<u64> = report.shards.iter().map(|shard| shard.upstream_requests).collect();
    let (hottest, most) =
        reached.iter().enumerate().max_by_key(|(_, count)| **count).context("a report without shards")?;
    let generator = *most as f64 * SHARDS as f64 / reached.iter().sum::<u64>() as f64;
    let same = judged.iter().filter(|verdict| {
        verdict.state == State::Critical
            && verdict.reason == Some(Reason::HotKey)
            && verdict.shard_id == Some(hottest)
            && verdict.key.as_deref() == Some(CELEBRITY)
    });
    let same = same.count();
    let ratios: Vec<f64> = judged.iter().filter_map(|verdict| verdict.max_over_mean).collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    let holds = same == judged.len() && (mean / generator - 1.0).abs() <= TOLERANCE;
    let figure = format!(
        "{same} of {} verdicts: critical, hot_key, shard {hottest}, {CELEBRITY}; max/mean {mean:.2}, by the generator {generator:.2}",
        judged.len()
    );
    verdicts.report("the aggregator's verdict = the generator's", holds, &figure);
    Ok(())
}

/// Drops every packet to one probe, except those of its own node.
fn without_a_probe(lab: &Lab<'_>, aggregator: &Pod, verdicts: &mut Verdicts) -> Result<()> {
    let node = NODES.into_iter().find(|node| *node != aggregator.node).context("there is one node")?;
    let probes = lab.probes()?;
    let probe = probes.iter().find(|probe| probe.node == node).context("a node has no probe")?;
    let rule = |action: &str| {
        let mut iptables = inside(node, "iptables");
        iptables.args(["-t", "mangle", action, "POSTROUTING", "-d", &probe.address]);
        iptables.args(["-m", "addrtype", "!", "--src-type", "LOCAL", "-j", "DROP"]);
        command::capture(&mut iptables)
    };
    rule("-I")?;
    let away =
        lab.until("the aggregator to notice", NOTICED_WITHIN, |lab| Ok(kernel(lab, aggregator)?.is_none()));
    let told: Result<OfShards> = lab.read(aggregator, PROBE_PORT, "/api/verdict");
    rule("-D")?;
    let (away, told) = (away?, told?);
    let back =
        lab.until("the probe's return", NOTICED_WITHIN, |lab| Ok(kernel(lab, aggregator)?.is_some()))?;
    let cause = told.cause.unwrap_or_default();
    let figure = format!(
        "no kernel verdict after {}, cause {cause:?}; a verdict {} after its return",
        seconds(away),
        seconds(back)
    );
    let named = cause.contains(node) || cause.contains(&probe.address);
    verdicts.report("one probe unreachable", told.kernel.is_none() && named, &figure);
    Ok(())
}
