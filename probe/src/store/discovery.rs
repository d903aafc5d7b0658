//! Reads a store's server, nodes and commands.

use store::commands::{self, BUILT_IN_OF, Command, built_in};
use store::error::StoreError;
use store::info::Info;
use store::request::Request;
use store::topology::Topology;
use store::urls::HostPort;

use super::link::Link;

/// What a store reports about itself.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    /// Server and version, such as `redis 7.0.15`.
    pub(crate) server: String,
    /// Whether the nodes form a cluster.
    pub(crate) is_cluster: bool,
    pub(crate) topology: Topology,
    pub(crate) commands: Vec<Command>,
    /// The source of the list of commands.
    pub(crate) commands_from: String,
    /// Why the store's own counts cannot be read.
    pub(crate) no_counts: Option<StoreError>,
}

/// Reads from the first of the `seeds` that answers. Returns the last error if none does.
pub(crate) async fn discover(seeds: &mut [(HostPort, Link)]) -> Result<Discovery, StoreError> {
    let all: Vec<HostPort> = seeds.iter().map(|(url, _)| url.clone()).collect();
    let unknown = StoreError::NoAddress { reason: "no address is given".to_owned() };
    let mut failed = Err(unknown);
    for (url, link) in seeds {
        match of_node(url, link, &all).await {
            Ok(found) => return Ok(found),
            // Another node has the same users.
            Err(error) if error.is_about_request() => return Err(error),
            Err(error) => failed = Err(error),
        }
    }
    failed
}

async fn of_node(url: &HostPort, link: &mut Link, all: &[HostPort]) -> Result<Discovery, StoreError> {
    let (info, no_counts) = match info(link).await {
        Ok(info) => (Some(info), None),
        Err(error) if error.is_about_request() => (None, Some(error)),
        Err(error) => return Err(error),
    };
    let is_cluster = match &info {
        Some(info) => info.is_cluster,
        // Without INFO, only the answer to CLUSTER reveals it.
        None => !matches!(link.call(Request::ClusterShards).await, Err(StoreError::Refused { .. })),
    };
    let topology =
        if is_cluster { link.topology(url).await? } else { Topology::of_single(all.iter().cloned()) };
    let (commands, commands_from) = commands(link).await?;
    let server =
        info.map_or_else(|| "unknown".to_owned(), |info| format!("{} {}", info.server, info.version));
    Ok(Discovery { server, is_cluster, topology, commands, commands_from, no_counts })
}

/// The store's own counts.
pub(crate) async fn info(link: &mut Link) -> Result<Info, StoreError> {
    let client = link.ready().await?;
    let (sections, address) = (client.sections(), client.address());
    let reply = link.call(Request::Info(sections)).await?;
    let what = "run_id or total_net_input_bytes";
    reply.text().and_then(Info::parse).ok_or(StoreError::Unexpected { address, request: "INFO", what })
}

/// The commands and the source of their list.
pub(crate) async fn commands(link: &mut Link) -> Result<(Vec<Command>, String), StoreError> {
    let from_built_in = |why: &str| (built_in(), format!("built-in list of {BUILT_IN_OF}, because {why}"));
    match link.call(Request::Command).await {
        Ok(reply) => Ok(match commands::parse(&reply) {
            Some(commands) => (commands, "COMMAND".to_owned()),
            None => from_built_in("the reply to COMMAND is not a list"),
        }),
        Err(error) if error.is_about_request() => Ok(from_built_in(&error.to_string())),
        Err(error) => Err(error),
    }
}
