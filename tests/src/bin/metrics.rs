//! `metrics`: generates docs/metrics.md for `cargo xtask metrics`.

use clap::Parser;
use lab_tests::{catalogue, program};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Every metric of the lab, as Markdown
#[derive(Debug, Parser)]
struct Args {
    /// Write docs/metrics.md instead of printing
    #[arg(long)]
    write: bool,
    /// The repository
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
}

fn main() -> ExitCode {
    program::end("metrics", run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let text = catalogue::markdown(&args.root)?;
    if args.write {
        let file: &Path = &args.root.join(catalogue::FILE);
        program::write(file, &text)?;
        println!("{} is written.", catalogue::FILE);
    } else {
        print!("{text}");
    }
    Ok(true)
}
