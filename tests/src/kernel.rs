//! Checks whether tests of the kernel programs can run here.

use std::process::Command;

use crate::{build, skip};

/// Whether the probe can run. If not, reports the test `name` as skipped, with the reason.
#[must_use]
pub fn available(name: &str) -> bool {
    let check =
        Command::new(build::binary("probe")).args(["check", "--shard-urls", "http://127.0.0.1:9"]).output();
    let runs = match check {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let written = [output.stdout, output.stderr].concat();
            Err(String::from_utf8_lossy(&written).lines().map(str::trim).collect::<Vec<_>>().join("; "))
        }
        Err(err) => Err(err.to_string()),
    };
    skip::unless(name, runs).is_some()
}
