//! Runs one long-lived process with a log.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use rustix::process::Pid;
pub use rustix::process::Signal;

use protocol::escape::escaped;

/// Sent to a [guard](crate::guard): stop the program in order.
pub(crate) const STOP: u8 = b's';

/// Sent to a guard: kill the program.
pub(crate) const KILL: u8 = b'k';

/// Number of last log lines shown for a failed process.
const SHOWN_LINES: usize = 8;

/// The output of a process, in a named file or in an unnamed one that is deleted on drop.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: Option<PathBuf>,
}

impl Log {
    /// Creates a log file at `path`.
    ///
    /// # Errors
    /// When the folder or the file cannot be created. The error has its path.
    pub fn at(path: PathBuf) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, path: Some(path) })
    }

    /// Creates an unnamed log file.
    ///
    /// # Errors
    /// When the system's temporary folder is not writable.
    pub fn unnamed() -> Result<Self> {
        let file = tempfile::tempfile().context("cannot make a temporary file")?;
        Ok(Self { file, path: None })
    }

    /// All output so far.
    #[must_use]
    pub fn text(&self) -> String {
        let length = self.file.metadata().map_or(0, |data| data.len());
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        // The file may grow during the read, which stops at the old end. It shrinks only when its process restarts.
        let read = self.file.read_exact_at(&mut bytes, 0);
        if read.is_ok() { String::from_utf8_lossy(&bytes).into_owned() } else { String::new() }
    }

    /// The last lines, indented, with the log's name as heading.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = self.text();
        let name = self.path.as_deref().map_or("its output".into(), Path::to_string_lossy);
        let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(escaped).collect();
        if lines.is_empty() {
            return format!("it wrote nothing to {name}");
        }
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        format!("the last lines of {name}:\n    {}", shown.join("\n    "))
    }

    /// A second handle to the same file with a shared position.
    fn stdio(&self) -> Result<Stdio> {
        Ok(self.file.try_clone().context("too many open files")?.into())
    }
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: Log,
    /// Standard output, if it is separate from the log.
    output: Option<Log>,
    child: Child,
    status: Option<ExitStatus>,
    address: Option<SocketAddr>,
}

impl Process {
    /// Starts `command` with its output in `log`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: Log) -> Result<Self> {
        die_with_parent(&mut command, Signal::KILL);
        command.stdin(Stdio::null());
        Self::spawn(name, command, log, None)
    }

    /// Like [`start`](Self::start), but with standard output in a separate log.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start_apart(name: &str, mut command: Command, output: Log, log: Log) -> Result<Self> {
        die_with_parent(&mut command, Signal::KILL);
        command.stdin(Stdio::null());
        Self::spawn(name, command, log, Some(output))
    }

    /// Starts `command`, a guard that runs a program with other rights than this process.
    ///
    /// The kernel clears `PR_SET_PDEATHSIG` for such a program, and this process may not signal it.
    ///
    /// # Errors
    /// When the guard cannot be started.
    pub fn start_guarded(name: &str, mut command: Command, log: Log) -> Result<Self> {
        command.stdin(Stdio::piped());
        Self::spawn(name, command, log, None)
    }

    fn spawn(name: &str, mut command: Command, log: Log, output: Option<Log>) -> Result<Self> {
        command.stdout(output.as_ref().unwrap_or(&log).stdio()?).stderr(log.stdio()?);
        // In its own process group, Ctrl-C does not reach it. Only this process gets the signal, and then stops the
        // others in order.
        command.process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {name} ({program})"))?;
        Ok(Self { name: name.to_owned(), log, output, child, status: None, address: None })
    }

    /// The process's name in the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id. With a guard, the guard's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address where the process listens.
    ///
    /// # Errors
    /// When the process has not reported its address yet.
    pub fn address(&self) -> Result<SocketAddr> {
        self.address
            .or_else(|| self.reported_address())
            .with_context(|| format!("{} has not reported its address; {}", self.name, self.log.last_words()))
    }

    /// The address in the process's log, which it writes once it serves; `None` before.
    #[must_use]
    pub fn reported_address(&self) -> Option<SocketAddr> {
        self.log.text().lines().find_map(ready_at)
    }

    /// Records the address where the process listens.
    pub(crate) fn listens_at(&mut self, address: SocketAddr) {
        self.address = Some(address);
    }

    /// All output so far. Excludes a separate standard output.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The standard output.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.as_ref().unwrap_or(&self.log).text()
    }

    /// The last lines of output, indented, with the log's name as heading.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.log.last_words()
    }

    /// The exit status, or `None` while it is running.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // An error means that other code of this program has waited for the process.
            self.status = self.child.try_wait().unwrap_or(Some(ExitStatus::from_raw(1 << 8)));
        }
        self.status
    }

    /// Whether the process is still running.
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // After wait(), another process may have the same id.
        if self.status.is_none() {
            send(&self.child, signal);
        }
    }

    /// Requests an orderly stop.
    pub fn terminate(&mut self) {
        if self.is_running() && !self.write_to_guard(STOP) {
            send(&self.child, Signal::TERM);
        }
    }

    /// Kills the process and waits until it has ended.
    pub fn kill(&mut self) {
        if self.is_running() {
            if !self.write_to_guard(KILL) {
                send(&self.child, Signal::KILL);
            }
            self.status = self.child.wait().ok();
        }
    }

    /// Sends `request` to the guard. Returns whether a guard received it.
    fn write_to_guard(&mut self, request: u8) -> bool {
        // A guard that is exiting no longer reads its input. It needs no request either.
        self.child.stdin.as_mut().is_some_and(|input| input.write_all(&[request]).is_ok())
    }

    /// Resident memory in bytes. With a guard, that of the guard's child process.
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        let (guard, pid) = (self.child.stdin.is_some(), self.pid());
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let child = children.split_whitespace().next().and_then(|child| child.parse().ok());
        resident_bytes(child.filter(|_| guard).unwrap_or(pid))
    }
}

