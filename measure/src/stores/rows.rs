//! The rows of the suite.

pub(crate) mod benchmark;
pub(crate) mod cluster;
pub(crate) mod connections;
pub(crate) mod exceptions;
pub(crate) mod languages;
pub(crate) mod logins;
pub(crate) mod scripts;
pub(crate) mod sizes;
pub(crate) mod throughput;
pub(crate) mod zipf;

use std::path::Path;

use anyhow::{Context as _, Result};

use super::connection::Connection;
use super::report::Line;
use super::server::Server;
use crate::accuracy::probe::Stage;

/// What a row is given.
pub(crate) struct Context<'a> {
    pub(crate) stage: &'a Stage,
    /// Whether to use the numbers that are kept.
    pub(crate) full: bool,
    /// Folder for client libraries.
    pub(crate) clients: &'a Path,
}

/// A row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Whether it is part of the quick run.
    pub(crate) quick: bool,
    pub(crate) run: fn(&Context<'_>, &str) -> Result<Vec<Line>>,
}

const fn quick(name: &'static str, run: fn(&Context<'_>, &str) -> Result<Vec<Line>>) -> Row {
    Row { name, quick: true, run }
}

const fn full(name: &'static str, run: fn(&Context<'_>, &str) -> Result<Vec<Line>>) -> Row {
    Row { name, quick: false, run }
}

/// All rows.
pub(crate) const ALL: [Row; 10] = [
    quick("cluster", cluster::run),
    quick("exceptions", exceptions::run),
    quick("logins", logins::run),
    full("scripts", scripts::run),
    full("redis-benchmark", benchmark::run),
    full("zipf", zipf::run),
    full("sizes", sizes::run),
    full("connections", connections::run),
    full("clients", languages::run),
    full("throughput", throughput::run),
];

/// Starts a server with more options.
pub(crate) fn server(options: &[&str]) -> Result<Server> {
    Server::start("this row", options).context("redis-server does not start")
}

/// The address of a server for the probe.
pub(crate) fn url(server: &Server) -> String {
    format!("redis://{}", server.address)
}

/// A field of a server's INFO.
pub(crate) fn info(server: &Server, section: &str, field: &str) -> Option<u64> {
    let text = server.cli(&["info", section]);
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.trim().parse().ok())
}

/// Error replies of a server by prefix.
pub(crate) fn errors(client: &mut Connection) -> Result<Vec<String>> {
    let reply = client.call(&["INFO", "errorstats"])?;
    let lines = reply.text().context("INFO is no text")?.lines();
    Ok(lines.filter(|line| line.starts_with("errorstat_")).map(str::to_owned).collect())
}
