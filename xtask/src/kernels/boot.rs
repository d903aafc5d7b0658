//! Runs the test steps in an emulated or the running kernel.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::console::Console;
use super::image::Programs;
use crate::packages::{self, Root};
use crate::terminal::{self, Progress};
use lab::process::{Log, Process};
use lab::signals;

/// Maximum time for one kernel. Emulation on two busy cores takes a third of it.
const LIMIT: Duration = Duration::from_secs(480);

/// Number of guest CPUs. More than one, so that the test covers merging of per-CPU counters.
const PROCESSORS: &str = "2";

/// The emulated CPU has every instruction except `cmpxchg16b`. qemu 7.2 left half of an address in the flags after
/// this instruction, and the kernel crashed. Without it the kernel uses another code path.
const PROCESSOR: &str = "max,-cx16";

/// Guest memory. The guest's file system takes 80 MB of it.
const MEMORY: &str = "1536M";

/// A kernel's console output and run time.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) console: Console,
    pub(super) took: Duration,
    /// Whether the run was stopped after [`LIMIT`].
    pub(super) stopped: bool,
}

/// Boots `kernel` with `file_system` in an emulator. Does not use hardware virtualization, so every machine behaves
/// alike.
///
/// # Errors
/// When the emulator cannot be started.
pub(super) fn guest(emulator: &Path, kernel: &Path, file_system: &Path, log: &Path) -> Result<Ran> {
    let mut command = Command::new(emulator);
    command
        .args(["-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-smp", PROCESSORS, "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(file_system)
        // The console is reserved for the steps. The last step prints the kernel's log.
        .args(["-append", "console=ttyS0,115200 panic=-1 loglevel=3 random.trust_cpu=on"]);
    follow(Process::start("the emulator", command, Log::at(log.to_path_buf())?)?)
}

/// Runs the same steps in the running kernel, with the rights that they need.
///
/// # Errors
/// When those rights are not available.
pub(super) fn here(programs: &Programs, folder: &Path) -> Result<Ran> {
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
    follow(Process::start_guarded("the steps", command, Log::at(log)?)?)
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr().context("cannot find a free port")?.port())
}

/// Waits for the process and shows its progress. Stops it after [`LIMIT`].
fn follow(mut process: Process) -> Result<Ran> {
    let started = Instant::now();
    let mut progress = Progress::new();
    let ended = signals::poll(LIMIT + Duration::from_secs(10), Duration::from_millis(100), || {
        progress.show(&format!("{} s, {}", started.elapsed().as_secs(), stage(&process.log())));
        Ok(process.exit_status())
    });
    drop(progress);
    if !matches!(ended, Ok(Some(_))) {
        stop(&mut process);
    }
    let stopped = ended?.is_none();
    Ok(Ran { console: Console::read(&process.log()), took: started.elapsed(), stopped })
}

/// Sends a signal first, so that the guard can stop its child processes. Dropping the process kills the rest.
fn stop(process: &mut Process) {
    process.terminate();
    let deadline = Instant::now() + Duration::from_secs(10);
    while process.is_running() && Instant::now() < deadline {
        signals::pause(Duration::from_millis(20));
    }
}

/// Describes the last mark in the console output.
fn stage(text: &str) -> String {
    let mark = text.lines().rev().find_map(|line| line.strip_prefix("@@ "));
    mark.map_or_else(|| "booting".to_owned(), |mark| mark.trim_end().to_owned())
}
