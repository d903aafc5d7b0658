//! Starts and ends the processes of a measurement.

use anyhow::{Context as _, Result, bail};
use lab::process::{Log, Process, Signal};
use lab::signals;
use std::process::Command;
use std::time::Duration;

/// The longest wait for a process's start or end.
const TIMEOUT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(5);

/// Starts a program and waits until `has_begun`. If it ends instead, the error has its last line with an error.
pub(super) fn start(
    name: &str,
    mut command: Command,
    has_begun: impl Fn(&Process) -> bool,
) -> Result<Process> {
    command.env("LOG_FORMAT", "json");
    let process = Process::start(name, command, Log::unnamed()?);
    let mut process =
        process.with_context(|| format!("{name} cannot be run here: apt-get install {name}"))?;
    let begun = signals::poll(TIMEOUT, STEP, || {
        if has_begun(&process) {
            return Ok(Some(true));
        }
        Ok((!process.is_running()).then_some(false))
    })?;
    if begun == Some(true) {
        return Ok(process);
    }
    let log = process.log();
    let last = log.lines().rev().find(|line| line.contains("rror")).or_else(|| log.lines().last());
    bail!("{name} cannot run here: {}", last.unwrap_or("it printed nothing"))
}

/// Ends a process with a signal and returns its log.
pub(super) fn end(mut process: Process, signal: Signal) -> Result<String> {
    process.signal(signal);
    let ended = signals::poll(TIMEOUT, STEP, || Ok((!process.is_running()).then_some(())))?;
    ended.with_context(|| format!("{} does not end", process.name()))?;
    Ok(process.log())
}
