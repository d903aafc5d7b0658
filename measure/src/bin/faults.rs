//! `faults`: breaks the running lab in many ways, and counts what a client notices.
//!
//! `cargo xtask faults` builds what it needs and runs it.

use clap::{CommandFactory as _, Parser, ValueEnum as _, error::ErrorKind};
use lab_tests::{build, program};
use measure::faults::{self, Fault, Plan};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Break the running lab in many ways under load: exit code 0 if nothing is lost, wrong or miscounted
#[derive(Debug, Parser)]
struct Args {
    /// Print the faults and their descriptions
    #[arg(long)]
    list: bool,
    /// A few faults, once each, without a judgement of times
    #[arg(long)]
    quick: bool,
    /// Only this fault; can be repeated
    #[arg(long, value_name = "NAME")]
    row: Vec<Fault>,
    /// Write the table as a page into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.quick && args.write.is_some() {
        let why = "--quick measures too little for a page: leave out --quick or --write";
        Args::command().error(ErrorKind::ArgumentConflict, why).exit();
    }
    program::end("faults", run(&args))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    if args.list {
        for fault in Fault::value_variants() {
            println!("{:<20} {}", fault.name(), fault.about());
        }
        return Ok(true);
    }
    lab::command::raise_open_files();
    // Without the right to it, only the row that needs it fails.
    let _hosts = faults::hosts_of_our_own();
    build::take_from(std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default());
    let all = || if args.quick { Plan::QUICK.to_vec() } else { Fault::value_variants().to_vec() };
    let chosen = if args.row.is_empty() { all() } else { args.row.clone() };
    let plan = Plan { faults: chosen, quick: args.quick };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(faults::run(&plan, |what| eprintln!("  {what}")))?;
    print!("{}", report.text());
    if let Some(folder) = &args.write {
        let (name, page) = report.page();
        program::write(&folder.join(name), &page)?;
    }
    Ok(report.passes())
}
