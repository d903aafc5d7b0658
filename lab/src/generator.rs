//! Runs the load generator and returns its report.

use std::fmt;
use std::process::Command;

use anyhow::{Context as _, Result};
use protocol::body::{LoadRefusal, LoadRefused, LoadReport};

use crate::command;
use crate::process::{Log, Process};

/// Exit code of a run with results too unreliable to report.
pub const REFUSED: i32 = 3;

/// A running load generator. Dropping it kills it.
#[derive(Debug)]
pub struct Generator {
    process: Process,
}

/// The reason why a run has no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoReport {
    /// The results would be too unreliable.
    Refused(LoadRefusal),
    /// Any other reason, in words.
    Failed(String),
}

impl NoReport {
    /// Whether the generator's machine was too busy, so that another run may succeed.
    #[must_use]
    pub fn is_busy_machine(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.reason.is_busy_machine())
    }

    /// The reason in one line. For a failure, the last line of the generator's output.
    #[must_use]
    pub fn one_line(&self) -> String {
        let text = self.to_string();
        text.lines().last().unwrap_or_default().trim().trim_start_matches("load: ").to_owned()
    }
}

impl fmt::Display for NoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.detail),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for NoReport {}

impl Generator {
    /// Starts `command`, a `load` command line. Its messages go to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, log: Log) -> Result<Self> {
        command.args(["--json", "-"]);
        let process = Process::start_apart("load", command, Log::unnamed()?, log)?;
        Ok(Self { process })
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// The report, or the reason for none. `None` while it is running.
    pub fn ended(&mut self) -> Option<Result<LoadReport, NoReport>> {
        let status = self.process.exit_status()?;
        let output = self.process.output();
        let failed = |what: &str| {
            NoReport::Failed(format!("{what} ({}); {}", command::ended(status), self.process.last_words()))
        };
        Some(match status.code() {
            Some(0) => report(&output).map_err(|error| failed(&format!("{error:#}"))),
            Some(REFUSED) => {
                Err(refusal(&output).map_or_else(|error| failed(&format!("{error:#}")), NoReport::Refused))
            }
            _ => Err(failed("the load generator wrote no report")),
        })
    }
}

/// Parses the report of a run.
///
/// # Errors
/// When `output` is not a report.
pub fn report(output: &str) -> Result<LoadReport> {
    serde_json::from_str(output).context("no report in the load generator's output")
}

/// Parses the reason of a refused run.
///
/// # Errors
/// When `output` is not a refusal.
pub fn refusal(output: &str) -> Result<LoadRefusal> {
    let refused: LoadRefused =
        serde_json::from_str(output).context("no reason in the load generator's output")?;
    Ok(refused.refused)
}

#[cfg(test)]
mod tests {
    use super::{Generator, NoReport};
    use crate::process::Log;
    use crate::signals::pause;
    use std::process::Command;
    use std::time::Duration;

    fn ended(script: &str) -> NoReport {
        let mut command = Command::new("sh");
        command.args(["-c", script, "load"]);
        let mut generator = Generator::start(command, Log::unnamed().unwrap()).unwrap();
        loop {
            if let Some(ended) = generator.ended() {
                return ended.unwrap_err();
            }
            pause(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_refusal_is_read_from_the_exit_code_and_the_json() {
        let refused = |reason: &str| {
            ended(&format!("echo '{{\"refused\":{{\"reason\":\"{reason}\",\"detail\":\"why\"}}}}'; exit 3"))
        };
        assert!(refused("sent_late").is_busy_machine());
        assert!(!refused("requests_dropped").is_busy_machine());
        assert_eq!(refused("rate_not_kept").to_string(), "why");
        assert!(matches!(ended("echo {}; exit 3"), NoReport::Failed(_)));
    }

    #[test]
    fn any_other_end_is_a_failure_with_the_last_lines() {
        let failed = ended("echo 'no gateway' >&2; exit 1");
        assert!(!failed.is_busy_machine());
        let text = failed.to_string();
        assert!(text.contains("exit code 1") && text.contains("no gateway"), "{text}");
        assert_eq!(ended("echo 'load: wrong' >&2; exit 1").one_line(), "wrong");
        assert!(ended("echo nonsense").to_string().contains("no report"), "an end without a report");
    }
}
