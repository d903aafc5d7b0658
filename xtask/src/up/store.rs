//! `cargo xtask up --store redis`: runs a Redis Cluster in place of the lab's shards, and the probe that watches it.

use anyhow::{Result, bail};
use lab::http::Client;
use lab::ports::{NODES, Ports, url};
use lab::tree::Tree;
use lab::{StoreLab, programs, store_lab};

use super::{Claim, finish, print_prometheus, start_prometheus, wait};
use crate::kernel::Access;
use crate::native_lab::{self, Parts};
use crate::packages::Part;
use crate::{needs, terminal};

/// Builds and runs the store until a signal arrives or the probe ends.
///
/// # Errors
/// When something is missing, cannot be built or started, or when the probe ends.
pub(crate) fn run(tree: &Tree, ports: Ports, with_kernel: bool) -> Result<()> {
    ports.check_store(with_kernel)?;
    let _claim = Claim::take(tree, ports)?;
    let access = prepare(tree, ports, with_kernel)?;
    if let Access::None(lacking) = &access
        && with_kernel
    {
        println!("{}", lacking.banner());
    }
    println!("Starting {NODES} nodes, and a cluster of them.");
    let mut lab = StoreLab::start(native_lab::of_user(tree, ports, &access)?)?;
    lab.wait_ready(&Client::default())?;
    let mut prometheus = start_prometheus(tree, ports, &lab.targets()?)?;
    print_addresses(tree, ports, &lab, prometheus.as_ref().err())?;
    let report = || {
        for ended in lab.check()? {
            println!("  {ended}; the cluster goes on.");
        }
        Ok(())
    };
    let ended = wait(report, prometheus.as_mut().ok());
    drop(prometheus);
    finish(ended, "probe, nodes", || lab.stop())
}

/// Prepares a start: the store's package, kernel object, programs, and the probe's access to the kernel.
///
/// # Errors
/// When the store is not installed, or the programs cannot be built.
fn prepare(tree: &Tree, ports: Ports, with_kernel: bool) -> Result<Access> {
    let is_missing = || ["redis-server", "redis-cli"].iter().any(|program| programs::find(program).is_none());
    if is_missing() && programs::find("apt-get").is_some() {
        needs::ensure(tree, &[Part::Store])?;
    }
    if is_missing() {
        bail!("{}", store_lab::REMEDY);
    }
    super::prepare(tree, ports, Parts::Store, with_kernel)
}

fn print_addresses(tree: &Tree, ports: Ports, lab: &StoreLab, no_prometheus: Option<&String>) -> Result<()> {
    println!("\n{}\n", terminal::bold("The Redis Cluster is running."));
    for (id, node) in lab.nodes.iter().enumerate() {
        let role = if id < lab.nodes.len() / 2 { "primary" } else { "replica" };
        println!("  node {id}    redis://{}   {role}", node.address()?);
    }
    match &lab.probe {
        Some(_) => {
            let at = url(ports.probe());
            println!("  live page {at}/");
            println!("  probe     {at}   {at}/api/store");
        }
        None => println!("  probe     not running"),
    }
    print_prometheus(ports, no_prometheus);
    println!("  logs      {}/", tree.shown(&native_lab::logs(tree, ports)));
    let store = lab.url()?;
    println!(
        "\n  Load, from another terminal:  cargo xtask load run celebrity --duration 30 --store {store}"
    );
    println!("  Ctrl-C stops everything and removes the nodes' files.");
    Ok(())
}
