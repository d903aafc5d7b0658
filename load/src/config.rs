//! Defines the command line of the load generator.

use clap::{Args as ClapArgs, Parser, Subcommand};
use protocol::shard_urls::{ShardUrl, ShardUrls};
use service::args::ProcessArgs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
#[cfg(feature = "stores")]
use store::urls::StoreUrls;

use crate::keys::Distribution;
use crate::scenario::Scenario;

/// The load generator of the Hot Partition Lab
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a scenario at its rates (open loop)
    Run(RunArgs),
    /// Send one stream of reads at a constant rate (open loop)
    Stream(StreamArgs),
    /// Send a number of requests as fast as they are answered (closed loop)
    Saturate(SaturateArgs),
    /// Serve the live page's scenario starter: one scenario at a time
    Serve(ServeArgs),
}

/// The target of the load.
#[derive(Clone, Debug, ClapArgs)]
pub struct TargetArgs {
    /// The gateway
    #[arg(long, env = "GATEWAY", default_value = "http://127.0.0.1:8000", value_name = "URL", value_parser = one_url)]
    pub gateway: ShardUrl,
}

/// The destination of the report.
#[derive(Clone, Debug, ClapArgs)]
pub struct OutputArgs {
    /// Write the report as JSON to FILE, or to standard output for `-`, instead of a summary; a refused run
    /// (exit code 3) writes its reason there
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Add all latencies by stream and shard to the JSON, as [[milliseconds, count], …]
    #[arg(long, requires = "json")]
    pub histograms: bool,
    /// Print the progress on standard error once a second
    #[arg(long)]
    pub progress: bool,
}

/// The options of a scenario run.
#[derive(Clone, Debug, ClapArgs)]
pub struct RunArgs {
    /// Which scenario
    pub scenario: Scenario,
    /// Target
    #[command(flatten)]
    pub target: TargetArgs,
    /// A Redis or Valkey store in place of the gateway, redis://host:port; its keys are written first
    #[cfg(feature = "stores")]
    #[arg(long, value_name = "URLS", value_parser = StoreUrls::parse, conflicts_with = "gateway")]
    pub store: Option<StoreUrls>,
    /// Seconds of load
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS", value_parser = duration)]
    pub duration: f64,
    /// Multiplies the scenario's rates and its limits of requests in flight
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = rate_factor)]
    pub rate_factor: f64,
    /// Seed of the sequence of keys and of the moment of each request in its interval
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Report
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The options of a custom stream.
#[derive(Clone, Debug, ClapArgs)]
pub struct StreamArgs {
    /// Target
    #[command(flatten)]
    pub target: TargetArgs,
    /// A Redis or Valkey store in place of the gateway, redis://host:port; its keys are written first
    #[cfg(feature = "stores")]
    #[arg(long, value_name = "URLS", value_parser = StoreUrls::parse, conflicts_with = "gateway")]
    pub store: Option<StoreUrls>,
    /// Requests a second
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    pub rate: f64,
    /// Seconds of load
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = duration)]
    pub duration: f64,
    /// Largest number of requests in flight; a run that exceeds it is refused
    #[arg(long, default_value = "1000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub in_flight: u32,
    /// Keys `user-0`, `user-1`, …
    #[arg(long, default_value = "1000", value_name = "COUNT", value_parser = key_count)]
    pub keys: NonZeroUsize,
    /// How the keys are drawn: `uniform`, `in-turn` or `zipf:EXPONENT`
    #[arg(long, default_value = "uniform", value_name = "LAW")]
    pub distribution: Distribution,
    /// Seed of the sequence of keys and of the moment of each request in its interval
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Report
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The options of a closed-loop run.
#[derive(Clone, Debug, ClapArgs)]
pub struct SaturateArgs {
    /// Target
    #[command(flatten)]
    pub target: TargetArgs,
    /// The shards in order of id; the generator then places the keys and bypasses the gateway
    #[arg(long, value_name = "URLS", value_parser = ShardUrls::parse)]
    pub shard_urls: Option<ShardUrls>,
    /// Connections with one request at a time each; with --shard-urls, this number to every shard
    #[arg(long, default_value = "64", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Total number of requests
    #[arg(long, default_value = "1000000", value_name = "COUNT")]
    pub requests: NonZeroU64,
    /// Keys `user-0`, `user-1`, …
    #[arg(long, default_value = "20000", value_name = "COUNT", value_parser = key_count)]
    pub keys: NonZeroUsize,
    /// How the keys are drawn: `uniform`, `in-turn` or `zipf:EXPONENT`
    #[arg(long, default_value = "uniform", value_name = "LAW")]
    pub distribution: Distribution,
    /// Seed of the sequence of keys
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Report
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The settings of the scenario starter.
#[derive(Clone, Debug, ClapArgs)]
pub struct ServeArgs {
    /// Port to listen on; 0 takes any free one
    #[arg(long, env = "PORT", default_value_t = 9011, value_name = "PORT")]
    pub port: u16,
    /// Target
    #[command(flatten)]
    pub target: TargetArgs,
    /// Origins whose web pages may start and stop scenarios, scheme://host[:port] separated by commas [default: none]
    #[arg(
        long,
        env = "ADMIN_ORIGINS",
        default_value = "",
        hide_default_value = true,
        value_name = "ORIGINS"
    )]
    pub admin_origins: String,
    /// The settings of all processes
    #[command(flatten)]
    pub process: ProcessArgs,
}

