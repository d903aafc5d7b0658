//! Runs one program for as long as the standard input is open.
//!
//! The probe may need other rights than its starter (sudo, file capabilities). The starter cannot signal such a process,
//! and the kernel does not tie it to the starter's life. A guard with the same rights can do both, and a pipe controls it:
//! [`STOP`](process::STOP) and the end of input (the starter is gone) request an orderly stop, [`KILL`](process::KILL) an immediate one.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::{process, signals};

/// How long a program may take to stop in order: longer than the drain of anything in the lab.
const GRACE: Duration = Duration::from_secs(15);

/// Runs `program` until it ends or standard input requests its end; returns its exit code.
///
/// # Errors
/// When it cannot be started.
pub fn run(program: &[OsString]) -> Result<ExitCode> {
    let (name, arguments) = program.split_first().context("guard needs a program")?;
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    process::die_with_parent(&mut command, Signal::KILL);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", name.display()))?;
    let requests = listen();
    let mut deadline = None;
    loop {
        if let Some(status) = child.try_wait().context("lost the program")? {
            return Ok(ExitCode::from(exit_code(status)));
        }
        let request = requests.try_recv().ok();
        if request == Some(process::KILL) || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            process::send(&child, Signal::KILL);
        } else if deadline.is_none() && (request == Some(process::STOP) || signals::received() > 0) {
            process::send(&child, Signal::TERM);
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

/// Reads standard input in a thread and forwards the requests.
fn listen() -> mpsc::Receiver<u8> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) && sender.send(byte[0]).is_ok() {}
        // The receiver only goes away together with the process.
        let _ = sender.send(process::STOP);
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
