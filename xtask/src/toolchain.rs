//! Finds a Rust compiler for the kernel target.
//!
//! It needs the sources of `core`, and an LLVM that bpf-linker can link against.

use lab::{command, programs};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest compiler that builds the kernel programs. Equals the workspace's `rust-version`.
const OLDEST: (u32, u32) = (1, 95);

/// The LLVM versions that bpf-linker supports.
const LINKER_KNOWS: std::ops::RangeInclusive<u32> = 21..=23;

/// The provider of a compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A rustup toolchain, with its name.
    Rustup(String),
    /// A distribution package, with sources in its own sysroot.
    Distribution,
}

/// A compiler, and which parts for the kernel target are installed.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    pub(crate) origin: Origin,
    pub(crate) rustc: PathBuf,
    /// For instance `1.96.0`.
    pub(crate) version: String,
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
    /// Whether its sysroot has the sources of `core`.
    pub(crate) has_sources: bool,
    /// Prefix of an installed LLVM of that major version with a shared library.
    pub(crate) llvm_prefix: Option<PathBuf>,
    /// Its clippy-driver, if installed.
    pub(crate) clippy: Option<PathBuf>,
}

impl Compiler {
    /// Whether this compiler can build the kernel programs.
    pub(crate) fn is_complete(&self) -> bool {
        self.problem().is_none()
    }

    /// The reason why it cannot build the kernel programs.
    pub(crate) fn problem(&self) -> Option<String> {
        if !self.is_new_enough() {
            return Some(format!("is older than {}.{}", OLDEST.0, OLDEST.1));
        }
        if !self.has_sources {
            return Some("has no rust-src (the sources of core)".to_owned());
        }
        if !LINKER_KNOWS.contains(&self.llvm) {
            return Some(format!("uses LLVM {}, which bpf-linker does not know", self.llvm));
        }
        if self.llvm_prefix.is_none() {
            return Some(format!("needs LLVM {} to link with, which is not installed", self.llvm));
        }
        None
    }

    /// Whether it is new enough for the kernel programs.
    pub(crate) fn is_new_enough(&self) -> bool {
        let mut parts = self.version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST
    }

    /// A short description.
    pub(crate) fn shown(&self) -> String {
        let llvm = self.llvm;
        match &self.origin {
            Origin::Rustup(name) => format!("rustup's {name} (rustc {}, LLVM {llvm})", self.version),
            Origin::Distribution => {
                format!("the distribution's {} (rustc {}, LLVM {llvm})", self.rustc.display(), self.version)
            }
        }
    }
}

/// All possible compilers in order of preference: rustup's nightlies, then the distribution's.
pub(crate) fn candidates() -> Vec<Compiler> {
    let mut found = rustup_nightlies();
    found.extend(distribution_compilers().iter().filter_map(|rustc| inspect(rustc, Origin::Distribution)));
    found
}

/// The first of `candidates` that can build the kernel programs.
pub(crate) fn first_complete(candidates: &[Compiler]) -> Option<&Compiler> {
    candidates.iter().find(|compiler| compiler.is_complete())
}

fn rustup_nightlies() -> Vec<Compiler> {
    let Some(rustup) = programs::find("rustup") else { return Vec::new() };
    // Without a working rustup there are no nightlies. This is not an error.
    let listed = command::capture(Command::new(rustup).args(["toolchain", "list", "-v"])).unwrap_or_default();
    nightlies(&listed)
        .into_iter()
        .filter_map(|(name, folder)| inspect(&folder.join("bin/rustc"), Origin::Rustup(name)))
        .collect()
}

/// Names and folders of the nightlies in the output of `rustup toolchain list -v`.
fn nightlies(listed: &str) -> Vec<(String, PathBuf)> {
    listed
        .lines()
        .filter(|line| line.starts_with("nightly"))
        .filter_map(|line| {
            let name = line.split_whitespace().next()?;
            let folder = line.find(" /").map(|at| line[at + 1..].trim())?;
            Some((name.to_owned(), PathBuf::from(folder)))
        })
        .collect()
}

/// `/usr/bin/rustc` and the versioned compilers next to it, in descending order of names.
fn distribution_compilers() -> Vec<PathBuf> {
    let mut versioned: Vec<PathBuf> = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("rust-1."))
        .map(|entry| entry.path().join("bin/rustc"))
        .collect();
    versioned.sort();
    versioned.push(PathBuf::from("/usr/bin/rustc"));
    versioned.reverse();
    versioned.retain(|rustc| programs::is_program(rustc));
    versioned
}

