//! Parses the arguments and runs the command.

use std::process::ExitCode;

use probe::aggregate::settings::AggregateConfig;
use probe::config::{Args, CheckArgs, Command, Config};
use probe::kernel::pin;
use probe::kernel::preflight::{self, Finding};
#[cfg(feature = "stores")]
use probe::store::{
    once,
    settings::{WatchArgs, WatchConfig},
};
use probe::view;
use protocol::probe_api::PreflightFinding;
use service::process;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = match process::arguments() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match args.command {
        Command::Run(args) => {
            process::run(&args.process.clone(), || Config::try_from(args)?.build()?.start())
        }
        Command::Aggregate(args) => {
            process::run(&args.process.clone(), || AggregateConfig::try_from(args)?.start())
        }
        #[cfg(feature = "stores")]
        Command::Watch(args) => watch(args),
        Command::Check(args) => check(args),
        Command::Reconcile(args) => view::reconcile::run(&args),
        Command::Unpin(args) => pin::unpin::run(args),
        #[cfg(feature = "top")]
        Command::Top(args) => view::top::run(&args),
        #[cfg(not(feature = "top"))]
        Command::Top(_) => {
            process::complain(
                "this build has no `top`; build the probe with `cargo build --release -p probe`",
            );
            ExitCode::from(2)
        }
    }
}

/// Watches a store until a signal, or for one answer.
#[cfg(feature = "stores")]
fn watch(args: WatchArgs) -> ExitCode {
    if !args.once {
        return process::run(&args.process.clone(), || WatchConfig::try_from(args)?.start());
    }
    match WatchConfig::try_from(args) {
        Ok(config) => once::run(&config),
        Err(error) => {
            process::complain(&error.to_string());
            ExitCode::from(2)
        }
    }
}

/// Prints one line per finding. Returns exit code 1 if the probe cannot run.
fn check(args: CheckArgs) -> ExitCode {
    let config = match Config::try_from(args.run) {
        Ok(config) => config,
        Err(error) => {
            process::complain(&error.to_string());
            return ExitCode::from(2);
        }
    };
    let mut findings = preflight::check(config.cgroup.as_deref());
    findings.extend(config.pin.as_deref().map(preflight::pin_finding));
    // Loading the programs makes sense only if all requirements are met.
    if findings.iter().all(|finding| finding.passed) {
        findings.push(preflight::programs_finding(config.switches));
    }
    for finding in &findings {
        if args.json {
            let Finding { what, passed, found, remedy } = finding.clone();
            let finding = PreflightFinding { check: what.to_owned(), passed, found, remedy };
            println!("{}", serde_json::json!(finding));
        } else {
            println!("{} {}", if finding.passed { "ok  " } else { "FAIL" }, finding.line());
        }
    }
    if findings.iter().all(|finding| finding.passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
