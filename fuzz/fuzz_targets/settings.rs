//! Settings: what is accepted survives being written, what is refused has one line.
//!
//! Input: a letter that selects the setting, then its value. For `t` each line is an `OTEL_…` option and its value.

#![no_main]

use std::fmt::Display;

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use load::keys::Distribution;
use protocol::shard_urls::ShardUrls;
use service::members::{Kind, Members};
use service::origin::Origins;
use service::traces::args::TraceArgs;
use store::urls::StoreUrls;

const KIND: Kind = Kind { setting: "GATEWAY_URL", plural: "gateways", max: 3 };

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    traces: TraceArgs,
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, value)) = input.split_first() else { return };
    let Ok(value) = std::str::from_utf8(value) else { return };
    match choice {
        b's' => {
            if let Some(urls) = accepted(ShardUrls::parse(value)) {
                let written: Vec<String> = urls.iter().map(ToString::to_string).collect();
                assert_eq!(ShardUrls::parse(&written.join(",")), Ok(urls));
            }
        }
        b'm' => {
            if let Some(members) = accepted(Members::parse(KIND, Some(value))) {
                assert!(!members.is_empty() && members.first().is_some());
            }
        }
        b'o' => {
            if let Some(origins) = accepted(Origins::parse(value)) {
                assert_eq!(origins.is_empty(), value.is_empty());
            }
        }
        b'r' => {
            if let Some(urls) = accepted(StoreUrls::parse(value)) {
                assert_eq!(StoreUrls::parse(&urls.to_string()), Ok(urls));
            }
        }
        b'd' => {
            let _ = accepted(value.parse::<Distribution>());
        }
        b't' => traces(value),
        _ => {}
    }
});

fn traces(lines: &str) {
    // Certificates are files.
    let lines = lines.lines().filter(|line| !line.contains("certificate"));
    let args = ["test".to_owned()].into_iter().chain(lines.map(|line| format!("--otel-{line}")));
    if let Ok(args) = Args::try_parse_from(args) {
        let _ = accepted(args.traces.checked("shard-0"));
    }
}

fn accepted<T, E: Display>(parsed: Result<T, E>) -> Option<T> {
    parsed.inspect_err(|error| assert!(!error.to_string().contains('\n'), "{error}")).ok()
}
