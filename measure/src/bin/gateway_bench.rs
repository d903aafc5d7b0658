//! `gateway_bench`: measures the gateway beside nginx, HAProxy and Varnish.
//!
//! `cargo xtask bench gateway` builds what it needs and runs it.

use clap::{Parser, ValueEnum as _};
use lab::signals;
use lab_tests::program;
use measure::gateway_bench::{self, Options, Peers, Row};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measure the gateway beside nginx, HAProxy and Varnish in one run; exit code 1 if a request fails
#[derive(Debug, Parser)]
struct Args {
    /// Print the rows and their descriptions
    #[arg(long)]
    list: bool,
    /// Only these rows, separated by commas
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    rows: Vec<Row>,
    /// Measure gateway and probe, as shards, keys and connections grow
    #[arg(long, conflicts_with = "rows")]
    growth: bool,
    /// Count the gateway's instructions with key statistics and without, by callgrind
    #[arg(long, conflicts_with_all = ["rows", "growth", "pairs", "slice"])]
    instructions: bool,
    /// Compare with the gateway of cargo's profile `release`, not with other servers
    #[arg(long, conflicts_with_all = ["growth", "instructions"])]
    release: bool,
    /// Rounds of each row
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pairs: u32,
    /// Seconds of a slice
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    slice: u32,
    /// Seed of keys and order
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// The folder of `gateway` and `shard` [default: this program's]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Write a page and its plots into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    program::end("gateway_bench", run(Args::parse()))
}

fn run(args: Args) -> anyhow::Result<bool> {
    if args.list {
        for row in Row::value_variants() {
            println!("{:<16} {}", row.name(), row.about());
        }
        return Ok(true);
    }
    // Without it, a signal would leave the servers running.
    signals::install();
    lab::command::raise_open_files();
    let beside = || Ok(std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default());
    let options = Options {
        programs: args.programs.map_or_else(beside, anyhow::Ok)?,
        peers: if args.release { Peers::Release } else { Peers::Servers },
        rows: if args.rows.is_empty() { Row::value_variants().to_vec() } else { args.rows },
        pairs: args.pairs,
        slice_seconds: args.slice,
        open_loop_seconds: f64::from(args.slice),
        warm_up: 5_000 * args.slice,
        seed: args.seed,
    };
    let progress = |what: &str| eprintln!("  {what}");
    let (text, files) = if args.instructions {
        let file = gateway_bench::instructions(&options, progress)?;
        (file.content.clone(), vec![file])
    } else if args.growth {
        let report = gateway_bench::growth(&options, progress)?;
        (report.text(), report.files())
    } else {
        let report = gateway_bench::run(&options, progress)?;
        (report.text(), report.files())
    };
    print!("{text}");
    for file in files {
        if let Some(folder) = &args.write {
            program::write(&folder.join(file.name), &file.content)?;
        }
    }
    Ok(true)
}
