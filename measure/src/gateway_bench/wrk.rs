//! One run of wrk.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lab::process::{Log, Process};
use lab::{programs, signals};

/// The requests of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) requests: u64,
    pub(super) per_second: f64,
}

/// Sends requests to `address` for `seconds`, as fast as they are answered. The script has its arguments behind it.
///
/// # Errors
/// When wrk cannot be run, or a request fails.
pub(super) fn run(
    address: SocketAddr,
    connections: u32,
    seconds: u32,
    script: Option<(&Path, &[String])>,
) -> Result<Answered> {
    let mut command = Command::new(programs::find("wrk").context("there is no wrk: apt-get install wrk")?);
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--timeout", "5s"]);
    if let Some((script, _)) = script {
        command.arg("-s").arg(script);
    }
    command.arg(format!("http://{address}/data/{}", super::row::key(0)));
    command.arg("--").args(script.map_or(&[][..], |(_, arguments)| arguments));
    let mut process = Process::start("wrk", command, Log::unnamed()?)?;
    let limit = Duration::from_secs(u64::from(seconds) + 30);
    let ended = signals::poll(limit, Duration::from_millis(5), || Ok(process.exit_status()))?;
    let status = ended.context("wrk does not end")?;
    ensure!(status.success(), "wrk: {}; {}", lab::command::ended(status), process.last_words());
    parse(&process.log())
}

fn parse(log: &str) -> Result<Answered> {
    for line in log.lines().map(str::trim) {
        if line.starts_with("Non-2xx or 3xx responses") || line.starts_with("Socket errors") {
            bail!("requests failed: {line}");
        }
    }
    let after = |name: &str| log.lines().find_map(|line| line.trim().strip_prefix(name));
    let per_second = after("Requests/sec:").and_then(|rate| rate.trim().parse().ok());
    let requests = log.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
    let requests = requests.filter(|requests| *requests > 0);
    let of = || format!("wrk reports no requests: {log}");
    Ok(Answered { requests: requests.with_context(of)?, per_second: per_second.with_context(of)? })
}

#[cfg(test)]
mod tests {
    use super::{Answered, parse};

    const LOG: &str = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
                       66000 requests in 2.00s, 12.00MB read\nRequests/sec:  33000.50\nTransfer/sec:  6.00MB\n";

    #[test]
    fn a_run_with_a_failed_request_is_no_run() {
        assert_eq!(parse(LOG).unwrap(), Answered { requests: 66_000, per_second: 33_000.5 });
        assert!(parse(&format!("{LOG}  Non-2xx or 3xx responses: 1\n")).is_err());
        assert!(parse(&format!("{LOG}  Socket errors: connect 0, read 1, write 0, timeout 0\n")).is_err());
        assert!(parse("").is_err());
    }
}
