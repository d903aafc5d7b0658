//! HTTP client for the probe.

use anyhow::Result;
use lab::http::Client;
use lab::ports::url;
use protocol::probe_api::{
    Compare, Comparison, KernelKey, KeyTables, OfShard, ProbeStatus, ShardCounts, Shards,
};

/// Client of a probe on a port of this machine. Every request fails if the probe does not answer.
#[derive(Debug, Clone)]
pub(crate) struct ProbeClient {
    client: Client,
    url: String,
}

impl ProbeClient {
    pub(crate) fn new(client: Client, port: u16) -> Self {
        Self { client, url: url(port) }
    }

    /// The current comparison of each shard.
    pub(crate) fn compare(&self) -> Result<Vec<OfShard<Comparison>>> {
        Ok(self.client.get::<Compare>(&format!("{}/api/compare", self.url))?.shards)
    }

    /// The kernel's counts of all shards.
    pub(crate) fn shards(&self) -> Result<Vec<ShardCounts>> {
        Ok(self.client.get::<Shards>(&format!("{}/api/shards", self.url))?.shards)
    }

    /// The kernel's reads by key, with at most `limit` keys per shard.
    pub(crate) fn keys(&self, limit: u32) -> Result<Vec<KernelKey>> {
        let tables: KeyTables = self.client.get(&format!("{}/api/keys?limit={limit}", self.url))?;
        Ok(tables.shards.into_iter().flat_map(|shard| shard.keys).collect())
    }

    /// The probe's own status.
    pub(crate) fn status(&self) -> Result<ProbeStatus> {
        self.client.get(&format!("{}/status", self.url))
    }
}
