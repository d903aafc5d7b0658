//! Whether tests of the kernel programs can run here.

use std::process::Command;

use crate::build;

/// Whether the probe can run. When it cannot, the test `name` is reported as skipped, with the reason.
///
/// # Panics
/// When it cannot and `CI=true`: a skipped test must not look green there.
#[must_use]
pub fn available(name: &str) -> bool {
    let check =
        Command::new(build::binary("probe")).args(["check", "--shard-urls", "http://127.0.0.1:9"]).output();
    let why = match check {
        Ok(output) if output.status.success() => return true,
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&said).lines().map(str::trim).collect::<Vec<_>>().join("; ")
        }
        Err(err) => err.to_string(),
    };
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{name} needs the kernel: {why}");
    println!("SKIPPED {name}: {why}");
    false
}
