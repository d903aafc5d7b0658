//! `key_candidates`: compares ways to count keys in the kernel. `cargo xtask bench keys` builds what it needs and runs it.

use clap::Parser;
use lab_tests::candidates::{self, Options, report};
use lab_tests::program;
use std::path::PathBuf;
use std::process::ExitCode;

/// Which way to count keys in the kernel finds the hot ones, how well, and at what cost?
#[derive(Debug, Parser)]
struct Args {
    /// The object with the candidates: `key-candidates`, built by `cargo xtask bench keys`
    #[arg(long, value_name = "FILE")]
    object: PathBuf,
    /// Draws a stream
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    draws: u64,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    program::end("key_candidates", run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let options = Options { object: &args.object, keys: 1_000_000, draws: args.draws, seed: 39 };
    let outcome = candidates::run(&options, |next| eprintln!("  {next}"))?;
    let text = report::markdown(&outcome, &options);
    print!("{text}");
    if let Some(file) = &args.markdown {
        program::write(file, &text)?;
    }
    Ok(true)
}
