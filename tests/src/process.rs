//! Runs a test's processes without inherited settings or blocked runtime.

use ::lab::cgroup::Cgroup;
use ::lab::process::Log;
pub use ::lab::process::{Process, Signal};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::{build, poll};

/// Extends [`Process`] for tests.
pub trait TestProcess: Sized {
    /// Starts a binary of the lab with these settings only.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    fn of_lab(binary: &str, args: &[&str], settings: &[(&str, String)]) -> Self {
        Self::start_program(&build::binary(binary), args, settings)
    }

    /// Starts the program at `path` with these settings only.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    fn start_program(path: &Path, args: &[&str], settings: &[(&str, String)]) -> Self {
        Self::start_in(None, path, args, settings)
    }

    /// Like [`start_program`](Self::start_program), but in a cgroup. The process enters it before it opens a socket.
    ///
    /// # Panics
    /// When the program cannot be started in that cgroup.
    #[must_use]
    fn start_in(cgroup: Option<&Cgroup>, path: &Path, args: &[&str], settings: &[(&str, String)]) -> Self;

    /// Waits until the process reports that it is ready. Returns its address.
    fn ready(&mut self) -> impl Future<Output = SocketAddr>;

    /// Waits until the process has ended.
    fn ended(&mut self, limit: Duration) -> impl Future<Output = ExitStatus>;
}

impl TestProcess for Process {
    fn start_in(cgroup: Option<&Cgroup>, path: &Path, args: &[&str], settings: &[(&str, String)]) -> Self {
        let mut command = Command::new(path);
        command.args(args).env_clear().env("LOG_FORMAT", "json").env("PATH", env!("PATH"));
        command.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(cgroup) = cgroup {
            cgroup.enter(&mut command).expect("a cgroup that can be entered");
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let started = Log::unnamed().and_then(|log| Self::start(&name, command, log));
        started.unwrap_or_else(|err| panic!("{err:#}"))
    }

    async fn ready(&mut self) -> SocketAddr {
        let ready = poll::until(Duration::from_secs(20), || async {
            self.reported_address().ok_or_else(|| "it has not reported its address".to_owned())
        });
        ready.await.unwrap_or_else(|err| panic!("{}: {err}; its log:\n{}", self.name(), self.log()))
    }

    async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let process = parking_lot::Mutex::new(self);
        let ended = poll::until(limit, || async {
            process.lock().exit_status().ok_or_else(|| "still running".to_owned())
        });
        match ended.await {
            Ok(status) => status,
            Err(err) => {
                let process = process.into_inner();
                panic!("{}: {err}; its log:\n{}", process.name(), process.log())
            }
        }
    }
}
