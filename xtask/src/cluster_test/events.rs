//! Follows pods by a watch of the API, to know the moment when one becomes ready.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::process::{self, Signal};
use lab::signals;

use super::cluster::Cluster;

/// A pod must be ready within this time.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A running watch. Each line is the pod's name, its id and its state.
#[derive(Debug)]
pub(crate) struct Events {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Events {
    /// Starts to watch the pods of `namespace` with these labels.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub(crate) fn start(cluster: &Cluster, namespace: &str, labels: &str) -> Result<Self> {
        let columns = "-ocustom-columns=N:.metadata.name,U:.metadata.uid,R:.status.conditions[?(@.type=='Ready')].status";
        let mut command = cluster.kubectl_command()?;
        command.args(["-n", namespace, "get", "pods", "-l", labels, "--watch", "--no-headers"]);
        // A watch has no time limit.
        command.args(["--request-timeout=0", columns]);
        process::die_with_parent(&mut command, Signal::KILL);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().context("kubectl has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The moment when the pod `name` is ready, after its predecessor `old`.
    ///
    /// # Errors
    /// When it is not in time, or the watch ends.
    pub(crate) fn ready(&self, name: &str, old: &str) -> Result<Instant> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            signals::check()?;
            match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok((at, line)) => {
                    let mut words = line.split_whitespace();
                    let new = words.next() == Some(name) && words.next().is_some_and(|uid| uid != old);
                    if new && words.next() == Some("True") {
                        return Ok(at);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the watch of pods ended"),
            }
        }
        bail!("{name} is not ready after {} s", READY_WITHIN.as_secs())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        process::send(&self.child, Signal::KILL);
        // Fails only if it has been waited for.
        let _ = self.child.wait();
    }
}
