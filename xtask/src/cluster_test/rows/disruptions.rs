//! Rolls out gateways and probes, drains a node, and kills its kubelet and containerd, all under load.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{listed, seconds};
use crate::cluster_test::generator::Load;
use crate::cluster_test::lab::{LAB, Lab, PROBES};
use crate::cluster_test::network::NODES;
use crate::cluster_test::wait::pass;
use crate::table::thousands;
use crate::verdicts::Verdicts;
use lab::signals;

/// The load in the background, spread evenly: no verdict may be worse than balanced.
const RATE: &str = "80";

/// The node that is drained and whose agents are killed. The client's pod is on the other one.
const NODE: &str = NODES[1];

/// Time without kubelet and containerd. The control plane takes a node for lost after 40 s.
const DEAD_FOR: Duration = Duration::from_secs(20);

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    lab.spread()?;
    under_load(lab, verdicts, ("gateways rolled out", "50"), Some(0), |lab| {
        lab.cluster.kubectl(&["-n", LAB, "rollout", "restart", "deployment/gateway"])?;
        lab.cluster.rolled_out(LAB, "deployment/gateway")?;
        // The old pods serve until each node knows that they stop.
        pass("old gateways end", Duration::from_secs(8))
    })?;
    under_load(lab, verdicts, ("probes rolled out", "60"), Some(0), |lab| {
        lab.cluster.kubectl(&["-n", PROBES, "rollout", "restart", "daemonset/probe"])?;
        lab.cluster.rolled_out(PROBES, "daemonset/probe")
    })?;
    under_load(lab, verdicts, ("a node drained", "150"), None, |lab| {
        let drain =
            ["drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=150s"];
        // The budget of the shards lets them go one by one.
        let drained = lab.cluster.kubectl(&[&drain[..], &["--request-timeout=0"]].concat());
        lab.cluster.kubectl(&["uncordon", NODE])?;
        drained?;
        lab.ready()
    })?;
    lab.spread()?;
    under_load(lab, verdicts, ("kubelet and containerd killed", "75"), Some(0), |lab| {
        lab.cluster.kill_agents(NODE)?;
        pass(&format!("{NODE} without kubelet and containerd"), DEAD_FOR)?;
        lab.cluster.start_agents(NODE)?;
        lab.ready()
    })
}

/// Does `what` under a load of so many seconds. `failed` is the number of requests that may fail, if there is a bound.
fn under_load(
    lab: &mut Lab<'_>,
    verdicts: &mut Verdicts,
    (name, duration): (&str, &str),
    failed: Option<u64>,
    what: impl FnOnce(&mut Lab<'_>) -> Result<()>,
) -> Result<()> {
    let mut load = Load::start(lab, &["stream", "--rate", RATE, "--duration", duration, "--keys", "2000"])?;
    pass(&format!("{name}: load begins"), Duration::from_secs(3))?;
    let started = Instant::now();
    what(lab)?;
    let took = started.elapsed();
    let over = !load.is_running();
    let report = load.finish()?;
    signals::pause(Duration::from_secs(1));
    let mut problems = lab.disagreements()?;
    if over {
        problems.push("the load was over before".to_owned());
    }
    let holds = problems.is_empty() && failed.is_none_or(|most| report.errors <= most);
    let figure = format!(
        "{} of {} requests failed, in {}; difference 0 afterwards{}",
        report.errors,
        thousands(report.sent),
        seconds(took),
        listed(&problems)
    );
    verdicts.report(name, holds, &figure);
    Ok(())
}
