//! `cargo xtask ci`: what must hold before a change goes in, cheapest first.

use std::time::Instant;

use anyhow::Result;

use crate::packages::Part;
use crate::ports::Ports;
use crate::process::{self, cargo};
use crate::terminal::{heading, mark};
use crate::toolchain;
use crate::tree::Tree;
use crate::{
    PortBase, build_ebpf, compose_test, dashboards, demo, manifests, page, runbook, setup, signals, test,
    tidy,
};

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<bool> + 'a>);

/// Runs all steps and tells whether all of them hold; a failed step does not hide the later ones.
///
/// # Errors
/// Only when a signal interrupts it.
pub(crate) fn run(tree: &Tree, full: bool, with_tests: bool, ports: PortBase) -> Result<bool> {
    let mut steps: Vec<Step> = vec![
        (
            "set-up",
            Box::new(|| setup::ensure(&[Part::Build, Part::Kernel, Part::Tests, Part::Lints]).map(|()| true)),
        ),
        ("format", Box::new(|| format(tree).map(|()| true))),
        ("house rules", Box::new(|| tidy::run(tree).map(|()| true))),
        ("dashboards", Box::new(|| dashboards_of_their_source(tree).map(|()| true))),
        ("manifests", Box::new(|| manifests::run(tree, false).map(|()| true))),
        ("lints", Box::new(|| lints(tree).map(|()| true))),
        ("lints of the kernel programs", Box::new(|| kernel_lints(tree).map(|()| true))),
    ];
    if with_tests {
        steps.push((if full { "all tests" } else { "tests" }, Box::new(|| test::run(tree, full))));
    }
    if full {
        steps.push(("live page", Box::new(|| page::run(tree))));
    }
    steps.push(("demo", Box::new(|| demo::run(tree, &demo_request(ports.ports())))));
    steps.push(("runbook", Box::new(|| runbook::run(tree, &runbook::Request::of_ci(ports)))));
    if full {
        steps.push(("containers", Box::new(|| compose_test::run_if_possible(tree))));
    }
    let mut outcomes = Vec::new();
    for (name, step) in &steps {
        heading(&format!("── {name}"));
        let started = Instant::now();
        let holds = step().unwrap_or_else(|error| {
            eprintln!("xtask: {error:#}");
            false
        });
        signals::check()?;
        outcomes.push((name, holds, started.elapsed().as_secs()));
    }
    heading("── all");
    for (name, holds, seconds) in &outcomes {
        println!("{} {name} ({seconds} s)", mark(*holds));
    }
    Ok(outcomes.iter().all(|(_, holds, _)| *holds))
}

fn demo_request(ports: Ports) -> demo::Request {
    demo::Request { quick: true, json: None, ports, with_kernel: true, require_kernel: true }
}

fn format(tree: &Tree) -> Result<()> {
    process::run(cargo(tree).args(["fmt", "--all", "--check"]), "cargo fmt --check")?;
    let kernel = tree.root.join("probe-ebpf");
    process::run(cargo(tree).args(["fmt", "--check"]).current_dir(kernel), "cargo fmt --check in probe-ebpf")
}

fn lints(tree: &Tree) -> Result<()> {
    let mut command = cargo(tree);
    command.args(["clippy", "--all-targets", "--", "-D", "warnings"]);
    process::run(&mut command, "cargo clippy")
}

/// The dashboards built anew and compared, where Node is; their checksums are tested everywhere.
fn dashboards_of_their_source(tree: &Tree) -> Result<()> {
    if dashboards::possible() {
        return dashboards::run(tree, false);
    }
    println!("not run: there is no Node here; the tests compare the checksums of source and dashboards");
    Ok(())
}

/// Clippy for the kernel programs, where the compiler that builds them has one.
fn kernel_lints(tree: &Tree) -> Result<()> {
    let candidates = toolchain::candidates();
    let found = toolchain::first_complete(&candidates)
        .and_then(|compiler| Some((compiler, compiler.clippy.as_deref()?)));
    match found {
        Some((compiler, driver)) => build_ebpf::lint(tree, compiler, driver),
        None => {
            println!("not run: the compiler for the kernel has no clippy-driver beside it");
            Ok(())
        }
    }
}
