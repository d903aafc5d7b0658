//! One process of the lab: started, waited for, its log kept, killed with the test.

use parking_lot::Mutex;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{build, poll};

/// A running process whose standard error is kept line by line.
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a binary of the lab with the given variables on top of an environment without any of the lab's settings.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(binary: &str, args: &[&str], settings: &[(&str, String)]) -> Self {
        Self::start_program(&build::binary(binary), args, settings)
    }

    /// Starts the program at `path` likewise.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_program(path: &Path, args: &[&str], settings: &[(&str, String)]) -> Self {
        Self::start_in(None, path, args, settings)
    }

    /// The same in a cgroup, which it and its sockets are in from the first moment on.
    ///
    /// # Panics
    /// When it cannot be started, or not there.
    #[must_use]
    pub fn start_in(cgroup: Option<&Path>, path: &Path, args: &[&str], settings: &[(&str, String)]) -> Self {
        let binary = path.file_name().unwrap_or_default().to_string_lossy();
        let mut command = Command::new(path);
        command.args(args).env_clear().env("LOG_FORMAT", "json").env("PATH", env!("PATH"));
        command.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let list = cgroup.map(|cgroup| cgroup.join("cgroup.procs"));
        let list =
            list.map(|list| File::options().write(true).open(list).expect("a cgroup that can be entered"));
        // SAFETY: prctl and write are async-signal-safe and touch only the child between fork and exec.
        #[expect(unsafe_code, reason = "a child itself sees to its end, and enters a cgroup, before it runs")]
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // The kernel takes 0 for whoever writes it.
                list.as_ref().map_or(Ok(()), |mut list| list.write_all(b"0"))
            });
        }
        let mut child = command.spawn().unwrap_or_else(|err| panic!("{binary} cannot be started: {err}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let pipes = [
            Box::new(child.stderr.take().expect("piped")) as Box<dyn std::io::Read + Send>,
            Box::new(child.stdout.take().expect("piped")),
        ];
        let readers = pipes.into_iter().map(|pipe| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    log.lock().push(line);
                }
            })
        });
        let readers = readers.collect();
        Self { name: binary.into_owned(), child, log, readers }
    }

    /// Where the process listens, once it has said that it is ready.
    ///
    /// # Panics
    /// When it ends or stays silent.
    pub async fn ready(&mut self) -> SocketAddr {
        let log = Arc::clone(&self.log);
        let addr = poll::until(Duration::from_secs(20), || async {
            log.lock().iter().find_map(|line| ready_at(line)).ok_or_else(|| "not ready".to_owned())
        });
        match addr.await {
            Ok(addr) => addr,
            Err(err) => panic!("{}: {err}; its log:\n{}", self.name, self.log()),
        }
    }

    /// Everything it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill has no memory effects; the child is not yet waited for, so its id is still its own.
        #[expect(unsafe_code, reason = "the standard library sends only SIGKILL")]
        unsafe {
            libc::kill(self.child.id().cast_signed(), signal);
        }
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended and all that it wrote is in its log.
    ///
    /// # Panics
    /// When it has not within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let (child, readers) = (Mutex::new(&mut self.child), &self.readers);
        let ended = poll::until(limit, || async {
            let status = child.lock().try_wait().ok().flatten().ok_or_else(|| "still running".to_owned())?;
            // It may have ended before the last lines are read from its pipes.
            let read = readers.iter().all(JoinHandle::is_finished);
            read.then_some(status).ok_or_else(|| "ended, and another holds its pipes".to_owned())
        });
        match ended.await {
            Ok(status) => status,
            Err(err) => panic!("{}: {err}; its log:\n{}", self.name, self.log()),
        }
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.name, self.log());
        }
    }
}

fn ready_at(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["message"] != "ready" {
        return None;
    }
    line["addr"].as_str()?.parse().ok()
}
