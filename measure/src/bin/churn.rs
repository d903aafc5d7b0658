//! `churn`: opens and closes connections under a probe.
//!
//! `cargo xtask bench churn` builds what it needs and runs it.

use clap::Parser;
use lab_tests::program;
use measure::churn;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check that the probe counts a long day's connections exactly and does not grow; exit code 0 if so, 1 if not
#[derive(Debug, Parser)]
struct Args {
    /// Number of connections to open and close
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    connections: u64,
    /// Write all results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The probe's program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
}

fn main() -> ExitCode {
    program::end("churn", run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let beside = std::env::current_exe()?.with_file_name("probe");
    println!("    ended    opened    closed  open  probe KiB  maps KiB  seconds");
    let outcome = churn::run(args.probe.as_ref().unwrap_or(&beside), args.connections, |moment| {
        println!(
            "{:>9} {:>9} {:>9} {:>5} {:>10} {:>9} {:>8.1}",
            moment.ended,
            moment.opened,
            moment.closed,
            moment.open,
            moment.resident_bytes >> 10,
            moment.map_bytes >> 10,
            moment.seconds
        );
    })?;
    if let Some(file) = &args.json {
        program::write(file, &serde_json::to_string_pretty(&outcome)?)?;
    }
    if outcome.broken.is_empty() {
        println!(
            "All {} connections were counted, opened and closed; probe and maps stayed as they were.",
            args.connections
        );
    }
    for what in &outcome.broken {
        println!("BROKEN: {what}");
    }
    Ok(outcome.broken.is_empty())
}
