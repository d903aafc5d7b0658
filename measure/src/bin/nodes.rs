//! `nodes`: measures an aggregator of many simulated probes.
//!
//! `cargo xtask bench nodes` builds what it needs and runs it.

use clap::Parser;
use lab_tests::program;
use measure::nodes;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measure `probe aggregate` with many simulated probes; exit code 1 if it loses or invents a count
#[derive(Debug, Parser)]
struct Args {
    /// Numbers of probes and shards, each up to 1,024, at most 64 shards a probe
    #[arg(long, value_name = "PROBES:SHARDS,…", value_delimiter = ',', value_parser = nodes::size, default_value = "10:64,100:64,1000:64,1000:1024")]
    rows: Vec<(u32, u32)>,
    /// Length of each row
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(2..=3_600))]
    seconds: u64,
    /// The probe's program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
}

fn main() -> ExitCode {
    lab::command::raise_open_files();
    program::end("nodes", run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let beside = std::env::current_exe()?.with_file_name("probe");
    let report = nodes::run(args.probe.as_ref().unwrap_or(&beside), &args.rows, args.seconds)?;
    print!("{}", report.text);
    report.wrong.iter().for_each(|what| println!("WRONG: {what}"));
    Ok(report.wrong.is_empty())
}
