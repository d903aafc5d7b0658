//! Starting other programs: cargo with a clean environment, commands that run to their end, lookups in `PATH`.

use std::env;
use std::ffi::OsStr;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::signals::{self, Interrupted};
use crate::tree::Tree;

/// What `cargo run` sets for xtask and what would mislead a cargo started by xtask.
const SET_BY_CARGO_RUN: [&str; 6] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_CRATE_NAME",
    "CARGO_BIN_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_MANIFEST_LINKS",
];

/// A cargo command for the host's crates, in the workspace's root and with its target directory.
pub(crate) fn cargo(tree: &Tree) -> Command {
    cargo_program(tree, &env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The same for the cargo at `program`.
pub(crate) fn cargo_program(tree: &Tree, program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.current_dir(&tree.root).env("CARGO_TARGET_DIR", &tree.target);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || SET_BY_CARGO_RUN.contains(&text.as_ref()) {
            command.env_remove(name);
        }
    }
    command
}

/// Makes the kernel kill `command`'s process as soon as the thread that starts it is gone, however that ends.
/// All children are started by the main thread, so this is the end of xtask itself.
pub(crate) fn die_with_parent(command: &mut Command, signal: libc::c_int) {
    let parent = std::process::id();
    #[expect(unsafe_code, reason = "PR_SET_PDEATHSIG must be set in the child, between fork and exec")]
    // SAFETY: prctl and getppid are async-signal-safe, and the closure allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            if libc::getppid().cast_unsigned() != parent {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// Sends `signal` to the process `pid`; a process that is gone already is no error.
pub(crate) fn send(pid: u32, signal: libc::c_int) {
    #[expect(unsafe_code, reason = "the standard library can only kill")]
    // SAFETY: kill takes plain integers; `pid` is a child that has not been waited for, so it cannot be another's.
    unsafe {
        libc::kill(pid.cast_signed(), signal);
    }
}

/// Runs `command` with this terminal to its end and tells how it ended.
///
/// # Errors
/// When it cannot be started, and [`Interrupted`] when a signal arrives meanwhile (it is ended first).
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    signals::check()?;
    die_with_parent(command, libc::SIGTERM);
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("lost {name}"))? {
            signals::check()?;
            return Ok(status);
        }
        if signals::received() > 0 && !told {
            send(child.id(), libc::SIGTERM);
            told = true;
        }
        signals::pause(Duration::from_millis(20));
    }
}

/// Runs `command` with this terminal; `what` names it in the error.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = status(command)?;
    if status.success() { Ok(()) } else { bail!("{what} failed ({})", ended(status)) }
}

/// Runs `command` with this terminal to its end; gives its exit code.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn exit_code(command: &mut Command) -> Result<ExitCode> {
    let status = status(command)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Builds these programs, optimised; each with its package.
///
/// # Errors
/// When the build fails.
pub(crate) fn build_release(tree: &Tree, programs: &[(&str, &str)]) -> Result<()> {
    let mut build = cargo(tree);
    build.args(["build", "--quiet", "--release"]);
    for (package, program) in programs {
        build.args(["-p", package, "--bin", program]);
    }
    run(&mut build, "cargo build")
}

/// Runs `command` silently and gives its standard output.
///
/// # Errors
/// When it cannot be started or does not succeed; then with the last line it wrote to standard error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    if signals::received() > 0 {
        bail!(Interrupted);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
    bail!("{name} failed ({}): {last}", ended(output.status))
}

/// How a process ended, in words.
pub(crate) fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        // Guards and shells pass a signal on as 128 and its number.
        (Some(137), _) | (None, Some(libc::SIGKILL)) => "killed by signal 9".to_owned(),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The program `name` in `PATH` or in the administrator's folders, which an ordinary user's `PATH` lacks.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

/// Whether `file` is a file that may be executed.
pub(crate) fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    #[expect(unsafe_code, reason = "the standard library does not tell the user id")]
    // SAFETY: geteuid has no arguments and cannot fail.
    let user = unsafe { libc::geteuid() };
    user == 0
}

/// `command` as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Raises this process's limit of open files, which its children inherit, to what the system allows: tests open thousands
/// of sockets, and a login's usual limit is 1,024. A refusal shows where files run out.
pub(crate) fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "the standard library has no resource limits")]
    // SAFETY: the pointer is to a live local of the type that both calls take.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
