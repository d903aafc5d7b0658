//! The whole lab end to end.
//!
//! - `exactness`: generator = application = kernel, in every scenario and at saturation
//! - `http_examples`: every example of docs/http.md is answered as shown
//! - `keys`: the same key by key, and the hottest of a million keys found in fixed memory
//! - `k6`: every k6 script runs, has the load generator's facts, and is counted alike by k6, gateway and shards
//! - `bypass`: what reaches a shard without the gateway is named
//! - `gateways`: two gateways side by side are counted and judged as one
//! - `hot_keys`: kernel and application call the same keys hot
//! - `baselines`: the same through resets, a shard's restart and a probe's restart
//! - `replication`: copies, and what is sent for them, are counted alike by gateway, shards and kernel
//! - `stampede`: any number of readers of one absent key cause one request at the shard
//! - `bytes`: the kernel's bytes beside those of nftables counters
//! - `capacity`: the hot shard hurts and the cache heals it
//! - `bad_input`: what is refused, by status and body, through gateway and shard, and that nothing is lost by it
//! - `memory`: distinct keys without end in bounded memory
//! - `probe_death`: killing the probe disturbs nobody and leaves nothing behind
//! - `traces`: one request is one trace; what is lost on the way to a collector is counted and hurts nobody
//! - `verdicts`: kernel and gateway judge the shards alike, and say why where they do not
//! - `operations`: the quick reference's calls as they stand, start errors, drain

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it cannot go on"
)]

mod bad_input;
mod baselines;
mod bypass;
mod bytes;
mod capacity;
mod exactness;
mod gateways;
mod hot_keys;
mod http_examples;
mod k6;
mod keys;
mod memory;
mod operations;
mod probe_death;
mod replication;
mod stampede;
mod traces;
mod verdicts;
