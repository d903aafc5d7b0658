//! The default suite of `redis-benchmark`, one at a time and in pipelines.

use std::process::{Command, Stdio};

use anyhow::Result;
use lab::command;

use super::{Context, server, url};
use crate::stores::report::Line;
use crate::stores::rest::Rest;

/// Commands of each kind, and the pipeline's depth.
const RUNS: [(&str, &str); 2] = [("10000", "1"), ("100000", "16")];

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    RUNS.iter().map(|(number, depth)| one(context, &format!("{row} -P {depth}"), number, depth)).collect()
}

fn one(context: &Context<'_>, row: &str, number: &str, depth: &str) -> Result<Line> {
    let server = server(&[])?;
    let probe = context.stage.start_watch(&url(&server), &[]);
    Rest::read(context.stage, &probe)?;
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args(["-p", &server.address.port().to_string(), "-q", "-n", number, "-P", depth]);
    command::run(benchmark.stdout(Stdio::null()), "redis-benchmark")?;
    let rest = Rest::read(context.stage, &probe)?;
    let mut lines = rest.lines(row, &[].into());
    probe.stop();
    lines.pop().ok_or_else(|| anyhow::anyhow!("the probe reports no node"))
}
