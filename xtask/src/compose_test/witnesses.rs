//! Reads kernel and application counts from the lab in containers.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use super::stack::Stack;
use protocol::probe_api::{Comparison, OfShard, ShardCounts};

use crate::probe_client::ProbeClient;
use lab::http::Client;
use lab::ports::{Ports, SHARDS, url};
use lab::signals;

/// The compose network. Its name derives from the project name.
pub(crate) const NETWORK: &str = "hot-partition-lab_default";

/// Maximum time for the witnesses to agree after the load has stopped.
const AGREE_WITHIN: Duration = Duration::from_secs(15);

const STEP: Duration = Duration::from_millis(200);

/// Client for one lab in containers.
pub(crate) struct Lab<'a> {
    pub(crate) stack: &'a Stack<'a>,
    pub(crate) probe: ProbeClient,
    client: Client,
    ports: Ports,
}

impl<'a> Lab<'a> {
    pub(crate) fn new(stack: &'a Stack<'a>) -> Self {
        let (client, ports) = (Client::default(), Ports::new(Ports::DEFAULT_BASE));
        Self { stack, probe: ProbeClient::new(client.clone(), ports.probe()), client, ports }
    }

    /// The published addresses of gateway and shards that do not answer.
    pub(crate) fn silent(&self) -> Vec<String> {
        let mut requested = vec![url(self.ports.gateway())];
        requested.extend((0..SHARDS).map(|id| url(self.ports.shard(id))));
        requested.retain(|base| !self.client.is_ok(&format!("{base}/health")));
        requested
    }

    /// Whether the gateway answers a read.
    pub(crate) fn reads(&self) -> bool {
        self.client.is_ok(&format!("{}/data/any-key", url(self.ports.gateway())))
    }

    /// Requests `path` from the gateway.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub(crate) fn of_gateway<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.client.get(&format!("{}{path}", url(self.ports.gateway())))
    }

    /// Data requests to shard `id`, counted by the kernel.
    ///
    /// # Errors
    /// When the probe does not answer.
    pub(crate) fn kernel_requests(&self, id: usize) -> Result<u64> {
        self.probe.shards()?.get(id).map(ShardCounts::data).context("the probe reports too few shards")
    }

    /// Whether the probe watches shard `id` at `address`.
    ///
    /// # Errors
    /// When the probe does not answer.
    pub(crate) fn watches(&self, id: usize, address: &str) -> Result<bool> {
        let status = self.probe.status()?;
        let shard = status.shards.get(id).context("the probe reports too few shards")?;
        Ok(shard.addresses.iter().any(|watched| watched.starts_with(&format!("{address}:"))))
    }

    /// Waits until kernel and shards report equal counts. Returns the shards that differ, with the probe's reason.
    ///
    /// # Errors
    /// When the probe does not answer.
    pub(crate) fn disagreements(&self) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let agreed = signals::poll(AGREE_WITHIN, STEP, || {
            let rows = self.probe.compare()?;
            let differ = |row: &&OfShard<Comparison>| {
                row.of_shard.agrees != Some(true) || row.of_shard.difference != Some(0)
            };
            problems = rows.iter().filter(differ).map(described).collect();
            Ok((problems.is_empty() && rows.len() == usize::from(SHARDS)).then_some(()))
        })?;
        if agreed.is_none() && problems.is_empty() {
            bail!("the probe does not compare all shards");
        }
        Ok(problems)
    }

    /// A command that runs the load generator in a container on `network`.
    pub(crate) fn load(&self, network: &str) -> Command {
        let mut command = self.stack.engine().docker();
        command.args(["run", "--rm", "--network", network, &format!("{}load", super::OURS)]);
        command
    }
}

fn described(row: &OfShard<Comparison>) -> String {
    let difference = row.of_shard.difference.map_or("not known".to_owned(), |count| count.to_string());
    let cause = row.of_shard.cause.as_deref().unwrap_or("no cause given");
    format!("shard {}: difference {difference}, {cause}", row.shard_id)
}

/// Formats `items` as `; a; b`. Empty for an empty list.
pub(crate) fn listed<T: AsRef<str>>(items: &[T]) -> String {
    items.iter().map(|item| format!("; {}", item.as_ref())).collect()
}
