//! `objects`: compares kernel objects in alternating runs.
//!
//! `cargo xtask bench objects` builds what it needs and runs it.

use clap::{CommandFactory as _, Parser, error::ErrorKind};
use lab::signals;
use lab_tests::program;
use measure::objects::{self, Object, Options};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Compare kernel objects in alternating runs: ns a request; exit code 1 if one does not count every request
#[derive(Debug, Parser)]
struct Args {
    /// A name, and a kernel object's path or commit; at least two, the first is the reference
    #[arg(long = "object", value_name = "NAME=OBJECT", required = true, value_parser = pair)]
    objects: Vec<(String, String)>,
    /// Where `cargo xtask` has built the object of a commit
    #[arg(long, value_name = "COMMIT=PATH", hide = true, value_parser = pair)]
    built: Vec<(String, String)>,
    /// Rounds, each with one run of every object
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Keys, drawn uniformly
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keys: u32,
    /// Measured requests of a run
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    requests: u32,
    /// Clients, with one request in flight each
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,
    /// Seed of keys and order
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write a page into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("allowed: NAME=OBJECT, for example before=HEAD~1".to_owned()),
    }
}

impl Args {
    /// Returns the objects with their files, or why that is not possible.
    fn objects(&self) -> Result<Vec<Object>, String> {
        if self.objects.len() < 2 {
            return Err("one object is no comparison: give --object at least twice".to_owned());
        }
        let mut objects: Vec<Object> = Vec::new();
        for (name, source) in &self.objects {
            if objects.iter().any(|other| other.name == *name) {
                return Err(format!("two objects are named \"{name}\": give each its own name"));
            }
            let built = self.built.iter().find(|(commit, _)| commit == source);
            let path = PathBuf::from(built.map_or(source, |(_, path)| path));
            if !path.is_file() {
                return Err(format!(
                    "\"{source}\" is no file and no commit: give the path of a kernel object, or a commit to `cargo xtask`"
                ));
            }
            objects.push(Object { name: name.clone(), source: source.clone(), path });
        }
        Ok(objects)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.objects() {
        Ok(objects) => program::end("objects", run(&args, objects)),
        Err(why) => Args::command().error(ErrorKind::ValueValidation, why).exit(),
    }
}

fn run(args: &Args, objects: Vec<Object>) -> anyhow::Result<bool> {
    // Without it, a signal would leave the shard running.
    signals::install();
    let options = Options {
        programs: std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default(),
        objects,
        rounds: args.rounds,
        keys: args.keys,
        requests: args.requests,
        clients: args.clients,
        seed: args.seed,
    };
    let report = objects::run(&options, |what| eprintln!("  {what}"))?;
    print!("{}", report.text());
    if let Some(folder) = &args.write {
        let (name, page) = report.page();
        program::write(&folder.join(name), &page)?;
    }
    Ok(true)
}
