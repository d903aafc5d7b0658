//! Tests the whole lab end to end.
//!
//! - `aggregate`: two nodes' probes answer as one that sees everything
//! - `exactness`: generator, application and kernel counts are equal, in every scenario and at saturation
//! - `http_examples`: every example of docs/http.md gets the documented answer
//! - `keys`: counts by key are equal, and the hottest of a million keys are found in fixed memory
//! - `k6`: every k6 script has the load generator's rates and keys, and all witnesses count equal requests
//! - `bypass`: requests that bypass the gateway are counted
//! - `gateways`: two gateways are counted and judged as one
//! - `hot_keys`: kernel and application detect the same hot keys
//! - `baselines`: counts stay exact across resets, a shard's restart and a probe's restart
//! - `replication`: gateway, shards and kernel count equal requests for copies
//! - `switches`: a switch holds at all gateways, also at those that were away or start later
//! - `stampede`: any number of readers of one absent key cause one request at the shard
//! - `bytes`: the kernel's byte counts match nftables counters
//! - `capacity`: the hot shard is slow, and the cache helps
//! - `bad_input`: status and body of rejected requests, at gateway and shard, with exact counts
//! - `exhaustion`: without connections or descriptors control requests are answered, and the log has a line a second
//! - `resources`: the limits of a process fit its container, as computed and under attack
//! - `memory`: any number of distinct keys takes bounded memory
//! - `probe_death`: killing the probe affects no request and leaves nothing attached
//! - `traces`: one request is one trace, and lost spans are counted and harmless
//! - `verdicts`: kernel and gateway verdicts are equal, or the probe reports the reason
//! - `openapi`: the OpenAPI documents name the routes and fields there are
//! - `operations`: the calls of the quick reference, start errors, drain

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it cannot go on"
)]

mod aggregate;
mod bad_input;
mod baselines;
mod bypass;
mod bytes;
mod capacity;
mod exactness;
mod exhaustion;
mod gateways;
mod hot_keys;
mod http_examples;
mod k6;
mod keys;
mod memory;
mod openapi;
mod operations;
mod probe_death;
mod replication;
mod resources;
mod stampede;
mod switches;
mod traces;
mod verdicts;
