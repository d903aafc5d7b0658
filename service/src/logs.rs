//! Writes log lines to standard error, plain or as JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{LogFormat, ProcessArgs, SettingError};
use crate::traces::events::SpanEvents;

/// Libraries whose warnings repeat what the program itself logs, without a limit. `LOG_LEVEL` can name them.
const QUIET: [&str; 2] = ["kube_client=off", "kube_runtime=off"];

/// Installs the process's logger and a panic hook that logs one line. Only a `main` calls this.
///
/// # Errors
/// Returns an error when the filter is invalid.
pub fn init(args: &ProcessArgs) -> Result<(), SettingError> {
    let filter = filter(&args.log_level)?;
    let registry = tracing_subscriber::registry().with(filter).with(SpanEvents);
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second logger in one process (two labs in one test binary) keeps the format of the first one.
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

/// Parses the filter strictly: `EnvFilter` alone accepts any word as a target and would then log nothing.
fn filter(text: &str) -> Result<EnvFilter, SettingError> {
    let refused = || {
        let allowed = "allowed: error, warn, info, debug, trace, off, or target=level, separated by commas";
        SettingError::new("LOG_LEVEL", text, allowed)
    };
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part).trim();
        // `EnvFilter` treats an empty text as `error`.
        if level.is_empty() {
            return Err(refused());
        }
        level.parse::<LevelFilter>().map_err(|_| refused())?;
    }
    // A later directive of the same target counts.
    let directives = QUIET.into_iter().chain([text]).collect::<Vec<_>>().join(",");
    EnvFilter::builder().parse(directives).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noisy_libraries_are_quiet_unless_they_are_named() {
        let shown = |text: &str| filter(text).unwrap().to_string();
        assert!(shown("info").contains("kube_runtime=off"));
        assert!(shown("info,kube_runtime=debug").contains("kube_runtime=debug"));
    }

    #[test]
    fn a_filter_is_levels_with_or_without_targets() {
        for good in ["info", "off", "warn,gateway=debug", "gateway::cache=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", "no such", "loud", "info,gateway", "gateway=loud"] {
            let refused = filter(bad).unwrap_err();
            assert_eq!((refused.name, refused.value.as_str()), ("LOG_LEVEL", bad));
        }
    }
}
