//! Rolls out gateways and probes, drains a node, and kills its kubelet and containerd, all under load.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{listed, seconds};
use crate::cluster_test::lab::{LAB, Lab, PROBES};
use crate::cluster_test::network::NODES;
use crate::cluster_test::verdict_log::VerdictLog;
use crate::cluster_test::wait::pass;
use crate::table::thousands;
use crate::verdicts::Verdicts;
use lab::signals;

/// The node that is drained and whose agents are killed. The client's pod is on the other one.
const NODE: &str = NODES[1];

/// Time without kubelet and containerd. The control plane takes a node for lost after 40 s.
const DEAD_FOR: Duration = Duration::from_secs(20);

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    lab.spread()?;
    under_load(lab, verdicts, "gateways rolled out", Some(0), |lab| {
        lab.cluster.kubectl(&["-n", LAB, "rollout", "restart", "deployment/gateway"])?;
        lab.cluster.rolled_out(LAB, "deployment/gateway")?;
        // The old pods serve until each node knows that they stop.
        pass("old gateways end", Duration::from_secs(8))
    })?;
    under_load(lab, verdicts, "probes rolled out", Some(0), |lab| {
        lab.cluster.kubectl(&["-n", PROBES, "rollout", "restart", "daemonset/probe"])?;
        lab.cluster.rolled_out(PROBES, "daemonset/probe")
    })?;
    under_load(lab, verdicts, "a node drained", None, |lab| {
        let drain =
            ["drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=150s"];
        // The budget of the shards lets them go one by one.
        let drained = lab.cluster.kubectl(&[&drain[..], &["--request-timeout=0"]].concat());
        lab.cluster.kubectl(&["uncordon", NODE])?;
        drained?;
        lab.ready()
    })?;
    lab.spread()?;
    under_load(lab, verdicts, "kubelet and containerd killed", Some(0), |lab| {
        lab.cluster.kill_agents(NODE)?;
        pass(&format!("{NODE} without kubelet and containerd"), DEAD_FOR)?;
        lab.cluster.start_agents(NODE)?;
        lab.ready()
    })
}

/// Does `what` while a key of each shard is read, equally often, and while verdicts are collected. `failed` is the number of reads that may fail, if there is a bound.
fn under_load(
    lab: &mut Lab<'_>,
    verdicts: &mut Verdicts,
    name: &str,
    failed: Option<u64>,
    what: impl FnOnce(&mut Lab<'_>) -> Result<()>,
) -> Result<()> {
    let watch = lab.watch_keys()?;
    let log = VerdictLog::start(&lab.cluster)?;
    pass(&format!("{name}: reads begin"), Duration::from_secs(3))?;
    let started = Instant::now();
    let done = what(lab);
    let took = started.elapsed();
    let passed = pass(&format!("{name}: reads go on"), Duration::from_secs(5));
    let keys = watch.stop()?;
    let judged = log.stop()?;
    passed?;
    if let Err(error) = done {
        signals::check()?;
        verdicts.could_not(name, &error);
        return Ok(());
    }
    let problems = lab.disagreements()?;
    let count: u64 = keys.iter().map(|key| key.failed).sum();
    let longest = keys.iter().flat_map(|key| &key.outages).map(|outage| outage.end - outage.start).max();
    let figure = format!(
        "{count} of {} reads failed, a key for at most {}; took {}; difference 0 afterwards{}",
        thousands(keys.iter().map(|key| key.requests).sum()),
        seconds(longest.unwrap_or_default()),
        seconds(took),
        listed(&problems)
    );
    verdicts.report(name, problems.is_empty() && failed.is_none_or(|most| count <= most), &figure);
    let mut wrong = judged.false_ones(&keys);
    let figure = format!(
        "{} given, {} of them with a shard that is down, {} false",
        judged.count(),
        judged.down(),
        wrong.len()
    );
    wrong.truncate(3);
    let holds = wrong.is_empty() && judged.count() > 0;
    verdicts.report(&format!("verdicts: {name}"), holds, &format!("{figure}{}", listed(&wrong)));
    Ok(())
}
