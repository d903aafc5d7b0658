//! Builds the probe and its kernel tests, and puts them into a guest's file system.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::cargo::cargo;
use crate::guest::FileSystem;
use lab::tree::Tree;
use lab::{command, programs};

/// Tools that the tests call and that busybox lacks or implements only in part. The guest gets this machine's
/// versions.
const TOOLS: [&str; 2] = ["install", "setpriv"];

/// Paths of the programs on this machine. The guest uses the same paths, because the tests contain the probe's build
/// path.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) busybox: PathBuf,
    pub(super) probe: PathBuf,
    pub(super) tests: PathBuf,
}

impl Programs {
    /// Builds the probe and its kernel tests with the object in the target directory.
    ///
    /// # Errors
    /// When they do not compile.
    pub(super) fn build(tree: &Tree, busybox: PathBuf) -> Result<Self> {
        let mut command = cargo(tree);
        command.args(["test", "-p", "probe", "--test", "*", "--no-run", "--message-format=json"]);
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().context("cannot start cargo")?;
        lab::signals::check()?;
        if !output.status.success() {
            bail!("building the kernel tests failed ({})", command::ended(output.status));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        // A package has one integration test binary (a house rule). Without this check a second one would be ignored.
        let built = |kind: &str| match executables(&messages, kind).as_slice() {
            [one] => Ok(one.clone()),
            several => Err(anyhow!("cargo built {} executables of kind {kind}, not one", several.len())),
        };
        Ok(Self { busybox, probe: built("bin")?, tests: built("test")? })
    }

    /// Returns the guest's file system.
    ///
    /// # Errors
    /// When a program or library cannot be read.
    pub(super) fn file_system(&self) -> Result<FileSystem> {
        let names = [("PROBE", &*self.probe), ("TESTS", &*self.tests)];
        let mut guest = FileSystem::new(&self.busybox, include_str!("steps.sh"), &names)?;
        for tool in TOOLS {
            let program = programs::find_executable(tool).context("the probe's tests need it")?;
            guest.program(&Path::new("/bin").join(tool), &program)?;
        }
        Ok(guest)
    }
}

/// The paths of the executables of this `kind` in cargo's JSON messages.
fn executables(messages: &str, kind: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["kind"][0] == kind)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::executables;

    #[test]
    fn executables_are_found_in_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"kind\":[\"lib\"]},\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"kind\":[\"bin\"]},\"executable\":\"/t/probe\"}\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"kind\":[\"test\"]},\"executable\":\"/t/kernel-1\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executables(messages, "test"), [PathBuf::from("/t/kernel-1")]);
        assert_eq!(executables(messages, "bin"), [PathBuf::from("/t/probe")]);
        assert!(executables(messages, "lib").is_empty());
    }
}
