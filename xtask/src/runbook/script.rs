//! Runs a block's script: pieces for bash, and lines for a lab.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use lab::process::Signal;
use lab::tree::Tree;
use lab::{command, process, signals};

/// Maximum seconds for the bash lines of a piece.
const SECONDS: &str = "90";
/// Maximum seconds for an unchanged docker line. `up --build` may have to build images.
const DOCKER_SECONDS: &str = "900";
/// Maximum time for a load.
const LOAD_WITHIN: Duration = Duration::from_secs(900);

/// A part of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Bash(String),
    /// A line that begins with `docker compose`, `docker stats` or `cargo xtask`.
    Lab(String),
}

/// Splits a script into its parts, in order.
pub(super) fn pieces(script: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for line in script.lines() {
        if ["docker compose ", "docker stats ", "cargo xtask "].iter().any(|start| line.starts_with(start)) {
            pieces.push(Piece::Lab(line.to_owned()));
        } else if let Some(Piece::Bash(text)) = pieces.last_mut() {
            text.push('\n');
            text.push_str(line);
        } else {
            pieces.push(Piece::Bash(line.to_owned()));
        }
    }
    pieces.retain(|piece| !matches!(piece, Piece::Bash(text) if text.trim().is_empty()));
    pieces
}

/// Whether a line for a lab is a load, which runs beside the next block.
pub(super) fn is_load(line: &str) -> bool {
    line.starts_with("docker compose run ") || line.starts_with("cargo xtask load ")
}

/// The output and exit status of a piece.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) text: String,
    pub(super) success: bool,
    /// The exit code of the last command.
    pub(super) code: Option<i32>,
    /// The exit status in words.
    pub(super) how: String,
}

impl Default for Output {
    fn default() -> Self {
        Self::printed(String::new())
    }
}

impl Output {
    /// The output of a successful action.
    pub(super) fn printed(text: String) -> Self {
        Self { text, success: true, code: Some(0), how: String::new() }
    }

    pub(super) fn add(&mut self, next: Self) {
        self.text.push_str(&next.text);
        (self.success, self.code, self.how) = (next.success, next.code, next.how);
    }
}

/// Runs `text` with bash. The first failing command ends it.
///
/// # Errors
/// When bash cannot be started, or a signal arrives.
pub(super) fn bash(tree: &Tree, text: &str, environment: &[(&'static str, String)]) -> Result<Output> {
    within(tree, SECONDS, text, environment)
}

/// Like [`bash`], for a docker line.
///
/// # Errors
/// As [`bash`].
pub(super) fn docker(tree: &Tree, line: &str, environment: &[(&'static str, String)]) -> Result<Output> {
    within(tree, DOCKER_SECONDS, line, environment)
}

fn within(tree: &Tree, seconds: &str, text: &str, environment: &[(&'static str, String)]) -> Result<Output> {
    let log = tree.target.join("runbook").join("bash.log");
    let mut command = Command::new("timeout");
    command.args([seconds, "bash", "-e", "-u", "-o", "pipefail", "-c", text]).current_dir(&tree.root);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let status = command::status(quiet(&mut command, &log)?)?;
    output(&log, status, |_| false)
}

/// A load in the background.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command` in the background with output to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        quiet(&mut command, &log)?;
        process::die_with_parent(&mut command, Signal::KILL);
        let child = command.spawn().with_context(|| command::shown(&command))?;
        Ok(Self { child, log })
    }

    /// Waits until the load ends.
    ///
    /// # Errors
    /// When it does not end in time, or a signal arrives.
    pub(super) fn finish(mut self) -> Result<Output> {
        let ended = signals::poll(LOAD_WITHIN, Duration::from_millis(50), || Ok(self.child.try_wait()?));
        let Ok(Some(status)) = ended else {
            // Fails only if the process has just exited.
            let _ = self.child.kill();
            let _ = self.child.wait();
            signals::check()?;
            bail!("the load did not end within {} s", LOAD_WITHIN.as_secs());
        };
        // On a busy machine a threshold may fail. That is not a failure of the runbook.
        output(&self.log, status, |code| code == 99)
    }
}

fn quiet<'a>(command: &'a mut Command, log: &Path) -> Result<&'a mut Command> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone()?;
    Ok(command.stdin(Stdio::null()).stdout(file).stderr(errors))
}

fn output(log: &Path, status: ExitStatus, forgiven: impl Fn(i32) -> bool) -> Result<Output> {
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let success = status.success() || status.code().is_some_and(forgiven);
    Ok(Output { text, success, code: status.code(), how: command::ended(status) })
}

#[cfg(test)]
mod tests {
    use super::{Piece, pieces};

    #[test]
    fn docker_lines_stand_alone_and_bash_stays_together() {
        let script = "docker compose ps\nfor x in 1 2; do\n  echo $x\ndone\n\ndocker info > /dev/null\ndocker stats --no-stream";
        let bash = "for x in 1 2; do\n  echo $x\ndone\n\ndocker info > /dev/null";
        assert_eq!(
            pieces(script),
            [
                Piece::Lab("docker compose ps".into()),
                Piece::Bash(bash.into()),
                Piece::Lab("docker stats --no-stream".into())
            ]
        );
        assert!(pieces("\n\n").is_empty());
    }
}
