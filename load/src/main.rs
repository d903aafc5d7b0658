//! Runs the `load` process: arguments, one run, its report, exit code.

use load::config::{Args, Command};
use load::error::RunError;
use load::{run, saturate, serve, summary};
use service::process;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a run with meaningless figures.
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let args: Args = match process::arguments() {
        Ok(args) => args,
        Err(code) => return code,
    };
    if let Command::Serve(args) = args.command {
        return process::run(&args.process.clone(), || serve::start(args));
    }
    execute(args.command).unwrap_or_else(|err| {
        process::complain(&err.to_string());
        if matches!(err, RunError::Refused(_)) { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
    })
}

fn execute(command: Command) -> Result<ExitCode, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|source| RunError::Io { what: "the runtime cannot be started".into(), source })?;
    let (ended, output) = match command {
        Command::Run(args) => (runtime.block_on(run::run(&args)), args.output),
        Command::Stream(args) => (runtime.block_on(run::stream(&args)), args.output),
        Command::Saturate(args) => (runtime.block_on(saturate::run(&args)), args.output),
        Command::Serve(_) => return Ok(ExitCode::SUCCESS),
    };
    if let (Err(RunError::Refused(refusal)), Some(path)) = (&ended, &output.json) {
        summary::write_refusal(refusal, path)?;
    }
    let report = ended?;
    summary::publish(&report, &output)?;
    match summary::broken_thresholds(&report) {
        Some(broken) => {
            process::complain(&broken);
            Ok(ExitCode::FAILURE)
        }
        None => Ok(ExitCode::SUCCESS),
    }
}
