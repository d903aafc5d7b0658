//! Runs a process: arguments, start, signal, drain, exit code.

use clap::Parser;
use std::process::ExitCode;

use crate::args::{self, ProcessArgs, SettingError};
use crate::healthcheck;
use crate::listen::BindError;
use crate::logs;
use crate::server::Started;
use crate::signals::StopSignals;

/// Error of a start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used; exit code 2.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The port cannot be bound; exit code 1.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Any other error, as one line; exit code 1.
    #[error("{0}")]
    Other(String),
}

impl From<std::io::Error> for StartError {
    fn from(err: std::io::Error) -> Self {
        Self::Other(err.to_string())
    }
}

impl From<prometheus::Error> for StartError {
    fn from(err: prometheus::Error) -> Self {
        Self::Other(format!("metrics cannot be registered: {err}"))
    }
}

impl StartError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Setting(_) => ExitCode::from(2),
            Self::Bind(_) | Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

/// Parses the arguments of this process. Prints an error as one line.
///
/// # Errors
/// Returns the exit code: 0 after `--help` or `--version`, 2 for an invalid setting.
pub fn arguments<A: Parser>() -> Result<A, ExitCode> {
    A::try_parse().map_err(|err| {
        if args::is_information(&err) {
            // There is no way to report a closed standard output.
            let _ = err.print();
            return ExitCode::SUCCESS;
        }
        complain(&args::one_line(&err));
        ExitCode::from(2)
    })
}

/// Raises the limit of open files to the system's maximum: the usual 1,024 is less than the maximum number of
/// connections.
pub fn raise_open_files() {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    if let Err(err) = raised {
        tracing::warn!(%err, "the limit of open files cannot be raised");
    }
}

/// Prints one line on standard error, prefixed with the program's name.
pub fn complain(line: &str) {
    let program = std::env::args_os().next().unwrap_or_default();
    let program =
        std::path::Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    eprintln!("{program}: {line}");
}

/// Runs a server process: installs the logger, starts, waits for SIGTERM, SIGINT or a failed task, drains.
///
/// Exit code:
///
/// - 0 after a complete drain
/// - 1 when the start failed, a task failed, or the drain was incomplete (the log names the rest)
/// - 2 for an invalid setting
/// - 130 at a second signal
pub fn run(process: &ProcessArgs, start: impl FnOnce() -> Result<Started, StartError>) -> ExitCode {
    if let Some(url) = &process.healthcheck {
        return match healthcheck::check(url) {
            Ok(()) => {
                println!("healthy: {url}");
                ExitCode::SUCCESS
            }
            Err(err) => {
                complain(&format!("unhealthy: {url}: {err}"));
                ExitCode::FAILURE
            }
        };
    }
    match run_to_end(process, start) {
        Ok(code) => code,
        Err(err) => {
            complain(&err.to_string());
            err.exit_code()
        }
    }
}

fn run_to_end(
    process: &ProcessArgs,
    start: impl FnOnce() -> Result<Started, StartError>,
) -> Result<ExitCode, StartError> {
    logs::init(process)?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Installed before the start, so that a signal during the start is not lost.
    let mut signals = {
        let _guard = runtime.enter();
        StopSignals::listen()?
    };
    let started = start()?;
    tracing::info!(addr = %started.local_addr(), "ready");
    let failed = started.failed();
    let end = runtime.block_on(async {
        tokio::select! {
            () = signals.next() => ExitCode::SUCCESS,
            () = failed.cancelled() => ExitCode::FAILURE,
        }
    });
    let grace = process.drain_timeout();
    tracing::info!(grace_seconds = grace.as_secs(), "draining; a second signal ends the process at once");
    let (done, mut drained) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("drain".into()).spawn(move || {
        let _ = done.send(started.stop(grace));
    })?;
    let code = runtime.block_on(async {
        tokio::select! {
            left = &mut drained => match left {
                Ok(left) if left.is_empty() => {
                    tracing::info!("drained");
                    end
                }
                Ok(left) => {
                    tracing::error!(left = left.join(", "), "the drain timeout expired");
                    ExitCode::FAILURE
                }
                Err(_) => ExitCode::FAILURE,
            },
            () = signals.next() => ExitCode::from(130),
        }
    });
    Ok(code)
}
