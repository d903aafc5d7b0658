//! The run: row after row, each with its own servers and probe.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use lab::command;

use super::report::{Line, StoresReport};
use super::rows::{self, Context, Row};
use crate::accuracy::probe::Stage;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// All rows, with the numbers that are kept. Otherwise the quick rows with small numbers.
    pub full: bool,
    /// Only rows whose name contains this, also if they are not quick.
    pub row: Option<&'a str>,
    /// The probe's program.
    pub probe: &'a Path,
    /// Folder for client libraries.
    pub clients: &'a Path,
}

/// Runs the rows. Calls `progress` with the name of each row that has ended, and its seconds.
///
/// # Errors
/// When there is no such row, or no `redis-server`. A row that cannot run is a line of the report.
pub fn run(options: &Options<'_>, progress: impl Fn(&str, f64)) -> Result<StoresReport> {
    let start = Instant::now();
    let version = command::capture(std::process::Command::new("redis-server").arg("--version"));
    let version = version.context("the rows need redis-server: apt-get install redis-server")?;
    let server: Vec<&str> = version.split_whitespace().take(3).collect();
    let wanted = |row: &&Row| match options.row {
        Some(part) => row.name.contains(part),
        None => options.full || row.quick,
    };
    let rows: Vec<&Row> = rows::ALL.iter().filter(wanted).collect();
    if rows.is_empty() {
        let names: Vec<&str> = rows::ALL.iter().map(|row| row.name).collect();
        bail!("no row has {:?} in its name; rows: {}", options.row.unwrap_or_default(), names.join(", "));
    }
    let stage = Stage::new(options.probe)?;
    let context = Context { stage: &stage, full: options.full, clients: options.clients };
    let mut lines = Vec::new();
    for row in rows {
        let start = Instant::now();
        match (row.run)(&context, row.name) {
            Ok(found) => lines.extend(found),
            Err(error) => lines.push(Line::not_run(row.name, &error)),
        }
        progress(row.name, start.elapsed().as_secs_f64());
    }
    Ok(StoresReport { lines, server: server.join(" "), seconds: start.elapsed().as_secs_f64() })
}
