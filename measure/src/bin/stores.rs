//! `stores`: compares the counts of `probe watch` with those of a real store.
//!
//! `cargo xtask bench stores` builds what it needs and runs it.

use clap::Parser;
use lab_tests::program;
use measure::stores::suite::{self, Options};
use std::path::PathBuf;
use std::process::ExitCode;

/// The counts of `probe watch` against those of a real store: exit code 0 if every line is exact or explained. The
/// programs `redis-server` and `redis-cli` are the first ones in PATH
#[derive(Debug, Parser)]
struct Args {
    /// All rows, with the numbers that are kept: some 20 minutes
    #[arg(long)]
    full: bool,
    /// Run only the rows whose name contains this
    #[arg(long, value_name = "NAME")]
    row: Option<String>,
    /// Write all results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The probe's program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
}

fn main() -> ExitCode {
    lab::command::raise_open_files();
    program::end("stores", run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let beside = std::env::current_exe()?.with_file_name("probe");
    let clients = beside.ancestors().nth(2).unwrap_or(&beside).join("clients");
    let options = Options {
        full: args.full,
        row: args.row.as_deref(),
        probe: args.probe.as_deref().unwrap_or(&beside),
        clients: &clients,
    };
    let report = suite::run(&options, |row, seconds| eprintln!("  {row} ({seconds:.1} s)"))?;
    if let Some(path) = &args.json {
        program::write(path, &format!("{:#}\n", report.json()))?;
    }
    print!("{}", report.text());
    Ok(report.passes())
}
