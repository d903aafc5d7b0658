//! Checks, awaits and stops the processes of a lab.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::http::Client;
use crate::process::Process;
use crate::signals;

/// Maximum time for a part to report its address, and for all parts to be ready.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(30);

/// Maximum time for a part to drain: its own limit of 10 s and a reserve.
const DRAIN_WITHIN: Duration = Duration::from_secs(13);

/// Waits until every part answers at `/ready`. `show` gets the number of parts and the names of the parts that are
/// not ready.
///
/// # Errors
/// When a part ends or is not ready in time. The error has the part's last log lines.
pub(crate) fn wait_ready(
    mut parts: Vec<&mut Process>,
    client: &Client,
    mut show: impl FnMut(usize, &[&str]),
) -> Result<()> {
    let addresses = parts.iter().map(|part| Ok((part.name().to_owned(), part.address()?)));
    let mut waiting = addresses.collect::<Result<Vec<_>>>()?;
    let all = waiting.len();
    let ready = signals::poll(READY_WITHIN, Duration::from_millis(50), || {
        parts.iter_mut().try_for_each(|part| alive(part))?;
        waiting.retain(|(_, address)| !client.is_ok(&format!("http://{address}/ready")));
        show(all, &waiting.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
        Ok(waiting.is_empty().then_some(()))
    })?;
    if ready.is_some() {
        return Ok(());
    }
    let late = waiting.first().map_or("a part", |(name, _)| name);
    let words = parts.iter().find(|part| part.name() == late).map(|part| part.last_words());
    bail!("{late} was not ready within {} s; {}", READY_WITHIN.as_secs(), words.unwrap_or_default());
}

/// Checks that a part is running.
///
/// # Errors
/// When it has ended. The error has its name, its exit status and its last log lines.
pub(crate) fn alive(part: &mut Process) -> Result<()> {
    match part.exit_status() {
        None => Ok(()),
        Some(status) => {
            bail!(
                "{} exited unexpectedly ({}); {}",
                part.name(),
                crate::command::ended(status),
                part.last_words()
            )
        }
    }
}

/// Stops the parts stage by stage, each with time to drain. A stage is the start of a name.
///
/// A signal during the stop kills the remaining processes. Returns the names of the processes that were killed.
pub(crate) fn stop(mut parts: Vec<&mut Process>, stages: &[&str]) -> Vec<String> {
    let signals_before = signals::received();
    let mut killed = Vec::new();
    for stage in stages {
        let mut parts: Vec<&mut &mut Process> =
            parts.iter_mut().filter(|part| part.name().starts_with(stage)).collect();
        parts.iter_mut().for_each(|part| part.terminate());
        let deadline = Instant::now() + DRAIN_WITHIN;
        while parts.iter_mut().any(|part| part.is_running()) {
            if Instant::now() >= deadline || signals::received() > signals_before {
                for part in &mut parts {
                    if part.is_running() {
                        killed.push(part.name().to_owned());
                        part.kill();
                    }
                }
            }
            signals::pause(Duration::from_millis(20));
        }
    }
    killed
}
