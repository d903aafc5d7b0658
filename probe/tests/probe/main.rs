//! The probe against this kernel and over HTTP. Each test attaches programs of its own, so they run side by side.
//!
//! - `harness`: privileges, a probe, a server and what was sent to it
//! - `program`: single packets through the real programs, without a network
//! - `live`: real connections over loopback
//! - `shard`: a stand-in for a shard that counts its requests
//! - `http`: the probe's HTTP interface over counters from a list
//! - `latency`: latencies against the clocks of a server and a client
//! - `connections`: connections against those that were made
//! - `pin`: probes that come and go while the kernel counts on
//! - `pods`: shards that are pods, found through the Kubernetes API
//! - `folder`: whose the folder of a pinned set is
//! - `stats`: the probe on itself
//! - `reconcile`: `probe reconcile` over a list of counters and over the kernel's
//! - `process`: the probe's binary from start to stop
//! - `privileges`: what works with which capabilities, against the table in docs/limits.md
//! - `top`: `probe top` in a pipe and in a terminal

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod acceptance;
mod bpffs;
mod connections;
mod folder;
mod handshake;
mod harness;
mod http;
mod keys;
mod latency;
mod live;
mod pin;
mod pods;
mod privileges;
mod process;
mod program;
mod reconcile;
mod shard;
mod stats;
mod top;
