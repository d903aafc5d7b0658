//! `accuracy`: runs the accuracy suite and shows its table. `cargo xtask accuracy` builds what it needs and runs it.

use clap::Parser;
use lab_tests::program;
use measure::accuracy::case::Size;
use measure::accuracy::suite::{self, Options};
use std::path::PathBuf;
use std::process::ExitCode;

/// The probe's counts against the truth: exit code 0 if every line is exact or explained by its row's rule
#[derive(Debug, Parser)]
struct Args {
    /// Smaller numbers: over within 40 s
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The storm too: 1,000,000 requests through a bad network, some 15 minutes
    #[arg(long)]
    full: bool,
    /// Run only the rows whose name contains this
    #[arg(long, value_name = "NAME")]
    row: Option<String>,
    /// Write all results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The probe's program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
}

fn main() -> ExitCode {
    program::end("accuracy", run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let beside = std::env::current_exe()?.with_file_name("probe");
    let size = match (args.quick, args.full) {
        (true, _) => Size::Quick,
        (false, true) => Size::Full,
        (false, false) => Size::Usual,
    };
    let options = Options { size, row: args.row.as_deref(), probe: args.probe.as_deref().unwrap_or(&beside) };
    let report = suite::run(&options, |row, seconds| eprintln!("  {row} ({seconds:.1} s)"))?;
    if let Some(path) = &args.markdown {
        program::write(path, &report.markdown(&command(args)))?;
    }
    if let Some(path) = &args.json {
        program::write(path, &format!("{:#}\n", report.json()))?;
    }
    print!("{}", report.text());
    Ok(report.passes())
}

/// The command line that repeats the run.
fn command(args: &Args) -> String {
    let mut command = "cargo xtask accuracy".to_owned();
    if args.quick {
        command += " --quick";
    }
    if args.full {
        command += " --full";
    }
    if let Some(row) = &args.row {
        command += &format!(" --row {row:?}");
    }
    command
}
