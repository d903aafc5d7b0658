//! Runs the steps in a kernel, in an emulated machine or on this one, and gives what its console said.

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

/// How long one kernel may take in all. Emulated on two busy cores it needs a third of that.
const LIMIT: Duration = Duration::from_secs(480);

/// Processors of a guest: more than one, so that the counters of each are added up.
const PROCESSORS: &str = "2";

/// All that is emulated but one instruction: qemu 7.2 was seen to leave half of an address in the flags
/// after `cmpxchg16b`, and the kernel to die of it. Without the instruction the kernel takes another way.
const PROCESSOR: &str = "max,-cx16";

/// Memory of a guest; its file system takes 80 MB of it.
const MEMORY: &str = "1536M";

/// What a kernel said, and how long it took.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) console: Console,
    pub(super) took: Duration,
    /// Whether it was stopped because of [`LIMIT`].
    pub(super) stopped: bool,
}

/// Boots `kernel` with `file_system` in an emulator, without any help of the processor, so that it goes the same way
/// everywhere.
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
        // The console is for the steps; what the kernel complains of is read from its log at the end.
        .args(["-append", "console=ttyS0,115200 panic=-1 loglevel=3 random.trust_cpu=on"]);
    follow(Process::start("the emulator", command, Log::at(log.to_path_buf())?)?)
}

/// The same steps in the kernel that runs here, with the rights they need.
///
/// # Errors
/// When those rights cannot be had.
pub(super) fn here(programs: &Programs, folder: &Path) -> Result<Ran> {
    let root = packages::root(terminal::is_interactive());
    if root == Root::No {
        bail!("the running kernel takes root's rights: run the same as root");
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
    // timeout passes a stop on to the whole group: the shell, the probe and the tests.
    command.args(["guard", "--", "timeout", "--kill-after=5"]).arg(LIMIT.as_secs().to_string());
    command.arg("env").arg(format!("BUSYBOX={}", programs.busybox.display()));
    command.arg(format!("PROBE={}", programs.probe.display()));
    command.arg(format!("TESTS={}", programs.tests.display()));
    command.arg(format!("PORT={}", free_port()?)).arg(format!("SCRATCH={}", folder.display()));
    command.arg(&programs.busybox).arg("sh").arg(&steps);
    let log = folder.join("console.log");
    follow(Process::start_guarded("the steps", command, Log::at(log)?)?)
}

/// A free port.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr().context("cannot find a free port")?.port())
}

/// Waits for the end, shows how far it is, and stops what takes too long.
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

/// Stops in order, so that the guard can end what it started; dropping the process ends the rest.
fn stop(process: &mut Process) {
    process.terminate();
    let deadline = Instant::now() + Duration::from_secs(10);
    while process.is_running() && Instant::now() < deadline {
        signals::pause(Duration::from_millis(20));
    }
}

/// The last mark on a console, in words.
fn stage(text: &str) -> String {
    let mark = text.lines().rev().find_map(|line| line.strip_prefix("@@ "));
    mark.map_or_else(|| "booting".to_owned(), |mark| mark.trim_end().to_owned())
}
