//! Runs the load generator in a pod's network.

use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use lab::generator::NoReport;
use lab::process::{Log, Process};
use lab::{generator, signals};
use protocol::body::LoadReport;

use super::lab::Lab;
use crate::terminal::Progress;

/// A running load.
#[derive(Debug)]
pub(crate) struct Load {
    process: Process,
    name: String,
}

impl Load {
    /// Starts a load with these arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(lab: &Lab<'_>, arguments: &[&str]) -> Result<Self> {
        let mut command = lab.load(arguments);
        command.args(["--json", "-"]);
        let process = Process::start_apart("load", command, Log::unnamed()?, Log::unnamed()?)?;
        Ok(Self { process, name: arguments.join(" ") })
    }

    /// Waits for the end. A broken threshold is not an error.
    ///
    /// # Errors
    /// When there is no report.
    pub(crate) fn finish(mut self) -> Result<LoadReport> {
        let mut progress = Progress::new();
        while self.process.is_running() {
            signals::check()?;
            progress.show(&format!("load {}, {} s", self.name, progress.elapsed().as_secs()));
            signals::pause(Duration::from_millis(50));
        }
        let output = self.process.output();
        match generator::report(&output) {
            Ok(report) => Ok(report),
            Err(error) => match generator::refusal(&output) {
                Ok(refusal) => bail!(NoReport::Refused(refusal)),
                Err(_) => Err(error).with_context(|| self.process.last_words()),
            },
        }
    }
}

/// Whether a run was refused because this machine was too busy, so that another run may succeed.
pub(crate) fn is_busy_machine(error: &Error) -> bool {
    error.downcast_ref::<NoReport>().is_some_and(NoReport::is_busy_machine)
}

/// Runs a load to its end.
///
/// # Errors
/// When there is no report.
pub(crate) fn load(lab: &Lab<'_>, arguments: &[&str]) -> Result<LoadReport> {
    Load::start(lab, arguments)?.finish()
}
