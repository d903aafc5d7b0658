//! The shard's settings: parsed ([`Args`]) and validated ([`Config`]).

use clap::Parser;
use protocol::ShardId;
use service::args::{ProcessArgs, SettingError};
use service::traces::args::TraceArgs;
use service::traces::settings::TraceSettings;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::capacity::{Limits, ServiceTime};
use crate::store::StoreLimits;

/// Default port of shard 0. Shard n listens on this port plus n.
const FIRST_PORT: u16 = 9_000;
/// Default of the largest size of the store, without a memory limit.
const MAX_BYTES: u64 = 1 << 30;
/// Longest configurable latency, in milliseconds.
const MAX_LATENCY_MS: f64 = 60_000.0;

/// One shard of the Hot Partition Lab
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// This shard's position in the gateway's list of shards, from 0
    #[arg(long, env = "SHARD_ID", value_name = "ID", value_parser = clap::value_parser!(u32).range(0..=9_999))]
    pub shard_id: u32,
    /// Port to listen on; 0 takes any free one [default: 9000 + shard id]
    #[arg(long, env = "PORT", value_name = "PORT")]
    pub port: Option<u16>,
    /// Base service time of every request in milliseconds; if both latencies are 0, requests do not sleep
    #[arg(long, env = "BASE_LATENCY_MS", value_name = "MS", default_value_t = 5.0, value_parser = latency)]
    pub base_latency_ms: f64,
    /// Service time added for each request in service, including this one, in milliseconds
    #[arg(long, env = "LOAD_LATENCY_FACTOR_MS", value_name = "MS", default_value_t = 0.5, value_parser = latency)]
    pub load_latency_factor_ms: f64,
    /// Largest number of requests in service; 0 = no limit
    #[arg(long, env = "SHARD_CONCURRENCY", value_name = "COUNT", default_value_t = 8,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub shard_concurrency: u32,
    /// Largest number of requests that wait for service; further requests get 503
    #[arg(long, env = "SHARD_QUEUE", value_name = "COUNT", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub shard_queue: u32,
    /// Largest number of keys; beyond it, writes of new keys get 507 and reads of absent keys 404
    #[arg(long, env = "SHARD_MAX_KEYS", value_name = "COUNT", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub shard_max_keys: u64,
    /// Largest size in bytes (keys, values and 128 bytes per entry); beyond it, as for SHARD_MAX_KEYS [default: 1 GiB, at
    /// most a quarter of the memory limit]
    #[arg(long, env = "SHARD_MAX_BYTES", value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub shard_max_bytes: Option<u64>,
    /// Seed of the service time's jitter [default: random]
    #[arg(long, env = "SEED", value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// The settings that all processes share
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Where to export spans
    #[command(flatten)]
    pub traces: TraceArgs,
}

fn latency(text: &str) -> Result<f64, String> {
    let allowed = || format!("allowed: 0 to {MAX_LATENCY_MS} milliseconds");
    let value: f64 = text.parse().map_err(|_| allowed())?;
    if (0.0..=MAX_LATENCY_MS).contains(&value) { Ok(value) } else { Err(allowed()) }
}

/// The validated settings of a shard.
#[derive(Clone, Debug)]
pub struct Config {
    /// The shard's id.
    pub shard_id: ShardId,
    /// The address to listen on.
    pub addr: SocketAddr,
    /// The number of runtimes.
    pub workers: NonZeroUsize,
    /// The memory limit in bytes, if there is one.
    pub memory_limit: Option<u64>,
    /// The parameters of the service time.
    pub service_time: ServiceTime,
    /// The limits of concurrency and queue.
    pub limits: Limits,
    /// The limits of the store.
    pub store: StoreLimits,
    /// The seed of the jitter.
    pub seed: u64,
    /// Where to export spans. `None`: no spans are exported.
    pub traces: TraceSettings,
}

impl TryFrom<Args> for Config {
    type Error = SettingError;

