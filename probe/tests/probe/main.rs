//! Tests the probe against this kernel and over HTTP.
//!
//! Each test attaches its own programs, so the tests run in parallel.
//!
//! - `harness`: privileges, a probe, a server and a client that counts
//! - `program`: single packets through the real programs, without a network
//! - `live`: real connections over loopback
//! - `shard`: a stand-in for a shard that counts its requests
//! - `namespaces`: one address in several network namespaces
//! - `http`: the probe's HTTP interface with counters from a list
//! - `latency`: latencies against the clocks of a server and a client
//! - `connections`: connection counters against connections made
//! - `pin`: pinned sets that outlive their probe
//! - `pods`: shards that are pods, found through the Kubernetes API
//! - `api_server`: a small Kubernetes API server, shared with the watch's own tests
//! - `folder`: access to the folder of a pinned set
//! - `blind`: a probe that does not see the shards
//! - `slots`: a store with more shards than the kernel's maps have room for
//! - `stats`: the probe's own costs and losses
//! - `reconcile`: `probe reconcile` with counters from a list and from the kernel
//! - `store`: `probe watch` with settings, ports and users that it cannot use
//! - `store_counts`: `probe watch` on a real server, against the store's own counts
//! - `store_replies`: the same for what replies tell: latency, discarded and aborted commands
//! - `store_live`: `probe watch` on a real cluster, for one answer
//! - `redis`: a `redis-server` for one test, shared with the crate `store`
//! - `process`: the probe's binary from start to stop
//! - `privileges`: features by capability, against the table in docs/limits.md
//! - `top`: `probe top` in a pipe and in a terminal

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod acceptance;
#[expect(dead_code, reason = "the tests of the watch itself, in src/pods/watcher, use the rest")]
mod api_server;
mod blind;
mod bpffs;
mod connections;
mod folder;
mod handshake;
mod harness;
mod http;
mod keys;
mod latency;
mod live;
mod namespaces;
mod pin;
mod pods;
mod privileges;
mod process;
mod program;
mod reconcile;
#[path = "../../../store/tests/it/server.rs"]
mod redis;
mod shard;
mod slots;
mod stats;
mod store;
mod store_container;
mod store_counts;
mod store_live;
mod store_replies;
mod top;
