//! Builds the lab's binaries once for a test run and says where they are.

use ::lab::tree::Tree;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Whether the million-sized tests were asked for (`cargo xtask test --full`).
#[must_use]
pub fn full() -> bool {
    std::env::var_os("LAB_TEST_FULL").is_some_and(|value| value == "1")
}

/// `small` in the quick test, `large` with `--full`.
#[must_use]
pub fn sized<T>(small: T, large: T) -> T {
    if full() { large } else { small }
}

/// The path of one of the lab's binaries, built first if need be: optimised with `--full`, else as tests are built.
///
/// # Panics
/// When the build fails: no test can go on without it.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    folder().join(name)
}

/// The folder of the lab's binaries, built first if need be.
#[must_use]
pub fn folder() -> PathBuf {
    FOLDER.get_or_init(build).clone()
}

/// Where the lab's binaries are.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// From now on binaries are taken from this folder, and not built: a program of its own measures those beside it.
pub fn take_from(folder: PathBuf) {
    // Set once, before the first lab is started.
    let _ = FOLDER.set(folder);
}

fn build() -> PathBuf {
    let target = tree().target;
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("build")
        .arg("--quiet")
        .arg("--bins")
        .arg("--target-dir")
        .arg(&target);
    for package in ["gateway", "shard", "probe", "load"] {
        cargo.args(["--package", package]);
    }
    if full() {
        cargo.arg("--release");
    }
    match cargo.status() {
        Ok(status) if status.success() => target.join(if full() { "release" } else { "debug" }),
        other => panic!("the lab's binaries cannot be built: {other:?}"),
    }
}

/// The repository, with the target folder that this test binary was built in: `<target>/<profile>/deps/<binary>`.
///
/// # Panics
/// Never: this package has a folder of its own in the repository.
#[must_use]
pub fn tree() -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package is in a workspace");
    let binary = std::env::current_exe().unwrap_or_default();
    let target = binary.ancestors().nth(3).unwrap_or(Path::new("target"));
    Tree { root: root.to_owned(), target: target.to_owned() }
}