    fn try_from(args: Args) -> Result<Self, SettingError> {
        let port = match args.port {
            Some(port) => port,
            // `range` limits ids to 9,999, so the port always fits.
            None => FIRST_PORT.saturating_add(u16::try_from(args.shard_id).unwrap_or(u16::MAX)),
        };
        let memory_limit = args.process.memory_limit();
        let default_bytes = memory_limit.map_or(MAX_BYTES, |limit| MAX_BYTES.min(limit / 4));
        let millis = |ms: f64| Duration::from_secs_f64(ms / 1_000.0);
        Ok(Self {
            shard_id: ShardId(args.shard_id),
            addr: SocketAddr::new(args.process.bind_address, port),
            workers: args.process.workers(),
            memory_limit,
            service_time: ServiceTime {
                base: millis(args.base_latency_ms),
                per_request: millis(args.load_latency_factor_ms),
            },
            limits: Limits {
                concurrency: NonZeroUsize::new(args.shard_concurrency as usize),
                queue: args.shard_queue as usize,
            },
            store: StoreLimits {
                keys: args.shard_max_keys,
                bytes: args.shard_max_bytes.unwrap_or(default_bytes),
            },
            traces: args.traces.checked(&format!("shard-{}", args.shard_id))?,
            // Each `RandomState` has random keys from the standard library's source of entropy.
            seed: args.seed.unwrap_or_else(|| {
                std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), args.shard_id)
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Result<Config, String> {
        let all = [&["shard", "--shard-id", "2"], args].concat();
        let args = Args::try_parse_from(all).map_err(|err| service::args::one_line(&err))?;
        Config::try_from(args).map_err(|err| err.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = config(&[]).unwrap();
        assert_eq!(config.addr.to_string(), "127.0.0.1:9002");
        assert_eq!(config.service_time.base, Duration::from_millis(5));
        assert_eq!(config.service_time.per_request, Duration::from_micros(500));
        assert_eq!(config.limits, Limits { concurrency: NonZeroUsize::new(8), queue: 512 });
        assert_eq!(config.store.keys, 1_000_000);
    }

    #[test]
    fn the_store_is_a_gibibyte_at_most_a_quarter_of_the_memory() {
        let bytes = |args: &[&str]| config(args).unwrap().store.bytes;
        assert_eq!(bytes(&["--memory-max-bytes", &(1_u64 << 40).to_string()]), 1 << 30);
        assert_eq!(bytes(&["--memory-max-bytes", &(256 << 20).to_string()]), 64 << 20);
        assert_eq!(bytes(&["--memory-max-bytes", "4096", "--shard-max-bytes", "5000"]), 5_000);
    }

    #[test]
    fn bad_values_are_named_with_what_is_allowed() {
        for (args, expected) in [
            (["--base-latency-ms", "-1"], "BASE_LATENCY_MS (--base-latency-ms)=\"-1\""),
            (["--base-latency-ms", "nan"], "allowed: 0 to 60000 milliseconds"),
            (["--load-latency-factor-ms", "x"], "LOAD_LATENCY_FACTOR_MS (--load-latency-factor-ms)=\"x\""),
            (["--shard-max-keys", "0"], "0 is not in 1..=100000000"),
            (["--shard-queue", "-1"], "SHARD_QUEUE (--shard-queue)=\"-1\""),
            (["--port", "70000"], "70000 is not in 0..=65535"),
            (["--port", "abc"], "PORT (--port)=\"abc\" cannot be used: allowed: a whole number"),
            (["--seed", "x"], "SEED (--seed)=\"x\" cannot be used: allowed: a whole number"),
            (["--shard-concurrency", "many"], "cannot be used: allowed: a whole number"),
        ] {
            let line = config(&[&format!("{}={}", args[0], args[1])]).unwrap_err();
            assert!(line.contains(expected) && !line.contains('\n'), "{args:?}: {line}");
        }
    }

    #[test]
    fn without_a_seed_every_start_has_its_own() {
        assert_ne!(config(&[]).unwrap().seed, config(&[]).unwrap().seed);
        assert_eq!(config(&["--seed", "7"]).unwrap().seed, 7);
    }
}
