//! The gateway process: settings, start, stop signal, drain, exit code.

use gateway::config::{Args, Config};
use service::process;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = match process::arguments() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let shared = args.process.clone();
    process::run(&shared, || Config::try_from(args)?.build()?.start())
}
