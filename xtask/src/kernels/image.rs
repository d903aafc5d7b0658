//! Builds the probe, its kernel tests, and the guest's initramfs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use super::cpio::Archive;
use crate::cargo::cargo;
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

    /// Writes the guest's initramfs to `file`.
    ///
    /// # Errors
    /// When a program or library cannot be read, or `file` cannot be written.
    pub(super) fn file_system(&self, file: &Path) -> Result<()> {
        let mut archive = Archive::default();
        // The kernel opens it for the first process before that process can mount anything.
        archive.device(Path::new("/dev/console"), 5, 1);
        archive.file(Path::new("/init"), include_bytes!("init.sh"));
        archive.file(Path::new("/steps.sh"), include_bytes!("steps.sh"));
        let names = format!("PROBE='{}' TESTS='{}'\n", self.probe.display(), self.tests.display());
        archive.file(Path::new("/programs.sh"), names.as_bytes());
        archive.file(Path::new("/bin/busybox"), &read(&self.busybox)?);
        let mut needed = BTreeSet::new();
        for program in [&self.probe, &self.tests] {
            archive.file(program, &read(program)?);
            needed.extend(libraries(program)?);
        }
        for tool in TOOLS {
            let program = programs::find_executable(tool).context("the probe's tests need it")?;
            archive.file(&Path::new("/bin").join(tool), &read(&program)?);
            needed.extend(libraries(&program)?);
        }
        for library in needed {
            archive.file(&library, &read(&library)?);
        }
        fs::write(file, archive.finish()).with_context(|| format!("cannot write {}", file.display()))
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
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

/// The shared libraries of `program`, including the dynamic loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = command::capture(Command::new("ldd").arg(program))?;
    if listed.contains("not found") {
        bail!("{} lacks a library:\n{listed}", program.display());
    }
    Ok(library_paths(&listed))
}

/// Parses ldd's output. Lines are `name => /path (address)`, or `/path (address)` for the loader.
fn library_paths(listed: &str) -> Vec<PathBuf> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(|path| PathBuf::from(OsStr::new(path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{executables, library_paths};

    #[test]
    fn libraries_and_loader_are_found() {
        let listed = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        assert_eq!(library_paths(listed), ["/lib/x/libc.so.6", "/lib64/ld.so.2"].map(PathBuf::from));
    }

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