fn one_url(text: &str) -> Result<ShardUrl, String> {
    let urls = ShardUrls::parse(text).map_err(|err| err.to_string())?;
    urls.only().ok_or_else(|| "give one URL, http://host:port".into())
}

fn number_in(text: &str, from: f64, to: f64, unit: &str) -> Result<f64, String> {
    let allowed = || format!("allowed: {from} to {to}{unit}");
    let number: f64 = text.parse().map_err(|_| allowed())?;
    if (from..=to).contains(&number) { Ok(number) } else { Err(allowed()) }
}

fn duration(text: &str) -> Result<f64, String> {
    number_in(text, 1.0, 86_400.0, " seconds")
}

fn rate_factor(text: &str) -> Result<f64, String> {
    number_in(text, 0.01, 1_000.0, "")
}

fn rate(text: &str) -> Result<f64, String> {
    number_in(text, 0.01, 1_000_000.0, " requests a second")
}

fn key_count(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse::<NonZeroUsize>().ok().filter(|count| count.get() <= 1_000_000);
    count.ok_or_else(|| "allowed: 1 to 1000000".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &[&str]) -> String {
        let all = [&["load"], args].concat();
        service::args::one_line(&Args::try_parse_from(all).unwrap_err())
    }

    #[test]
    fn bad_options_are_one_line_with_what_is_allowed() {
        for (args, expected) in [
            (
                &["run", "nonsense"][..],
                "uniform, zipfian, celebrity, with-caching, moving-celebrity, two-celebrities, flash-crowd, scan, write-hot, celebrity-404",
            ),
            (&["run", "uniform", "--duration", "0"], "allowed: 1 to 86400 seconds"),
            (&["run", "uniform", "--duration", "nan"], "allowed: 1 to 86400 seconds"),
            (&["run", "uniform", "--rate-factor", "0"], "allowed: 0.01 to 1000"),
            (&["stream", "--rate", "0"], "allowed: 0.01 to 1000000 requests a second"),
            (&["run", "uniform", "--gateway", "https://x"], "is not http://host:port"),
            (&["run", "uniform", "--gateway", "http://a,http://b"], "give one URL"),
            (&["saturate", "--distribution", "normal"], "`uniform`, `in-turn` or `zipf:EXPONENT`"),
            (&["saturate", "--distribution", "zipf:-1"], "`uniform`, `in-turn` or `zipf:EXPONENT`"),
            (&["saturate", "--connections", "0"], "0 is not in 1..=10000"),
            (&["saturate", "--keys", "0"], "allowed: 1 to 1000000"),
        ] {
            let line = refused(args);
            assert!(line.contains(expected) && !line.contains('\n'), "{args:?}: {line}");
        }
    }

    #[test]
    fn help_names_every_distribution_that_is_taken() {
        let mut command = <Args as clap::CommandFactory>::command();
        let help = command.find_subcommand_mut("saturate").unwrap().render_help().to_string();
        // The help is wrapped at the width of the terminal.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("`uniform`, `in-turn` or `zipf:EXPONENT`"), "{help}");
    }

    #[test]
    fn the_defaults_are_those_of_the_scenarios() {
        let args = Args::try_parse_from(["load", "run", "with-caching"]).unwrap();
        let Command::Run(run) = args.command else { panic!("not a run") };
        assert_eq!((run.duration, run.rate_factor, run.seed), (120.0, 1.0, 1));
        assert_eq!(run.target.gateway.to_string(), "http://127.0.0.1:8000");
    }
}