/// Resident memory of a process in bytes. `None` if it has ended (`proc_pid_status(5)`).
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() && self.log.path.is_none() {
            eprintln!("---- {} ----\n{}", self.name, self.log.text());
        }
    }
}

/// The address in a JSON log line that reports readiness.
fn ready_at(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    (line["message"] == "ready").then(|| line["addr"].as_str()?.parse().ok())?
}

/// Makes the kernel send `signal` to `command`'s process when the starting thread ends.
pub fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = std::process::id().cast_signed();
    #[expect(unsafe_code, reason = "PR_SET_PDEATHSIG must be set in the child, between fork and exec")]
    // SAFETY: the two system calls are async-signal-safe, and the closure allocates nothing.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(signal))?;
            // The parent may have ended before the call.
            let is_child = rustix::process::getppid().is_some_and(|pid| pid.as_raw_pid() == parent);
            if is_child { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
        });
    }
}

/// Requests an orderly stop of another process.
///
/// # Errors
/// When there is no such process, or it belongs to another user.
pub fn terminate(id: i32) -> Result<()> {
    send_to(id, Signal::TERM)
}

/// Sends `signal` to the process `id`, which need not be a child.
///
/// # Errors
/// When there is no such process, or it belongs to another user.
pub fn send_to(id: i32, signal: Signal) -> Result<()> {
    let id = Pid::from_raw(id).context("a process id is positive")?;
    Ok(rustix::process::kill_process(id, signal)?)
}

/// Sends `signal` to `child`, which must not have been waited for.
pub fn send(child: &Child, signal: Signal) {
    // Fails only if the process has already exited.
    let _ = rustix::process::kill_process(Pid::from_child(child), signal);
}

#[cfg(test)]
mod tests {
    use super::{Log, Process};
    use crate::signals::pause;
    use std::process::Command;
    use std::time::Duration;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn wait(process: &mut Process) {
        while process.is_running() {
            pause(Duration::from_millis(5));
        }
    }

    #[test]
    fn output_and_log_are_kept() {
        let mut both =
            Process::start("both", shell("echo out; echo err >&2"), Log::unnamed().unwrap()).unwrap();
        wait(&mut both);
        assert_eq!(both.log(), "out\nerr\n");
        let (output, log) = (Log::unnamed().unwrap(), Log::unnamed().unwrap());
        let mut apart =
            Process::start_apart("apart", shell("echo out; echo err >&2; exit 3"), output, log).unwrap();
        wait(&mut apart);
        assert_eq!((apart.output().as_str(), apart.log().as_str()), ("out\n", "err\n"));
        assert_eq!(apart.exit_status().and_then(|status| status.code()), Some(3));
        assert_eq!(apart.last_words(), "the last lines of its output:\n    err");
    }

    #[test]
    fn the_address_is_in_the_line_that_reports_readiness() {
        let script = "echo '{\"message\":\"ready\",\"addr\":\"127.0.0.1:80\"}'; exec sleep 60";
        let mut process = Process::start("ready", shell(script), Log::unnamed().unwrap()).unwrap();
        while process.address().is_err() {
            pause(Duration::from_millis(5));
        }
        assert_eq!(process.address().unwrap().port(), 80);
        assert!(process.resident_bytes().is_some_and(|bytes| bytes > 0));
        process.terminate();
        wait(&mut process);
    }
}
