//! `cargo xtask cluster-test`: tests deploy/kubernetes on a real cluster of two nodes on this machine.
//!
//! Each node is a network namespace with its own containerd and kubelet. Nothing leads out of these networks.

mod certificates;
mod cgroups;
mod cluster;
mod control_plane;
mod events;
mod generator;
mod image;
mod lab;
mod namespace;
mod network;
mod node;
mod outage;
pub(crate) mod parts;
mod pods;
mod remains;
mod rows;
mod scrape;
mod verdict_log;
mod wait;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::lab::tree::Tree;
use ::lab::{command, signals};
use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::packages::Part;
use crate::verdicts::Verdicts;
use crate::{cargo, needs, terminal};

use cluster::Cluster;
use lab::Lab;
use parts::Parts;
use rows::{ROWS, Row};

/// Command-line options.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// Run only this row; can be repeated
    #[arg(long, value_name = "NAME")]
    row: Vec<String>,
    /// Print the rows and exit
    #[arg(long)]
    list: bool,
    /// Also run the row with a million requests
    #[arg(long)]
    full: bool,
    /// Leave the cluster up after the rows, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Write the result as a Markdown table
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Run the programs in DIR instead of building target/release
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// The programs in the images, and the load generator.
const PROGRAMS: [(&str, &str); 4] =
    [("gateway", "gateway"), ("shard", "shard"), ("probe", "probe"), ("load", "load")];

/// Brings a cluster up, runs the rows, and takes it down. Returns whether every check passed.
///
/// # Errors
/// When something that the cluster needs is missing or does not start, or a signal arrives.
pub(crate) fn run(tree: &Tree, request: &Request) -> Result<bool> {
    if request.list {
        for row in &ROWS {
            println!("{:<12} {}{}", row.name, row.about, if row.full { " (with --full)" } else { "" });
        }
        return Ok(true);
    }
    let rows = rows::chosen(&request.row, request.full)?;
    if !command::is_root() {
        bail!("cluster-test makes network namespaces and cgroups, so it needs root: run it with sudo");
    }
    needs::ensure(tree, &[Part::Cluster])?;
    terminal::heading("Parts");
    let parts = Parts::find(tree)?;
    println!("  {}", Parts::versions());
    let programs = match &request.programs {
        Some(folder) => std::env::current_dir()?.join(folder),
        None => {
            cargo::build_release(tree, &PROGRAMS)?;
            tree.target.join("release")
        }
    };
    terminal::heading("Cluster");
    let started = Instant::now();
    let cluster = Cluster::up(tree, parts, &programs)?;
    println!("  two nodes after {:.0} s", started.elapsed().as_secs_f64());
    let (mut lab, took) = Lab::apply(tree, cluster, programs.join("load"))?;
    println!("  overlay kind: exit 0, ready after {:.0} s", took.as_secs_f64());
    let mut verdicts = Verdicts::default();
    let run = on_cluster(&mut lab, &rows, request.keep, &mut verdicts);
    terminal::heading("Down");
    let down = lab.cluster.down();
    verdicts.report(
        "everything is taken down",
        down.is_ok(),
        &down.map_or_else(
            |error| format!("{error:#}"),
            |()| "no process, mount, namespace or cgroup is left".to_owned(),
        ),
    );
    terminal::heading("Result");
    println!("{}", verdicts.table());
    if let Some(file) = &request.markdown {
        fs::write(file, verdicts.markdown()).with_context(|| file.display().to_string())?;
    }
    run?;
    Ok(verdicts.hold())
}

fn on_cluster(lab: &mut Lab<'_>, rows: &[&Row], keep: bool, verdicts: &mut Verdicts) -> Result<()> {
    for row in rows {
        terminal::heading(&format!("{}: {}", row.name, row.about));
        let started = Instant::now();
        if let Err(error) = (row.run)(lab, verdicts) {
            signals::check()?;
            verdicts.could_not(row.name, &error);
        }
        println!("  {:.0} s", started.elapsed().as_secs_f64());
    }
    if keep {
        let kubectl = lab.cluster.kubectl_command()?;
        println!("\n  The cluster stays up until Ctrl-C:\n  {}", command::shown(&kubectl));
        while signals::received() == 0 {
            signals::pause(Duration::from_millis(200));
        }
    }
    Ok(())
}
