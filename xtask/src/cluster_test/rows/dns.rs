//! Takes CoreDNS away for a minute under load.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::listed;
use crate::cluster_test::generator::Load;
use crate::cluster_test::lab::{Lab, PROBE_PORT};
use crate::cluster_test::namespace::within;
use crate::cluster_test::network;
use crate::cluster_test::pods::Pod;
use crate::table::thousands;
use crate::terminal::Progress;
use crate::verdicts::Verdicts;
use lab::signals;

/// Length of each of the two measurements.
const MINUTE: Duration = Duration::from_secs(60);

/// Time between two rounds of requests.
const STEP: Duration = Duration::from_millis(250);

/// What is measured: the path, and the text with which an answer is complete. An answer without one ends by itself.
const PATHS: [(&str, Option<&str>); 3] =
    [("/api/compare", None), ("/api/events", Some("event: hello")), ("/metrics", None)];

/// Bounds of the issue.
const RATIO: f64 = 1.5;
const LARGEST: Duration = Duration::from_secs(2);

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let load = Load::start(lab, &["stream", "--rate", "100", "--duration", "140", "--keys", "2000"])?;
    let before = measured(lab, "with CoreDNS")?;
    scale(lab, "0")?;
    let without = measured(lab, "without CoreDNS");
    scale(lab, "2")?;
    let without = without?;
    lab.cluster.rolled_out("kube-system", "deployment/coredns")?;
    let report = load.finish()?;
    let kinds = &report.error_kinds;
    let figure = format!("{} of {} requests failed {kinds:?}", report.errors, thousands(report.sent));
    verdicts.report("a minute without CoreDNS, 100 requests a second", report.errors == 0, &figure);
    for (index, (path, _)) in PATHS.iter().enumerate() {
        let (median, then) = (middle(&before[index])?, middle(&without[index])?);
        let largest = without[index].iter().max().copied().unwrap_or_default();
        let ratio = then.as_secs_f64() / median.as_secs_f64();
        let holds = ratio <= RATIO && largest <= LARGEST;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let figure = format!(
            "median {:.1} ms before, {:.1} ms without ({ratio:.2} times), longest {:.0} ms",
            milliseconds(median),
            milliseconds(then),
            milliseconds(largest)
        );
        verdicts.report(path, holds, &figure);
    }
    let problems = lab.disagreements()?;
    verdicts.report("difference 0 afterwards", problems.is_empty(), &format!("at rest{}", listed(&problems)));
    Ok(())
}

fn scale(lab: &Lab<'_>, replicas: &str) -> Result<()> {
    let scale = ["-n", "kube-system", "scale", "deployment/coredns", "--replicas", replicas];
    lab.cluster.kubectl(&scale).map(drop)
}

/// The answer times of each path, at all probes, for a minute.
fn measured(lab: &Lab<'_>, what: &str) -> Result<[Vec<Duration>; PATHS.len()]> {
    let (probes, mut times) = (lab.probes()?, <[Vec<Duration>; PATHS.len()]>::default());
    let mut progress = Progress::new();
    signals::poll(MINUTE, STEP, || {
        progress.show(&format!("{what}, {} of {} s", progress.elapsed().as_secs(), MINUTE.as_secs()));
        for probe in &probes {
            for (times, (path, end)) in times.iter_mut().zip(PATHS) {
                times.push(timed(probe, path, end)?);
            }
        }
        Ok(None::<()>)
    })?;
    Ok(times)
}

/// The time from the request to the end of the answer.
fn timed(probe: &Pod, path: &str, end: Option<&str>) -> Result<Duration> {
    within(&network::file(&probe.node), || {
        let started = Instant::now();
        let mut stream = TcpStream::connect((probe.address.as_str(), PROBE_PORT))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 65_536]);
        loop {
            let read = stream.read(&mut buffer).with_context(|| format!("{path} of {}", probe.name))?;
            answer.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&answer);
            if read == 0 || end.is_some_and(|end| text.contains(end)) {
                if !text.starts_with("HTTP/1.1 200") {
                    bail!("{path} of {} answers {:?}", probe.name, text.lines().next());
                }
                return Ok(started.elapsed());
            }
        }
    })
}

fn middle(times: &[Duration]) -> Result<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().context("nothing was measured")
}
