//! Defines the settings all processes share, and one-line settings errors.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::net::{AddrParseError, IpAddr};
use std::num::{IntErrorKind, NonZeroUsize, ParseFloatError, ParseIntError};
use std::time::Duration;

use crate::limits;

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Plain text.
    Plain,
    /// One JSON object a line.
    Json,
}

/// The options and variables of every process.
#[derive(Clone, Debug, clap::Args)]
pub struct ProcessArgs {
    /// Address to listen on
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1", value_name = "IP")]
    pub bind_address: IpAddr,
    /// Runtimes that serve requests, one thread each [default: one a core]
    #[arg(long, env = "WORKERS", value_name = "COUNT")]
    pub workers: Option<NonZeroUsize>,
    /// Grace period in seconds for requests in flight after a stop signal
    #[arg(long, env = "DRAIN_TIMEOUT_SECONDS", default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub drain_timeout_seconds: u64,
    /// Memory limit in bytes, from which limits of connections and stored data follow [default: that of the control group]
    #[arg(long, env = "MEMORY_MAX_BYTES", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub memory_max_bytes: Option<u64>,
    /// Format of log lines
    #[arg(long, env = "LOG_FORMAT", default_value = "plain", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Log level: error, warn, info, debug, trace, or a filter such as `info,gateway=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
    /// Request this URL once instead of serving; exit code 0 for a 2xx answer, else 1. For the health checks
    /// of containers
    #[arg(long, value_name = "URL")]
    pub healthcheck: Option<String>,
}

impl ProcessArgs {
    /// Number of runtimes to start: the option, else one a core.
    #[must_use]
    pub fn workers(&self) -> NonZeroUsize {
        self.workers.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// The memory limit: the option, else that of the control group.
    #[must_use]
    pub fn memory_limit(&self) -> Option<u64> {
        self.memory_max_bytes.or_else(limits::cgroup_memory_max)
    }

    /// The grace period of a drain.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_secs(self.drain_timeout_seconds)
    }
}

/// An invalid setting: the variable, its value, and the allowed values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?} cannot be used: {allowed}")]
pub struct SettingError {
    /// The environment variable; the option is the same name in kebab case.
    pub name: &'static str,
    /// The value as given.
    pub value: String,
    /// The problem and the allowed values.
    pub allowed: String,
}

impl SettingError {
    /// Creates an error for a variable and its value, with the allowed values.
    pub fn new(name: &'static str, value: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { name, value: value.into(), allowed: allowed.into() }
    }
}

/// Whether clap stopped parsing to show the help or the version. These go to standard output with exit code 0.
pub(crate) fn is_information(err: &clap::Error) -> bool {
    matches!(err.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// Formats a clap error as one line with option and variable, value, and allowed values.
#[must_use]
pub fn one_line(err: &clap::Error) -> String {
    let text = |kind| match err.get(kind) {
        Some(ContextValue::String(s)) => Some(s.clone()),
        Some(ContextValue::Strings(list)) => Some(list.join(", ")),
        _ => None,
    };
    let arg = text(ContextKind::InvalidArg).map(|arg| with_variable(&arg));
    let allowed = text(ContextKind::ValidValue).filter(|list| !list.is_empty());
    match (err.kind(), arg, text(ContextKind::InvalidValue)) {
        (ErrorKind::InvalidValue, Some(arg), Some(value)) if value.is_empty() => {
            format!("{arg} needs a value{}", allowed.map(|a| format!("; allowed: {a}")).unwrap_or_default())
        }
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(arg), Some(value)) => {
            let why = std::error::Error::source(err).map(allowed_values);
            let allowed = allowed.map(|a| format!("allowed: {a}")).or(why).unwrap_or_default();
            format!("{arg}={value:?} cannot be used: {allowed}")
        }
        (ErrorKind::MissingRequiredArgument, Some(arg), _) => format!("{arg} is required; see --help"),
        (ErrorKind::UnknownArgument, Some(arg), _) => format!("unknown option {arg}; see --help"),
        _ => {
            let rendered = err.to_string();
            let first = rendered.lines().next().unwrap_or_default().trim_start_matches("error: ");
            format!("{first}; see --help")
        }
    }
}

/// Returns the allowed values for an error of a standard parser. The error text of our own parsers includes them
/// already.
fn allowed_values(err: &(dyn std::error::Error + 'static)) -> String {
    let allowed = if let Some(err) = err.downcast_ref::<ParseIntError>() {
        match err.kind() {
            IntErrorKind::PosOverflow => "a smaller number",
            IntErrorKind::NegOverflow => "a larger number",
            IntErrorKind::Zero => "1 or more",
            _ => "a whole number in decimal digits, without unit",
        }
    } else if err.is::<ParseFloatError>() {
        "a number such as 5 or 0.5, without unit"
    } else if err.is::<AddrParseError>() {
        "an IP address such as 127.0.0.1 or ::1"
    } else {
        return err.to_string();
    };
    format!("allowed: {allowed}")
}

/// Formats `--shard-urls <URLS>` as `SHARD_URLS (--shard-urls)`.
fn with_variable(arg: &str) -> String {
    match arg.split_whitespace().next().and_then(|word| word.strip_prefix("--")) {
        Some(option) => format!("{} (--{option})", option.to_ascii_uppercase().replace('-', "_")),
        None => arg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Args {
        #[arg(long)]
        shard_id: u32,
        #[command(flatten)]
        process: ProcessArgs,
    }

    fn line(args: &[&str]) -> String {
        let all = [&["test"], args].concat();
        one_line(&Args::try_parse_from(all).unwrap_err())
    }

    #[test]
    fn every_bad_setting_is_one_line_with_variable_value_and_what_is_allowed() {
        assert_eq!(line(&[]), "SHARD_ID (--shard-id) is required; see --help");
        assert_eq!(
            line(&["--shard-id", "x"]),
            "SHARD_ID (--shard-id)=\"x\" cannot be used: allowed: a whole number in decimal digits, without unit"
        );
        for (args, allowed) in [
            (["--workers", "0"], "1 or more"),
            (["--workers", "99999999999999999999"], "a smaller number"),
            (["--bind-address", "localhost"], "an IP address such as 127.0.0.1 or ::1"),
        ] {
            let refused = line(&[&["--shard-id", "1"][..], &args].concat());
            assert!(refused.ends_with(&format!("cannot be used: allowed: {allowed}")), "{refused}");
        }
        assert_eq!(
            line(&["--shard-id", "1", "--drain-timeout-seconds", "9999"]),
            "DRAIN_TIMEOUT_SECONDS (--drain-timeout-seconds)=\"9999\" cannot be used: 9999 is not in 0..=3600"
        );
        assert_eq!(
            line(&["--shard-id", "1", "--log-format", "xml"]),
            "LOG_FORMAT (--log-format)=\"xml\" cannot be used: allowed: plain, json"
        );
        assert_eq!(
            line(&["--no-such"]),
            "unknown option --no-such; see --help".replace("--no-such", "NO_SUCH (--no-such)")
        );
        for args in [&["--shard-id", "1", "--workers", "0"][..], &["--shard-id"], &["more"]] {
            assert!(!line(args).contains('\n') && !line(args).is_empty());
        }
    }
}
