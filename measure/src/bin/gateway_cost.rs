//! `gateway_cost`: what tracing or the detector costs. `cargo xtask bench traces` and `bench detector` build what it needs and run it.

use clap::Parser;
use lab_tests::program;
use measure::gateway_cost::{self, Options, Part};
use std::path::Path;
use std::process::ExitCode;

/// Throughput of the gateway with and without one of its parts. Exit code 1 if it could not be measured
#[derive(Debug, Parser)]
struct Args {
    /// Which part
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
