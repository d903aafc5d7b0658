//! `cost`: measures the probe's cost.
//!
//! `cargo xtask bench cost` builds what it needs and runs it.

use clap::Parser;
use lab_tests::program;
use measure::cost::{self, Options};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measure nanoseconds of the probe's programs, and throughput with and without it; exit code 1 if this fails
#[derive(Debug, Parser)]
struct Args {
    /// Pairs of runs for each watcher
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pairs: u32,
    /// Requests with each watcher, and as many without, in each pair
    #[arg(long, value_name = "N", default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    requests: u64,
    /// Seed of the order of runs
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write all results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the whole experiment as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    program::end("cost", run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let programs = std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default();
    let options = Options { programs, pairs: args.pairs, requests: args.requests, seed: args.seed };
    let report = cost::run(&options, |what| eprintln!("  {what}"))?;
    if let Some(path) = &args.markdown {
        program::write(path, &report.markdown())?;
    }
    if let Some(path) = &args.json {
        program::write(path, &format!("{:#}\n", report.json()))?;
    }
    print!("{}", report.text());
    Ok(true)
}
