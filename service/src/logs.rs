//! Log lines on standard error, plain or JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{ProcessArgs, SettingError};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Installs the process's logger, and a panic hook that logs one line. Only a `main` calls this.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(args: &ProcessArgs) -> Result<(), SettingError> {
    let filter = EnvFilter::builder().parse(&args.log_level).map_err(|err| {
        SettingError::new(
            "LOG_LEVEL",
            &args.log_level,
            format!("{err}; allowed: error, warn, info, debug, trace, or target=level pairs"),
        )
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second logger in one process (two labs in one test binary) keeps the first one's choice.
    let _ = match args.log_format {
        LogFormat::Plain => registry.with(to_stderr.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(to_stderr.json().flatten_event(true)).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "a bug: {}", panic.payload_as_str().unwrap_or("panic"));
    }));
    Ok(())
}
