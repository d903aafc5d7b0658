//! One long-lived process of the lab: started apart from the terminal, logged to a file, never left behind.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};

use crate::{guard, process};

/// How many of its last lines are shown of a process that failed.
const SHOWN_LINES: usize = 8;

/// A running process; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    log: PathBuf,
    process: std::process::Child,
    end: Option<End>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) success: bool,
    /// In words, for instance `exit code 1`.
    pub(crate) how: String,
}

impl From<std::io::Result<ExitStatus>> for End {
    fn from(waited: std::io::Result<ExitStatus>) -> Self {
        match waited {
            Ok(status) => Self { success: status.success(), how: process::ended(status) },
            Err(error) => Self { success: false, how: format!("lost: {error}") },
        }
    }
}

impl Child {
    /// Starts `command`; what it writes goes to `log`.
    ///
    /// # Errors
    /// When the log cannot be made or the program cannot be started.
    pub(crate) fn start(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        process::die_with_parent(&mut command, libc::SIGKILL);
        command.stdin(Stdio::null());
        Self::spawn(name, command, log)
    }

    /// Starts `command` behind `xtask guard`, for programs that run with other rights than this process: the
    /// kernel forgets PR_SET_PDEATHSIG for them, and this process may not signal them.
    ///
    /// # Errors
    /// As [`Child::start`].
    pub(crate) fn start_guarded(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        command.stdin(Stdio::piped());
        Self::spawn(name, command, log)
    }

    fn spawn(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
        // A group of its own: Ctrl-C in the terminal reaches xtask alone, which then stops the lab in order.
        command.stdout(file).stderr(errors).process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let process = command.spawn().with_context(|| format!("cannot start {name} ({program})"))?;
        Ok(Self { name: name.to_owned(), log, process, end: None })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its process id; of one behind a guard the guard's.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How the process ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<&End> {
        if self.end.is_none() {
            self.end = self.process.try_wait().transpose().map(End::from);
        }
        self.end.as_ref()
    }

    /// Asks the process to stop in order.
    pub(crate) fn terminate(&mut self) {
        if self.ended().is_none() && !self.tell_guard(guard::STOP) {
            process::send(self.process.id(), libc::SIGTERM);
        }
    }

    /// Ends the process at once and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if self.ended().is_none() {
            if !self.tell_guard(guard::KILL) {
                process::send(self.process.id(), libc::SIGKILL);
            }
            self.end = Some(End::from(self.process.wait()));
        }
    }

    /// Whether there is a guard to tell.
    fn tell_guard(&mut self, request: u8) -> bool {
        // A guard that is just ending does not read any more, and need not.
        self.process.stdin.as_mut().is_some_and(|input| input.write_all(&[request]).is_ok())
    }

    /// The last lines it wrote, indented, under the name of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return format!("it wrote nothing to {}", self.log.display());
        }
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        format!("the last lines of {}:\n    {}", self.log.display(), shown.join("\n    "))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
