//! `gateway_cost`: measures the cost of tracing or of the detector.
//!
//! `cargo xtask bench traces` and `bench detector` build what they need and run it.

use clap::Parser;
use lab_tests::program;
use measure::gateway_cost::{self, Options, Part};
use std::path::Path;
use std::process::ExitCode;

/// Measure the gateway's throughput with and without one of its parts; exit code 1 if this fails
#[derive(Debug, Parser)]
struct Args {
    /// The part to measure
    part: Part,
    /// Pairs of runs for each row
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pairs: u32,
    /// Requests of each lab in a pair, in four slices
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(4_000..=100_000_000))]
    requests: u64,
}

fn main() -> ExitCode {
    program::end("gateway_cost", run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let programs = std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default();
    let options = Options { part: args.part, programs, pairs: args.pairs, requests: args.requests };
    print!("{}", gateway_cost::run(&options, |what| eprintln!("  {what}"))?);
    Ok(true)
}
