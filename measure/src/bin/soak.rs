//! `soak`: runs mixed load with random faults, and watches what the processes hold.
//!
//! `cargo xtask soak` builds what it needs and runs it.

use clap::Parser;
use lab_tests::{build, program};
use measure::soak::{self, Plan};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Mixed load with seeded random faults: exit code 1 if something grows, or kernel and application do not agree
#[derive(Debug, Parser)]
struct Args {
    /// Length of the run; growth is judged after the first 15 minutes or, in a short run, its first quarter
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    minutes: u32,
    /// Determines scenarios, mitigations, faults and their times
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write the page and its plots into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    program::end("soak", run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    lab::command::raise_open_files();
    build::take_from(std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let plan = Plan { minutes: args.minutes, seed: args.seed };
    let report = runtime.block_on(soak::run(plan, |what| eprintln!("  {what}")))?;
    print!("{}", report.text());
    if let Some(folder) = &args.write {
        for file in report.files() {
            program::write(&folder.join(file.name), &file.content)?;
        }
    }
    Ok(report.passes())
}
