//! The shards: the origin of all values, without their capacity model.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use lab::http::Client;
use lab::process::{Log, Process};
use serde_json::Value;

use super::client;
use super::row::{Row, write};
use super::server::{program, started};

/// The peers' configurations name so many.
pub(super) const SHARDS: u32 = 4;

/// Settings of every shard: no service time, no limit, and room for all keys in each one.
const SETTINGS: [(&str, &str); 5] = [
    ("BASE_LATENCY_MS", "0"),
    ("LOAD_LATENCY_FACTOR_MS", "0"),
    ("SHARD_CONCURRENCY", "0"),
    ("SHARD_MAX_KEYS", "1100000"),
    ("SHARD_MAX_BYTES", "2147483648"),
];

/// Connections that fill a shard.
const CONNECTIONS: u32 = 64;

/// The running shards.
pub(super) struct Origin {
    shards: Vec<Process>,
    pub(super) addresses: Vec<SocketAddr>,
    client: Client,
}

impl Origin {
    /// Starts so many shards from the folder `programs`.
    ///
    /// # Errors
    /// When one does not start.
    pub(super) fn start(programs: &Path, shards: u32) -> Result<Self> {
        let shards = (0..shards).map(|id| {
            let mut command = program(&programs.join("shard"));
            command.envs(SETTINGS).env("SHARD_ID", id.to_string()).env("PORT", "0");
            Process::start(&format!("shard-{id}"), command, Log::unnamed()?)
        });
        let mut shards = shards.collect::<Result<Vec<_>>>()?;
        let addresses = shards.iter_mut().map(|shard| started(shard, Process::reported_address));
        let addresses = addresses.collect::<Result<_>>()?;
        Ok(Self { shards, addresses, client: Client::default() })
    }

    /// Writes a row's keys into every shard, because each server places the keys in its own way.
    ///
    /// # Errors
    /// When a write fails.
    pub(super) fn fill(&self, row: Row) -> Result<()> {
        let count = row.keys().count();
        for address in &self.addresses {
            let request = |key| write(key, row.value_bytes());
            client::in_turn(*address, CONNECTIONS.min(count), count, count, request)
                .context("the shards cannot be filled")?;
        }
        Ok(())
    }

    /// Returns the data requests that all shards have received, by their own count.
    pub(super) fn received(&self) -> Result<u64> {
        let of = |shard: &Process, address: &SocketAddr| {
            let stats: Value = self.client.get(&format!("http://{address}/stats"))?;
            let received = stats["requests_received"].as_u64();
            received.with_context(|| format!("{} does not report its requests", shard.name()))
        };
        self.shards.iter().zip(&self.addresses).map(|(shard, address)| of(shard, address)).sum()
    }
}
