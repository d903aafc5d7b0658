//! The `shard` process: arguments, start, drain, exit code.

use service::process;
use shard::config::{Args, Config};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = match process::arguments() {
        Ok(args) => args,
        Err(code) => return code,
    };
    process::run(&args.process.clone(), || Config::try_from(args)?.build()?.start())
}
