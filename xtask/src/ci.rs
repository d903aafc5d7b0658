//! `cargo xtask ci`: runs all checks for a change, cheapest first.

use std::time::Instant;

use anyhow::Result;

use crate::cargo::cargo;
use crate::outcome::CheckOutcome;
use crate::packages::Part;
use crate::terminal::{heading, mark, part_mark};
use crate::toolchain;
use crate::{
    PortBase, build_ebpf, compose_test, dashboards, demo, manifests, needs, openapi, page, runbook, test,
    tidy,
};
use lab::ports::Ports;
use lab::tree::Tree;
use lab::{command, signals};

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<CheckOutcome> + 'a>);

/// Runs all steps and returns whether all passed. A failed step does not stop the others.
///
/// # Errors
/// Only when a signal interrupts it.
pub(crate) fn run(tree: &Tree, full: bool, with_tests: bool, ports: PortBase) -> Result<bool> {
    let parts = [Part::Build, Part::Kernel, Part::Tests, Part::Store, Part::GatewayPeers, Part::Lints];
    let mut steps = vec![
        step("set-up", move || needs::ensure(tree, &parts)),
        step("format", || format(tree)),
        step("house rules", || tidy::run(tree)),
        step("dashboards", || dashboards_of_their_source(tree)),
        step("manifests", || manifests::run(tree, false)),
        step("lints", || lints(tree)),
        step("lints of the kernel programs", || kernel_lints(tree)),
    ];
    if with_tests {
        steps.push(step(if full { "all tests" } else { "tests" }, move || test::run(tree, full)));
    }
    if full {
        steps.push(step("live page", || page::run(tree)));
    }
    steps.push(step("demo", move || demo::run(tree, &demo_request(ports.ports()))));
    steps.push(step("OpenAPI", move || openapi::run(tree, &openapi::Request::of_ci(ports, full))));
    steps.push(step("runbook", move || runbook::run(tree, &runbook::Request::of_ci(ports))));
    if full {
        steps.push(step("containers", || containers(tree)));
    }
    let mut outcomes = Vec::new();
    for (name, step) in &steps {
        heading(&format!("── {name}"));
        let started = Instant::now();
        let outcome = step().unwrap_or_else(|error| {
            eprintln!("xtask: {error:#}");
            CheckOutcome::Fails
        });
        signals::check()?;
        outcome.report_skipped();
        outcomes.push((name, outcome, started.elapsed().as_secs()));
    }
    heading("── all");
    for (name, outcome, seconds) in &outcomes {
        match outcome {
            CheckOutcome::Holds => println!("{} {name} ({seconds} s)", mark(true)),
            CheckOutcome::NotAll(not_run) => {
                let why = not_run.lines().next().unwrap_or_default();
                println!("{} {name} ({seconds} s), not run: {why}", part_mark());
            }
            CheckOutcome::Fails => println!("{} {name} ({seconds} s)", mark(false)),
        }
    }
    Ok(!outcomes.iter().any(|(_, outcome, _)| outcome.fails()))
}

fn step<'a, T: Into<CheckOutcome>>(name: &'static str, run: impl Fn() -> Result<T> + 'a) -> Step<'a> {
    (name, Box::new(move || run().map(Into::into)))
}

fn demo_request(ports: Ports) -> demo::Request {
    demo::Request { quick: true, json: None, ports, with_kernel: true, require_kernel: true }
}

/// Tests compose.yaml on a container engine, if one is available.
fn containers(tree: &Tree) -> Result<CheckOutcome> {
    match compose_test::run(tree, &compose_test::Request::of_ci()) {
        Err(error) if error.is::<compose_test::NoEngine>() => Ok(CheckOutcome::NotAll(format!("{error:#}"))),
        holds => holds.map(Into::into),
    }
}

fn format(tree: &Tree) -> Result<()> {
    command::run(cargo(tree).args(["fmt", "--all", "--check"]), "cargo fmt --check")?;
    let kernel = tree.root.join("probe-ebpf");
    command::run(cargo(tree).args(["fmt", "--check"]).current_dir(kernel), "cargo fmt --check in probe-ebpf")
}

fn lints(tree: &Tree) -> Result<()> {
    let mut command = cargo(tree);
    command.args(["clippy", "--all-targets", "--", "-D", "warnings"]);
    command::run(&mut command, "cargo clippy")
}

/// Compares the dashboards with their source if Node is installed. Tests compare checksums on every machine.
fn dashboards_of_their_source(tree: &Tree) -> Result<CheckOutcome> {
    if dashboards::possible() {
        return dashboards::run(tree, false).map(Into::into);
    }
    let why = "Node is not installed; the tests compare the checksums of source and dashboards";
    Ok(CheckOutcome::NotAll(why.to_owned()))
}

/// Runs clippy on the kernel programs if their compiler has a clippy driver.
fn kernel_lints(tree: &Tree) -> Result<CheckOutcome> {
    let candidates = toolchain::candidates();
    let found = toolchain::first_complete(&candidates)
        .and_then(|compiler| Some((compiler, compiler.clippy.as_deref()?)));
    match found {
        Some((compiler, driver)) => build_ebpf::lint(tree, compiler, driver).map(Into::into),
        None => {
            Ok(CheckOutcome::NotAll("the compiler for the kernel programs has no clippy-driver".to_owned()))
        }
    }
}
