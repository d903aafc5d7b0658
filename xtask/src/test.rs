//! `cargo xtask test`: installs what tests need and runs them.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result};

use crate::cargo::cargo;
use crate::kernel::Lacking;
use crate::outcome::CheckOutcome;
use crate::packages::{self, Part, Root};
use crate::step::Step;
use crate::test_output::{Reader, Tally};
use crate::{browser, build_ebpf, k6, needs, terminal};
use lab::process::Signal;
use lab::tree::Tree;
use lab::{command, process, signals};

/// Runs all tests of the host crates. `full` adds the tests with a million requests.
///
/// Without a kernel object the kernel tests report that they are skipped. In CI that is a failure.
///
/// # Errors
/// When a requirement of the tests cannot be installed or built.
pub(crate) fn run(tree: &Tree, full: bool) -> Result<CheckOutcome> {
    terminal::heading("Tools and kernel object");
    let parts = [Part::Build, Part::Tests, Part::Store, Part::LoadTool, Part::GatewayPeers];
    needs::ensure(tree, &parts)?;
    k6::ensure_if_possible(tree)?;
    browser::ensure_if_at_hand(tree)?;
    build_kernel_object(tree)?;
    terminal::heading("Programs that the tests start");
    build_programs(tree, full)?;
    terminal::heading(if full { "Tests, the million-sized ones too" } else { "Tests" });
    let settings: &[_] = if full { &[("LAB_TEST_FULL", "1")] } else { &[] };
    run_and_close(tree, &[], settings)
}

/// Runs the tests that the `cargo test` arguments `chosen` select. `settings` are environment variables.
///
/// # Errors
/// When a requirement of the tests cannot be installed or built.
pub(crate) fn run_only(tree: &Tree, chosen: &[&str], settings: &[(&str, &str)]) -> Result<CheckOutcome> {
    build_kernel_object(tree)?;
    build_programs(tree, false)?;
    run_and_close(tree, chosen, settings)
}

fn build_kernel_object(tree: &Tree) -> Result<()> {
    if let Some(lacking) = build_ebpf::run_if_possible(tree)? {
        if env::var_os("CI").is_some_and(|ci| ci == "true") {
            return Err(lacking);
        }
        println!("{}", Lacking::not_built(&lacking).banner());
    }
    Ok(())
}

fn run_and_close(tree: &Tree, chosen: &[&str], settings: &[(&str, &str)]) -> Result<CheckOutcome> {
    let mut reader = Reader::default();
    let clean = stream(tree, chosen, settings, &mut reader)?;
    let tally = reader.tally();
    close(&tally, clean);
    Ok(CheckOutcome::but_for(clean && tally.failed == 0, tally.skipped.len(), "tests"))
}

/// The tests would build the lab's programs without output. Building them first shows progress.
fn build_programs(tree: &Tree, full: bool) -> Result<()> {
    let mut command = cargo(tree);
    command.args(["build", "--bins", "-p", "gateway", "-p", "shard", "-p", "probe", "-p", "load"]);
    if full {
        command.arg("--release");
    }
    Step::new("compiling the programs that the tests start", 150).run(tree, &mut command)
}

/// Runs `cargo test` and passes its output to `reader`. Returns whether cargo succeeded.
fn stream(tree: &Tree, chosen: &[&str], settings: &[(&str, &str)], reader: &mut Reader) -> Result<bool> {
    let mut command = cargo(tree);
    command.args(["test", "--no-fail-fast"]).args(chosen);
    if let Some(runner) = root_runner() {
        println!("Tests of the kernel run as root through sudo.");
        command.env(runner_variable(), runner);
    }
    command.envs(settings.iter().copied());
    // nft, ip and bpftool are in this folder. A plain `su` omits it from PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let with_sbin = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    command.env("PATH", std::env::join_paths(with_sbin).context("PATH cannot be extended")?);
    // --show-output prints each test's lines together. With --nocapture, lines of parallel tests would mix.
    command.args(["--", "--show-output"]).stdin(Stdio::null()).stdout(Stdio::piped());
    process::die_with_parent(&mut command, Signal::TERM);
    let mut child = command.spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo's output is not connected")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        if reader.line(&line) {
            println!("{line}");
        }
        if signals::received() > 0 {
            process::send(&child, Signal::TERM);
        }
    }
    let status = child.wait().context("lost cargo")?;
    signals::check()?;
    Ok(status.success())
}

/// The command that cargo must use to run test programs, so that kernel tests run as root. `None` for root.
fn root_runner() -> Option<&'static str> {
    let sudo = !command::is_root() && packages::root(terminal::is_interactive()) == Root::Sudo;
    sudo.then_some("sudo -n -E --")
}

/// The cargo variable that sets the runner for this target.
fn runner_variable() -> String {
    format!("CARGO_TARGET_{}_UNKNOWN_LINUX_{}_RUNNER", std::env::consts::ARCH.to_uppercase(), LIBC)
}

const LIBC: &str = if cfg!(target_env = "musl") { "MUSL" } else { "GNU" };

fn close(tally: &Tally, clean: bool) {
    terminal::heading("Result");
    if !tally.skipped.is_empty() {
        for (why, names) in by_reason(tally) {
            println!("Skipped, because {why}:");
            names.iter().for_each(|name| println!("  {name}"));
        }
    }
    if !clean && tally.failed == 0 {
        println!("cargo test failed: a build failed, or a test program ended before its last test");
    }
    println!("{}", closing_line(tally));
}

/// The skipped tests grouped by reason. One missing privilege can skip many tests.
fn by_reason(tally: &Tally) -> BTreeMap<&str, Vec<&str>> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, why) in &tally.skipped {
        reasons.entry(why).or_default().push(name);
    }
    reasons
}

fn closing_line(tally: &Tally) -> String {
    format!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped.len())
}

#[cfg(test)]
mod tests {
    use super::{by_reason, closing_line, runner_variable};
    use crate::test_output::Tally;

    #[test]
    fn the_closing_line_counts_all_three() {
        let skipped = [("a".to_owned(), "b".to_owned())].into();
        assert_eq!(closing_line(&Tally { passed: 7, failed: 1, skipped }), "7 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn skipped_tests_stand_under_their_reason() {
        let skipped = [("b", "root"), ("a", "root"), ("c", "kernel")]
            .map(|(name, why)| (name.to_owned(), why.to_owned()));
        let tally = Tally { passed: 0, failed: 0, skipped: skipped.into() };
        assert_eq!(Vec::from_iter(by_reason(&tally)), [("kernel", vec!["c"]), ("root", vec!["a", "b"])]);
    }

    #[test]
    fn the_runner_is_for_this_machine() {
        let name = runner_variable();
        assert!(name.starts_with("CARGO_TARGET_") && name.contains("LINUX"), "{name}");
    }
}
