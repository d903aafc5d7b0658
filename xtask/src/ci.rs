//! `cargo xtask ci`: what must hold before a change goes in, cheapest first.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::packages::Part;
use crate::ports::Ports;
use crate::process::{self, cargo};
use crate::terminal::{heading, mark};
use crate::toolchain;
use crate::tree::Tree;
use crate::{build_ebpf, demo, setup, signals, test, tidy};

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<bool> + 'a>);

/// Runs all steps and tells whether all of them hold; a failed step does not hide the later ones.
///
/// # Errors
/// Only when a signal interrupts it.
pub(crate) fn run(tree: &Tree, full: bool, with_tests: bool) -> Result<bool> {
    let mut steps: Vec<Step> = vec![
        ("set-up", Box::new(|| setup::ensure(&[Part::Build, Part::Kernel, Part::Tests]).map(|()| true))),
        ("format", Box::new(|| format(tree).map(|()| true))),
        ("house rules", Box::new(|| tidy::run(tree).map(|()| true))),
        ("lints", Box::new(|| lints(tree).map(|()| true))),
        ("lints of the kernel programs", Box::new(|| kernel_lints(tree).map(|()| true))),
    ];
    if with_tests {
        steps.push((if full { "all tests" } else { "tests" }, Box::new(|| test::run(tree, full))));
    }
    steps.push(("demo", Box::new(|| demo::run(tree, &demo_request()))));
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

fn demo_request() -> demo::Request {
    demo::Request {
        quick: true,
        json: None,
        ports: Ports::new(Ports::DEFAULT_BASE),
        with_kernel: true,
        require_kernel: true,
    }
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

/// Clippy for the kernel programs, where the compiler that builds them has one.
fn kernel_lints(tree: &Tree) -> Result<()> {
    let candidates = toolchain::candidates();
    let found = candidates
        .iter()
        .filter(|compiler| compiler.is_complete())
        .find_map(|compiler| Some((compiler, clippy_beside(&compiler.rustc)?)));
    let Some((compiler, driver)) = found else {
        println!("not run: no compiler for the kernel has a clippy-driver beside it");
        return Ok(());
    };
    build_ebpf::lint(tree, compiler, &driver)
}

fn clippy_beside(rustc: &Path) -> Option<std::path::PathBuf> {
    Some(rustc.with_file_name("clippy-driver")).filter(|driver| process::is_program(driver))
}
