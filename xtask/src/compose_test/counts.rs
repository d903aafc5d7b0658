//! Compares exact kernel and application counts on both network paths.

use std::time::Instant;

use anyhow::{Context as _, Result};
use protocol::probe_api::ShardCounts;

use super::witnesses::{self, Lab, listed};
use crate::table::thousands;
use crate::verdicts::Verdicts;
use lab::command;
use lab::ports::{Ports, SHARDS};

/// Connections to each shard.
const CONNECTIONS: &str = "16";

/// Sends `requests` through the container network, then as many through the published ports.
pub(crate) fn check(lab: &Lab<'_>, requests: u64, verdicts: &mut Verdicts) {
    let names: Vec<String> = (0..SHARDS).map(|id| format!("http://lab39-shard-{id}:{}", port(id))).collect();
    let published: Vec<String> = (0..SHARDS).map(|id| format!("http://127.0.0.1:{}", port(id))).collect();
    for (name, network, shards) in [
        ("kernel = app through the network", witnesses::NETWORK, names),
        ("kernel = app through published ports", "host", published),
    ] {
        match count(lab, network, &shards.join(","), requests) {
            Ok((holds, figure)) => verdicts.report(name, holds, &figure),
            Err(error) => verdicts.could_not(name, &error),
        }
    }
}

const fn port(id: u16) -> u16 {
    Ports::new(Ports::DEFAULT_BASE).shard(id)
}

fn count(lab: &Lab<'_>, network: &str, shards: &str, requests: u64) -> Result<(bool, String)> {
    let total = || Ok::<u64, anyhow::Error>(lab.probe.shards()?.iter().map(ShardCounts::data).sum());
    let mut problems = lab.disagreements()?;
    let before = total()?;
    let started = Instant::now();
    let mut load = lab.load(network);
    load.args(["saturate", "--shard-urls", shards, "--connections", CONNECTIONS]);
    load.args(["--requests", &requests.to_string()]);
    command::capture(&mut load).context("the load failed")?;
    let took = started.elapsed().as_secs_f64();
    problems.extend(lab.disagreements()?);
    let counted = total()? - before;
    let figure = format!(
        "{} of {} requests counted in {took:.0} s, each shard's difference 0{}",
        thousands(counted),
        thousands(requests),
        listed(&problems)
    );
    Ok((counted == requests && problems.is_empty(), figure))
}
