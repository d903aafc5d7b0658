//! Builds the lab's binaries once per test run.

use ::lab::tree::Tree;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Whether this run includes the tests with a million requests (`cargo xtask test --full`).
#[must_use]
pub fn full() -> bool {
    std::env::var_os("LAB_TEST_FULL").is_some_and(|value| value == "1")
}

/// Returns `large` with `--full`, otherwise `small`.
#[must_use]
pub fn sized<T>(small: T, large: T) -> T {
    if full() { large } else { small }
}

/// The path of one of the lab's binaries. Builds it if necessary, with `--full` in release mode, otherwise in the
/// tests' profile.
///
/// # Panics
/// When the build fails, because no test can run without the binary.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    folder().join(name)
}

/// The folder of the lab's binaries. Builds them if necessary.
#[must_use]
pub fn folder() -> PathBuf {
    FOLDER.get_or_init(build).clone()
}

/// The folder of the lab's binaries.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Uses the binaries in `folder` from now on and builds none. For measuring programs.
pub fn take_from(folder: PathBuf) {
    // The program sets it only once, before it starts the first lab.
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

/// The repository, with the target directory of this test binary: `<target>/<profile>/deps/<binary>`.
///
/// # Panics
/// Never, because this package has its own folder in the repository.
#[must_use]
pub fn tree() -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package is in a workspace");
    let binary = std::env::current_exe().unwrap_or_default();
    let target = binary.ancestors().nth(3).unwrap_or(Path::new("target"));
    Tree { root: root.to_owned(), target: target.to_owned() }
}
