//! `cargo xtask up`: runs the lab in the foreground until Ctrl-C or `cargo xtask down`.

mod claim;
mod store;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::http::Client;
use lab::ports::{Ports, SHARDS, url};
use lab::process::{Log, Process};
use lab::prometheus::{self, Targets};
use lab::tree::Tree;
use lab::{programs, signals};

use crate::kernel::{self, Access, Lacking};
use crate::native_lab::Parts;
use crate::packages::Part;
use crate::{build_ebpf, native_lab, needs, terminal};

pub(crate) use claim::{Claim, down};
pub(crate) use store::run as run_store;

/// Builds and runs the lab until a signal arrives or a part stops.
///
/// # Errors
/// When something cannot be built or started, or when a part stops.
pub(crate) fn run(tree: &Tree, ports: Ports, with_kernel: bool) -> Result<()> {
    ports.check(with_kernel)?;
    let _claim = Claim::take(tree, ports)?;
    let access = prepare(tree, ports, Parts::All, with_kernel)?;
    if let Access::None(lacking) = &access
        && with_kernel
    {
        println!("{}", lacking.banner());
    }
    let mut lab = native_lab::start(native_lab::interactive(tree, ports, &access)?, &Client::default())?;
    let mut prometheus = start_prometheus(tree, ports, &lab.targets()?)?;
    print_addresses(tree, ports, lab.probe.is_some(), prometheus.as_ref().err());
    let ended = wait(|| lab.check(), prometheus.as_mut().ok());
    // Its data ends with the lab, so it needs no orderly shutdown.
    drop(prometheus);
    finish(ended, "gateway, shards, probe", || lab.stop())
}

/// Stops a lab and reports how that went.
fn finish(ended: Result<()>, parts: &str, stop: impl FnOnce() -> Vec<String>) -> Result<()> {
    if let Err(error) = ended {
        stop();
        return Err(error.context("the lab is stopped"));
    }
    println!("\nStopping: {parts} (Ctrl-C again ends them at once).");
    let killed = stop();
    if killed.is_empty() {
        println!("All processes stopped in order.");
        Ok(())
    } else {
        bail!("had to be killed: {}", killed.join(", "))
    }
}

/// Prepares a start: set-up, kernel object, programs, and the probe's access to the kernel.
///
/// # Errors
/// When the lab's programs cannot be built. A missing kernel object is not an error but a reason in [`Access::None`].
pub(crate) fn prepare(tree: &Tree, ports: Ports, parts: Parts, with_kernel: bool) -> Result<Access> {
    needs::ensure(tree, &[Part::Build])?;
    if !with_kernel {
        native_lab::build(tree, parts, false)?.finish(tree)?;
        return Ok(Access::None(Lacking::switched_off()));
    }
    // Both builds run in parallel. Only the probe's build script waits for the object.
    let making = build_ebpf::lock(tree)?;
    let programs = native_lab::build(tree, parts, true)?;
    let lacking = build_ebpf::run_if_possible(tree)?;
    drop(making);
    programs.finish(tree)?;
    match lacking {
        Some(lacking) => Ok(Access::None(Lacking::not_built(&lacking))),
        None => kernel::access(tree, ports),
    }
}

/// Starts Prometheus without old data. The inner error is the reason why it does not run.
fn start_prometheus(tree: &Tree, ports: Ports, targets: &Targets) -> Result<Result<Process, String>> {
    if programs::find("prometheus").is_none() {
        return Ok(Err(prometheus::REMEDY.to_owned()));
    }
    if let Err(why) = Ports::free(ports.prometheus()) {
        return Ok(Err(format!("port {} {why}", ports.prometheus())));
    }
    let folder = native_lab::logs(tree, ports).join("prometheus");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let log = Log::at(native_lab::logs(tree, ports).join("prometheus.log"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.prometheus()));
    prometheus::start(tree, targets, &folder, address, log).map(Ok)
}

fn print_addresses(tree: &Tree, ports: Ports, with_probe: bool, no_prometheus: Option<&String>) {
    println!("\n{}\n", terminal::bold("The lab is running."));
    println!("  gateway   {}   try {}/data/user-1", url(ports.gateway()), url(ports.gateway()));
    for id in 0..SHARDS {
        println!("  shard {id}   {}   {}/stats", url(ports.shard(id)), url(ports.shard(id)));
    }
    if with_probe {
        println!("  live page {}/", url(ports.probe()));
        println!("  probe     {}   {}/api/compare", url(ports.probe()), url(ports.probe()));
    } else {
        println!("  probe     not running");
    }
    print_prometheus(ports, no_prometheus);
    println!("  logs      {}/", tree.shown(&native_lab::logs(tree, ports)));
    let base =
        if ports.are_default() { String::new() } else { format!(" --gateway {}", url(ports.gateway())) };
    println!("\n  Load, from another terminal:  cargo xtask load run celebrity --duration 30{base}");
    println!("  Ctrl-C stops everything.");
}

fn print_prometheus(ports: Ports, missing: Option<&String>) {
    match missing {
        None => println!("  prometheus {}  try {0}/alerts", url(ports.prometheus())),
        Some(why) => println!("  prometheus  not running: {why}"),
    }
}

/// Waits for a signal. `check` fails when a part has ended.
fn wait(mut check: impl FnMut() -> Result<()>, mut prometheus: Option<&mut Process>) -> Result<()> {
    while signals::received() == 0 {
        check()?;
        if let Some(ended) = prometheus.take_if(|process| !process.is_running()) {
            println!("  Prometheus exited; the lab keeps running. {}", ended.last_words());
        }
        signals::pause(Duration::from_millis(100));
    }
    Ok(())
}
