//! Prometheus and its tool: whether they are here, and how a test runs them.

use std::process::Command;

/// Whether `program` of the package `prometheus` is here. When it is not, the test `name` is reported as skipped.
///
/// # Panics
/// When it is not and `CI=true`: a skipped test must not look green there.
#[must_use]
pub fn available(name: &str, program: &str) -> bool {
    if Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    let why =
        format!("{program} is not installed (Debian: apt-get install --no-install-recommends prometheus)");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{name}: {why}");
    println!("SKIPPED {name}: {why}");
    false
}
