//! Boots a kernel in an emulator and follows its steps.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::console::Console;
use crate::terminal::Progress;
use lab::process::{Log, Process};
use lab::signals;

/// Number of guest CPUs. More than one, so that the test covers merging of per-CPU counters.
const PROCESSORS: &str = "2";

/// The emulated CPU has every instruction except `cmpxchg16b`. qemu 7.2 left half of an address in the flags after
/// this instruction, and the kernel crashed. Without it the kernel uses another code path.
const PROCESSOR: &str = "max,-cx16";

/// What a guest gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Memory in MiB, the guest's file system included.
    pub(crate) memory: u32,
    /// Maximum time until its last step.
    pub(crate) time: Duration,
}

/// A kernel's console output and run time.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) console: Console,
    pub(crate) took: Duration,
    /// Whether the run was stopped after its limit.
    pub(crate) stopped: bool,
}

/// Boots `kernel` with `file_system` in an emulator. Does not use hardware virtualization, so every machine behaves
/// alike.
///
/// # Errors
/// When the emulator cannot be started.
pub(crate) fn guest(
    emulator: &Path,
    kernel: &Path,
    file_system: &Path,
    log: &Path,
    limits: Limits,
) -> Result<Ran> {
    let mut command = Command::new(emulator);
    command
        .args(["-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-smp", PROCESSORS])
        .args(["-m", &format!("{}M", limits.memory)])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(file_system)
        // The console is reserved for the steps. The last step prints the kernel's log.
        .args(["-append", "console=ttyS0,115200 panic=-1 loglevel=3 random.trust_cpu=on"]);
    follow(Process::start("the emulator", command, Log::at(log.to_path_buf())?)?, limits.time)
}

/// Waits for the process and shows its progress. Stops it after `limit`.
///
/// # Errors
/// After a signal.
pub(crate) fn follow(mut process: Process, limit: Duration) -> Result<Ran> {
    let started = Instant::now();
    let mut progress = Progress::new();
    let ended = signals::poll(limit + Duration::from_secs(10), Duration::from_millis(100), || {
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
