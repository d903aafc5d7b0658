//! Runs the test steps in the running kernel.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::LIMIT;
use super::programs::Programs;
use crate::guest::{Ran, follow};
use crate::packages::{self, Root};
use crate::terminal;
use lab::process::{Log, Process};

/// Runs the steps in the running kernel, with the rights that they need.
///
/// # Errors
/// When those rights are not available.
pub(super) fn run(programs: &Programs, folder: &Path) -> Result<Ran> {
    let root = packages::root(terminal::is_interactive());
    if root == Root::No {
        bail!("testing the running kernel needs root: run this command as root");
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let steps = folder.join("steps.sh");
    fs::write(&steps, include_str!("steps.sh"))
        .with_context(|| format!("cannot write {}", steps.display()))?;
    let itself = std::env::current_exe().context("cannot find this program")?;
    let mut command = if root == Root::Sudo {
        let mut command = Command::new("sudo");
        command.args(["-n", "--"]).arg(itself);
        command
    } else {
        Command::new(itself)
    };
    // timeout forwards a signal to the whole process group: the shell, the probe and the tests.
    command.args(["guard", "--", "timeout", "--kill-after=5"]).arg(LIMIT.as_secs().to_string());
    command.arg("env").arg(format!("BUSYBOX={}", programs.busybox.display()));
    command.arg(format!("PROBE={}", programs.probe.display()));
    command.arg(format!("TESTS={}", programs.tests.display()));
    command.arg(format!("PORT={}", free_port()?)).arg(format!("SCRATCH={}", folder.display()));
    command.arg(&programs.busybox).arg("sh").arg(&steps);
    let log = folder.join("console.log");
    follow(Process::start_guarded("the steps", command, Log::at(log)?)?, LIMIT)
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr().context("cannot find a free port")?.port())
}
