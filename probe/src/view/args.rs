//! Defines the options of `probe reconcile` and `probe top`.

use std::path::PathBuf;
use std::time::Duration;

/// Options that select the probe to show.
#[derive(Clone, Debug, clap::Args)]
pub struct OriginArgs {
    /// URL of a running probe [default: http://127.0.0.1:9010, if it watches the shards of SHARD_URLS]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The shards, as for `probe run`; without a running probe, this command attaches to them itself until it ends
    #[arg(long, env = "SHARD_URLS", value_name = "URLS")]
    pub shard_urls: Option<String>,
    /// The gateway, as for `probe run`; a running probe has its own setting
    #[arg(long, env = "GATEWAY_URL", value_name = "URL")]
    pub gateway_url: Option<String>,
    /// The cgroup whose sockets are watched, as for `probe run` [default: the root, found in the mount table]
    #[arg(long, env = "CGROUP", value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
}

/// The options of `probe reconcile`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReconcileArgs {
    /// The probe to read
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print one table; exit code 0 if all shards agree, 1 if one differs or has no verdict
    #[arg(long)]
    pub once: bool,
    /// Print JSON, one object a line, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Seconds to wait for a first verdict
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub wait: u64,
    /// Seconds between two tables, without --once
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub interval: Duration,
}

/// The options of `probe top`.
#[derive(Clone, Debug, clap::Args)]
pub struct TopArgs {
    /// The probe to read
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print one frame as plain text; the default without a terminal
    #[arg(long)]
    pub once: bool,
    /// Seconds between two readings; rates and quantiles are computed over this interval
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    pub interval: Duration,
}

/// Parses a number of seconds from 0.1 to 3,600.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "allowed: seconds from 0.1 to 3600".to_owned())?;
    if !(0.1..=3_600.0).contains(&seconds) {
        return Err("allowed: seconds from 0.1 to 3600".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}
