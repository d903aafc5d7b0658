//! Runs one program for as long as standard input is open.
//!
//! The probe may need other rights than its parent (sudo, file capabilities). The parent cannot signal such a
//! process, and the kernel does not end it with its parent. A guard with the same rights can do both, and a pipe
//! controls the guard. [`STOP`](process::STOP) requests an orderly stop, and so does end of input, which means that
//! the parent has ended. [`KILL`](process::KILL) requests an immediate stop.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::{process, signals};

/// Maximum time for an orderly stop. It exceeds the drain time of every program in the lab.
const GRACE: Duration = Duration::from_secs(15);

/// Runs `program` until it ends or standard input requests a stop. Returns its exit code.
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
        if let Some(status) = child.try_wait().context("cannot wait for the program")? {
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

/// The program's exit code. After a signal, 128 plus the signal's number, as shells report it.
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
        // The receiver exists until the process ends.
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
