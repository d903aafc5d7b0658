//! The `load` process: arguments, one run, its report, exit code.

use load::config::{Args, Command};
use load::report::Report;
use load::{run, saturate};
use service::process;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = match process::arguments() {
        Ok(args) => args,
        Err(code) => return code,
    };
    if let Command::Serve(serve) = args.command {
        return process::run(&serve.process.clone(), || serve.start());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            process::complain(&format!("no runtime can be had: {err}"));
            return ExitCode::FAILURE;
        }
    };
    let (done, output) = match args.command {
        Command::Run(plan) => (runtime.block_on(run::run(&plan)), plan.output),
        Command::Stream(plan) => (runtime.block_on(run::stream(&plan)), plan.output),
        Command::Saturate(plan) => (runtime.block_on(saturate::run(&plan)), plan.output),
        Command::Serve(_) => return ExitCode::SUCCESS,
    };
    let report: Report = match done {
        Ok(report) => report,
        Err(err) => {
            process::complain(&err.to_string());
            return ExitCode::FAILURE;
        }
    };
    if let Err(err) = report.publish(&output) {
        process::complain(&err.to_string());
        return ExitCode::FAILURE;
    }
    match report.failed_thresholds() {
        Some(failed) => {
            process::complain(&failed);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