fn inspect(rustc: &Path, origin: Origin) -> Option<Compiler> {
    let query = |argument: &[&str]| {
        let mut command = Command::new(rustc);
        command.args(argument).env_remove("LD_LIBRARY_PATH");
        command::capture(&mut command).ok()
    };
    let (version, llvm) = versions(&query(&["-vV"])?)?;
    let sysroot = PathBuf::from(query(&["--print", "sysroot"])?.trim());
    Some(Compiler {
        origin,
        rustc: rustc.to_path_buf(),
        version,
        llvm,
        has_sources: sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists(),
        llvm_prefix: llvm_prefixes(llvm).into_iter().find(|prefix| has_shared_llvm(prefix, llvm)),
        clippy: Some(rustc.with_file_name("clippy-driver")).filter(|driver| programs::is_program(driver)),
    })
}

/// Release and LLVM major version in the output of `rustc -vV`.
fn versions(verbose: &str) -> Option<(String, u32)> {
    let field = |name: &str| {
        verbose.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let llvm = field("LLVM version")?.split('.').next()?.parse().ok()?;
    Some((field("release")?.to_owned(), llvm))
}

fn llvm_prefixes(major: u32) -> Vec<PathBuf> {
    [format!("/usr/lib/llvm-{major}"), format!("/usr/lib/llvm{major}"), format!("/usr/lib64/llvm{major}")]
        .into_iter()
        .chain(["/usr".to_owned()])
        .map(PathBuf::from)
        .collect()
}

/// Whether `prefix` has the development library of LLVM `major`. A plain `libLLVM.so` does not reveal its version, so
/// this checks the versioned link.
fn has_shared_llvm(prefix: &Path, major: u32) -> bool {
    ["lib", "lib64"].iter().any(|folder| prefix.join(folder).join(format!("libLLVM-{major}.so")).exists())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Compiler, Origin, nightlies, versions};

    fn compiler() -> Compiler {
        Compiler {
            origin: Origin::Distribution,
            rustc: PathBuf::from("/usr/bin/rustc"),
            version: "1.96.0".to_owned(),
            llvm: 22,
            has_sources: true,
            llvm_prefix: Some(PathBuf::from("/usr/lib/llvm-22")),
            clippy: None,
        }
    }

    #[test]
    fn nightlies_are_told_from_other_toolchains() {
        let listed = "stable-x86_64-unknown-linux-gnu (active, default) /r/stable\n\
                      nightly-x86_64-unknown-linux-gnu /r/with space/nightly\n\
                      nightly-2026-05-19-x86_64-unknown-linux-gnu (override) /r/dated\n";
        assert_eq!(
            nightlies(listed),
            [
                ("nightly-x86_64-unknown-linux-gnu".to_owned(), PathBuf::from("/r/with space/nightly")),
                ("nightly-2026-05-19-x86_64-unknown-linux-gnu".to_owned(), PathBuf::from("/r/dated")),
            ]
        );
    }

    #[test]
    fn versions_are_read_from_rustc() {
        let verbose =
            "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(versions(verbose), Some(("1.97.0-nightly".to_owned(), 22)));
        assert_eq!(versions("rustc 1.96.0\n"), None);
    }

    #[test]
    fn each_missing_part_is_named() {
        assert_eq!(compiler().problem(), None);
        let old = Compiler { version: "1.63.0".to_owned(), ..compiler() };
        assert_eq!(old.problem().as_deref(), Some("is older than 1.95"));
        let bare = Compiler { has_sources: false, ..compiler() };
        assert!(bare.problem().is_some_and(|problem| problem.contains("rust-src")));
        let unlinked = Compiler { llvm_prefix: None, ..compiler() };
        assert!(unlinked.problem().is_some_and(|problem| problem.contains("LLVM 22")));
        let future = Compiler { llvm: 31, ..compiler() };
        assert!(future.problem().is_some_and(|problem| problem.contains("does not know")));
        let nightly = Compiler { version: "1.97.0-nightly".to_owned(), ..compiler() };
        assert!(nightly.is_new_enough());
    }
}
