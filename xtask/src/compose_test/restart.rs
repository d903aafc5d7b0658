//! Restarts a shard under load, once with a new address.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::generator;
use protocol::body::GatewayCounts;

use super::witnesses::{Lab, NETWORK, listed};
use super::work::Work;
use crate::verdicts::Verdicts;
use lab::{command, signals};

/// The shard to restart.
const SHARD: usize = 2;
const SERVICE: &str = "lab39-shard-2";

const GATEWAY: &str = "http://lab39-api-gateway:8000";

/// Connections of the load. Each has one request in flight, so this bounds all requests in flight.
const CONNECTIONS: u64 = 16;
const REQUESTS: &str = "5000";

/// Time between the start of the load and the restart.
const LEAD: Duration = Duration::from_secs(4);

/// Maximum time for the probe to find a shard at a new address.
const FOUND_WITHIN: Duration = Duration::from_secs(2);

/// Maximum time that this test waits for the probe.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs both checks.
pub(crate) fn check(lab: &Lab<'_>, work: &Work, verdicts: &mut Verdicts) {
    if let Err(error) = in_mid_load(lab, work, verdicts) {
        verdicts.could_not("a restart in mid-load", &error);
    }
    match elsewhere(lab) {
        Ok((holds, figure)) => verdicts.report("a changed address is found within 2 s", holds, &figure),
        Err(error) => verdicts.could_not("a changed address is found within 2 s", &error),
    }
}

fn in_mid_load(lab: &Lab<'_>, work: &Work, verdicts: &mut Verdicts) -> Result<()> {
    let before = lab.disagreements()?;
    verdicts.report(
        "difference 0 before the restart",
        before.is_empty(),
        &format!("at rest{}", listed(&before)),
    );
    let (kernel_before, sent_before) = (lab.kernel_requests(SHARD)?, sent(lab)?);
    let (output, errors) = (work.join("restart-load.json"), work.write("restart-load.log", "")?);
    let mut load = lab.load(NETWORK);
    load.args(["saturate", "--gateway", GATEWAY, "--connections", &CONNECTIONS.to_string()]);
    load.args(["--requests", REQUESTS, "--json", "-"]);
    load.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(&errors)?);
    let mut running = load.spawn().context("cannot start docker")?;
    signals::pause(LEAD);
    let restarted = command::capture(lab.stack.compose().args(["restart", SERVICE]));
    let was_over = running.try_wait()?.is_some();
    let ended = running.wait();
    restarted?;
    if was_over {
        bail!("the load was over before the shard was back");
    }
    // A failed threshold also changes the exit code, and a missing shard fails thresholds. The report exists anyway.
    ended?;
    let answered = report(&output, &errors)?;
    let after = lab.disagreements()?;
    let kernel = lab.kernel_requests(SHARD)? - kernel_before;
    let sent = sent(lab)? - sent_before;
    verdicts.report(
        "over it kernel − answers in [0, in flight at the cut]",
        answered <= kernel && kernel <= sent && kernel - answered <= CONNECTIONS,
        &format!(
            "{kernel} requests at shard {SHARD}'s socket, {answered} answered: {}; {} that the gateway had \
             sent were not answered",
            i128::from(kernel) - i128::from(answered),
            i128::from(sent) - i128::from(answered),
        ),
    );
    verdicts.report(
        "difference 0 after the restart",
        after.is_empty(),
        &format!("at rest{}", listed(&after)),
    );
    Ok(())
}

/// Answers from the shard, according to the load's report.
fn report(output: &Path, errors: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(output)?;
    let report = generator::report(&text).with_context(|| {
        let written = std::fs::read_to_string(errors).unwrap_or_default();
        format!(
            "the load generator wrote no report: {}",
            written.lines().last().unwrap_or("it printed nothing")
        )
    })?;
    report.shards.get(SHARD).map(|shard| shard.answered).context("the load generator reports too few shards")
}

/// Requests that the gateway has sent to the shard.
fn sent(lab: &Lab<'_>) -> Result<u64> {
    let stats: GatewayCounts = lab.of_gateway("/stats")?;
    let shard = stats.shard_requests_total.get(SHARD).context("the gateway reports too few shards")?;
    Ok(shard.requests)
}

/// Restarts the shard at a new address and waits until the probe watches it. Another container takes the old address.
fn elsewhere(lab: &Lab<'_>) -> Result<(bool, String)> {
    let old = address(lab)?;
    command::capture(lab.stack.compose().args(["stop", SERVICE]))?;
    let mut other = lab.stack.engine().docker();
    other.args(["run", "--rm", "--detach", "--network", NETWORK, "--env", "SHARD_ID=7"]);
    other.arg(format!("{}shard", super::OURS));
    let other = command::capture(&mut other)?;
    let found = comes_back(lab, &old);
    command::capture(lab.stack.engine().docker().args(["kill", other.trim()]))?;
    let (new, took) = found?;
    lab.stack.wait_healthy()?;
    let problems = lab.disagreements()?;
    let holds = took <= FOUND_WITHIN && problems.is_empty();
    let seconds = took.as_secs_f64();
    Ok((holds, format!("{SERVICE} from {old} to {new}: watched {seconds:.1} s later{}", listed(&problems))))
}

fn comes_back(lab: &Lab<'_>, old: &str) -> Result<(String, Duration)> {
    let mut start = lab.stack.compose();
    let mut starting = start.args(["start", SERVICE]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let new = signals::poll(TIMEOUT, Duration::from_millis(20), || {
        Ok(Some(address(lab)?).filter(|now| !now.is_empty()))
    });
    let there = Instant::now();
    let found = new.and_then(|new| {
        let Some(new) = new else { bail!("{SERVICE} did not start") };
        if new == old {
            bail!("it came back at its old address, {old}");
        }
        let found = signals::poll(TIMEOUT, Duration::from_millis(20), || {
            Ok(lab.watches(SHARD, &new)?.then(|| there.elapsed()))
        })?;
        let took = found.with_context(|| format!("the probe did not find {SERVICE} at {new}"))?;
        Ok((new, took))
    });
    starting.wait()?;
    found
}

/// The address of the shard's container. Empty if it does not run.
fn address(lab: &Lab<'_>) -> Result<String> {
    lab.stack.inspect(SERVICE, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}
