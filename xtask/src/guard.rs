//! `xtask guard`: runs one program for as long as somebody holds its standard input open.
//!
//! The probe may need other rights than xtask (sudo, file capabilities). Such a process can neither be signalled
//! by xtask nor tied to its life by the kernel. A guard started with the same rights can do both, and a pipe tells it:
//! [`STOP`] and the end of input (xtask is gone) mean "in order", [`KILL`] means "at once".

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{process, signals};

/// Written to a guard: stop the program in order.
pub(crate) const STOP: u8 = b's';

/// Written to a guard: kill the program.
pub(crate) const KILL: u8 = b'k';

/// How long a program may take to stop in order: longer than the drain of anything in the lab.
const GRACE: Duration = Duration::from_secs(15);

/// Runs `program` until it ends or standard input says so; gives its exit code.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn run(program: &[OsString]) -> Result<ExitCode> {
    let (name, arguments) = program.split_first().context("guard needs a program")?;
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    process::die_with_parent(&mut command, libc::SIGKILL);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", name.display()))?;
    let requests = listen();
    let mut deadline = None;
    loop {
        if let Some(status) = child.try_wait().context("lost the program")? {
            return Ok(ExitCode::from(exit_code(status)));
        }
        let request = requests.try_recv().ok();
        if request == Some(KILL) || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            process::send(child.id(), libc::SIGKILL);
        } else if deadline.is_none() && (request == Some(STOP) || signals::received() > 0) {
            process::send(child.id(), libc::SIGTERM);
            deadline = Some(Instant::now() + GRACE);
        }
        signals::pause(Duration::from_millis(20));
    }
}

/// The program's own exit code; 128 and the number of the signal that ended it, as shells do.
fn exit_code(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Reads standard input in a thread of its own and passes on what it asks for.
fn listen() -> mpsc::Receiver<u8> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) && sender.send(byte[0]).is_ok() {}
        // The receiver only goes away together with the process.
        let _ = sender.send(STOP);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::exit_code;

    #[test]
    fn a_signal_becomes_an_exit_code() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }
}
