//! `cargo xtask build-ebpf`: compiles the kernel programs.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use crate::cargo;
use crate::cargo::cargo;
use crate::needs;
use crate::packages::Part;
use crate::step::Step;
use crate::toolchain::{self, Compiler, Origin};
use lab::tree::Tree;
use lab::{command, programs, signals};

/// The linker for the kernel target: crate and version. Later releases no longer support the LLVM versions of
/// distribution compilers.
const LINKER: (&str, &str) = ("bpf-linker", "0.13.0");

/// The name of the binary in `probe-ebpf`.
const PROBE: &str = "probe-ebpf";

const TARGET: &str = "bpfel-unknown-none";

/// The kernel rejects BTF-described maps that were built without these flags.
const RUSTFLAGS: [&str; 2] = ["-Cdebuginfo=2", "-Clink-arg=--btf"];

/// Takes the lock that builds of the probe wait for. Dropping the file releases it.
///
/// # Errors
/// When the lock file cannot be created or locked.
pub(crate) fn lock(tree: &Tree) -> Result<File> {
    let path = tree.kernel_object().with_file_name("lock");
    let folder = path.parent().context("the kernel object has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Builds the kernel object. Installs missing tools first.
///
/// # Errors
/// When no toolchain can be installed, or the programs do not compile.
pub(crate) fn run(tree: &Tree) -> Result<()> {
    match run_if_possible(tree)? {
        None => Ok(()),
        Some(lacking) => Err(lacking),
    }
}

/// Like [`run`], but returns the reason when no toolchain can be installed.
///
/// # Errors
/// When the programs do not compile.
pub(crate) fn run_if_possible(tree: &Tree) -> Result<Option<anyhow::Error>> {
    let (compiler, linker) = match linker(tree) {
        Ok(found) => found,
        Err(lacking) => {
            signals::check()?;
            return Ok(Some(lacking));
        }
    };
    let built = compile(tree, &compiler, &linker)?;
    let object = tree.kernel_object();
    let news = if install(&built, &object)? { "new" } else { "unchanged" };
    println!("  kernel object: {} ({news}), by {}", tree.shown(&object), compiler.shown());
    Ok(None)
}

/// Returns a compiler for the kernel target and a matching linker. Installs them if necessary.
///
/// # Errors
/// When one of them cannot be installed.
pub(crate) fn linker(tree: &Tree) -> Result<(Compiler, PathBuf)> {
    let mut candidates = toolchain::candidates();
    if toolchain::first_complete(&candidates).is_none() {
        needs::ensure(tree, &[Part::Build, Part::Kernel])?;
        candidates = toolchain::candidates();
    }
    let compiler = toolchain::first_complete(&candidates)
        .cloned()
        .ok_or_else(|| anyhow!("no compiler for the kernel programs: run `cargo xtask setup`"))?;
    let linker = install_linker(tree, &compiler)?;
    Ok((compiler, linker))
}

/// Installs bpf-linker inside the target directory, once for each LLVM version.
fn install_linker(tree: &Tree, compiler: &Compiler) -> Result<PathBuf> {
    let (name, version) = LINKER;
    let tools = tree.target.join("tools");
    let root = tools.join(format!("{name}-{version}-llvm-{}", compiler.llvm));
    let program = root.join("bin").join(name);
    if programs::is_program(&program) {
        return Ok(program);
    }
    let prefix = compiler.llvm_prefix.as_ref().context("the compiler's LLVM is not installed")?;
    let scratch = tools.join("build");
    let mut command = cargo(tree);
    command
        .args(["install", name, "--version", version, "--locked", "--no-default-features"])
        .args(["--features", &format!("llvm-{}", compiler.llvm), "--root"])
        .arg(&root)
        .arg("--target-dir")
        .arg(&scratch)
        .env("LLVM_PREFIX", prefix)
        // bpf-linker's profile requests full debug information, and LLVM does the heavy work. LLVM is precompiled.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        // PATH includes the folder only to silence cargo's advice to extend PATH. Callers use the full path.
        .env("PATH", with_folder(&root.join("bin")));
    Step::new(&format!("installing {name} for LLVM {}", compiler.llvm), 50).run(tree, &mut command)?;
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    Ok(program)
}

fn with_folder(folder: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![folder.to_path_buf()];
    folders.extend(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or(path)
}

/// Compiles the kernel programs of `tree` and returns the path of the object in its target directory.
///
/// # Errors
/// When they do not compile.
pub(crate) fn compile(tree: &Tree, compiler: &Compiler, linker: &Path) -> Result<PathBuf> {
    let folder = tree.target.join("bpf").join("build");
    let mut command = kernel_cargo(tree, compiler)?;
    command
        .args(["build", "--bin", PROBE])
        .args(["--release", "-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(&folder)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        // This variable overrides every other source of flags, so host flags of the caller have no effect.
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"));
    Step::new("compiling the kernel programs", 45).run(tree, &mut command)?;
    Ok(folder.join(TARGET).join("release").join(PROBE))
}

/// Lints the kernel programs with the clippy `driver` that belongs to `compiler`.
///
/// # Errors
/// When clippy reports a problem.
pub(crate) fn lint(tree: &Tree, compiler: &Compiler, driver: &Path) -> Result<()> {
    let mut command = kernel_cargo(tree, compiler)?;
    command
        .args(["check", "--release", "-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(tree.target.join("bpf").join("lint"))
        .env("RUSTC_WORKSPACE_WRAPPER", driver)
        .env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__")
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"));
    command::run(&mut command, "clippy on the kernel programs")
}

/// A cargo command that runs in the kernel programs' folder and uses `compiler`.
fn kernel_cargo(tree: &Tree, compiler: &Compiler) -> Result<Command> {
    let source = tree.root.join("probe-ebpf");
    if !source.join("Cargo.toml").exists() {
        return Err(anyhow!("{} has no Cargo.toml", source.display()));
    }
    let mut command = match &compiler.origin {
        // Use the toolchain's own cargo. A rustup proxy would follow RUSTUP_TOOLCHAIN instead.
        Origin::Rustup(_) => cargo::cargo_program(tree, compiler.rustc.with_file_name("cargo").as_ref()),
        Origin::Distribution => cargo(tree),
    };
    for name in [
        "LD_LIBRARY_PATH",
        "RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_RUSTC",
    ] {
        command.env_remove(name);
    }
    command.env("RUSTC", &compiler.rustc);
    if compiler.origin == Origin::Distribution {
        // A stable compiler accepts -Z build-std only with this variable.
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command.env("CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS", "fallback").current_dir(source);
    Ok(command)
}

/// Copies `built` to `object` unless both are equal, and returns whether it did. A new time stamp would rebuild the
/// probe.
fn install(built: &Path, object: &Path) -> Result<bool> {
    let bytes =
        fs::read(built).with_context(|| format!("the build left no object at {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    // Write and rename, so that a concurrent build never reads a partial object.
    let part = object.with_extension("part");
    fs::write(&part, bytes).with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, object).with_context(|| format!("cannot write {}", object.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{LINKER, install};

    #[test]
    fn the_images_are_built_with_the_same_linker() {
        let (name, version) = LINKER;
        let file = include_str!("../../deploy/Dockerfile");
        assert!(file.contains(&format!("cargo install {name} --version {version} ")), "{version}");
        assert!(file.contains(&format!("--root target/tools/{name}-{version}-llvm-22 ")), "{version}");
    }

    #[test]
    fn an_unchanged_object_keeps_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let (built, object) = (folder.path().join("built"), folder.path().join("object"));
        fs::write(&built, b"one").expect("written");
        assert!(install(&built, &object).expect("installed"), "the first copy is new");
        assert!(!install(&built, &object).expect("installed"), "the same bytes are no change");
        fs::write(&built, b"two").expect("written");
        assert!(install(&built, &object).expect("installed"), "other bytes are new");
        assert_eq!(fs::read(&object).expect("readable"), b"two");
    }
}
