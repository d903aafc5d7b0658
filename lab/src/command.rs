//! Runs programs to completion.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Signal};

use crate::process::{die_with_parent, send};
use crate::signals::{self, Interrupted};

/// Runs `command` on this terminal and waits until it ends.
///
/// # Errors
/// When it cannot be started. [`Interrupted`] when a signal arrives, after `command` has been stopped.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    watched(command, || {})
}

/// Like [`status`], and calls `look` every 100 ms.
///
/// # Errors
/// As [`status`].
pub fn watched(command: &mut Command, look: impl FnMut()) -> Result<ExitStatus> {
    Background::start(command)?.wait(look)
}

/// A background process. Dropping it terminates the process.
#[derive(Debug)]
pub struct Background {
    name: String,
    child: Child,
}

impl Background {
    /// Starts `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        signals::check()?;
        die_with_parent(command, Signal::TERM);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child })
    }

    /// Waits until the process ends and calls `look` every 100 ms.
    ///
    /// # Errors
    /// [`Interrupted`] when a signal arrives. The process is terminated first.
    pub fn wait(mut self, mut look: impl FnMut()) -> Result<ExitStatus> {
        let mut terminated = false;
        for step in 0_u32.. {
            if let Some(status) = self.child.try_wait().with_context(|| format!("lost {}", self.name))? {
                signals::check()?;
                return Ok(status);
            }
            if signals::received() > 0 && !terminated {
                send(&self.child, Signal::TERM);
                terminated = true;
            }
            if step.is_multiple_of(5) {
                look();
            }
            signals::pause(Duration::from_millis(20));
        }
        bail!("{} is still running after a year", self.name)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            send(&self.child, Signal::TERM);
            // An error means that the process has already been waited for.
            let _ = self.child.wait();
        }
    }
}

/// Runs `command` on this terminal. Errors name it as `what`.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = status(command)?;
    if status.success() { Ok(()) } else { bail!("{what} failed ({})", ended(status)) }
}

/// Runs `command` on this terminal and returns its exit code.
///
/// # Errors
/// When it cannot be started.
pub fn exit_code(command: &mut Command) -> Result<ExitCode> {
    let status = status(command)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs `command` and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails. The error has the last line of its standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    if signals::received() > 0 {
        bail!(Interrupted);
    }
    let written = String::from_utf8_lossy(&output.stderr);
    let last = written.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
    bail!("{name} failed ({}): {last}", ended(output.status))
}

/// Describes a process's exit status in words.
#[must_use]
pub fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        // Guards and shells report a signal as exit code 128 plus its number.
        (Some(137), _) | (None, Some(9)) => "killed by signal 9".to_owned(),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// `command` as a user would type it.
#[must_use]
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Raises this process's limit of open files to the hard limit. Child processes inherit it.
///
/// Tests open thousands of sockets, and the usual limit of a login is 1,024. A failure to raise it is ignored;
/// opening files fails later.
pub fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}
