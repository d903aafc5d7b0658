//! Runs a long step with progress line and log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::command::{self, Background};
use lab::tree::Tree;

use crate::terminal::Progress;

/// Number of last log lines shown when a step fails.
const SHOWN_LINES: usize = 20;

/// One long-running step.
#[derive(Debug)]
pub(crate) struct Step {
    name: String,
    /// Seconds for a run from scratch on two cores.
    estimate: u64,
}

impl Step {
    /// Creates a step with an expected time in seconds, from scratch on two cores.
    ///
    /// After the first run on this machine the measured time replaces `estimate`.
    pub(crate) fn new(name: &str, estimate: u64) -> Self {
        Self { name: name.to_owned(), estimate }
    }

    /// Runs `command` to completion. Its output goes to a log in the target directory.
    ///
    /// # Errors
    /// When it cannot be started or fails. The error has the last lines of the output and the log's path.
    pub(crate) fn run(self, tree: &Tree, command: &mut Command) -> Result<()> {
        self.start(tree, command)?.finish(tree)
    }

    /// Like [`run`](Self::run), but in the background. Dropping the result before [`Running::finish`] terminates the
    /// command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(self, tree: &Tree, command: &mut Command) -> Result<Running> {
        let folder = tree.target.join("logs");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let log = folder.join(format!("{}.log", self.file_name()));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let known = fs::read_to_string(log.with_extension("seconds")).ok();
        let estimate = known.and_then(|text| text.trim().parse().ok()).unwrap_or(self.estimate);
        let estimate = Duration::from_secs(estimate);
        eprintln!("  {} (about {})", self.name, minutes(estimate));
        Ok(Running {
            name: self.name,
            estimate,
            log,
            started: Instant::now(),
            command: Background::start(command)?,
        })
    }

    fn file_name(&self) -> String {
        let word = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        self.name.chars().map(word).take(60).collect()
    }
}

/// A running step.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    estimate: Duration,
    log: PathBuf,
    started: Instant,
    command: Background,
}

impl Running {
    /// Waits until the step ends.
    ///
    /// # Errors
    /// When the command fails. The error has the last lines of the output and the log's path.
    pub(crate) fn finish(self, tree: &Tree) -> Result<()> {
        let Self { name, estimate, log, started, command } = self;
        let mut progress = Progress::new();
        let status = command.wait(|| {
            let elapsed = minutes(started.elapsed());
            progress.overwrite(&format!("{name}  {elapsed} of about {}", minutes(estimate)));
        })?;
        drop(progress);
        let took = started.elapsed();
        if !status.success() {
            bail!(
                "{name} failed ({}); the last lines of {}:\n    {}",
                command::ended(status),
                tree.shown(&log),
                last_lines(&log)
            );
        }
        if took >= Duration::from_secs(2) {
            eprintln!("  {name}: {}", minutes(took));
            // A run that found everything built is no estimate for a run from scratch.
            let known = log.with_extension("seconds");
            fs::write(&known, took.as_secs().to_string()).with_context(|| known.display().to_string())?;
        }
        Ok(())
    }
}

/// Formats as `1:05 min` or `7 s`.
fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds => format!("{}:{:02} min", seconds / 60, seconds % 60),
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n    ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use lab::tree::Tree;

    use super::{Step, minutes};

    #[test]
    fn a_step_that_fails_shows_its_last_lines_and_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = Tree { root: folder.path().to_owned(), target: folder.path().join("target") };
        let mut command = Command::new("sh");
        command.args(["-c", "for line in $(seq 30); do echo line $line; done; echo wrong >&2; exit 4"]);
        let error = Step::new("doing x/y", 7).run(&tree, &mut command).expect_err("it fails").to_string();
        assert!(error.starts_with("doing x/y failed (exit code 4); the last lines of "), "{error}");
        assert!(
            error.contains("target/logs/doing-x-y.log") && error.ends_with("line 30\n    wrong"),
            "{error}"
        );
        assert!(!error.contains("line 5\n"), "{error}");
        assert!(Step::new("all", 1).run(&tree, &mut Command::new("true")).is_ok());
    }

    #[test]
    fn times_are_short() {
        assert_eq!(minutes(Duration::from_secs(59)), "59 s");
        assert_eq!(minutes(Duration::from_secs(125)), "2:05 min");
    }
}
