//! Builds a guest's initramfs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cpio::Archive;

/// A file system under construction.
#[derive(Debug)]
pub(crate) struct FileSystem {
    archive: Archive,
    libraries: BTreeSet<PathBuf>,
}

impl FileSystem {
    /// A guest that runs `steps` in a shell. Each of `programs` is a variable of the steps, and a program that has
    /// the same path in the guest.
    ///
    /// # Errors
    /// When a program or library cannot be read.
    pub(crate) fn new(busybox: &Path, steps: &str, programs: &[(&str, &Path)]) -> Result<Self> {
        let mut guest = Self { archive: Archive::default(), libraries: BTreeSet::new() };
        // The kernel opens it for the first process before that process can mount anything.
        guest.archive.device(Path::new("/dev/console"), 5, 1);
        guest.archive.file(Path::new("/init"), include_bytes!("init.sh"));
        guest.archive.file(Path::new("/steps.sh"), steps.as_bytes());
        let names = programs.iter().map(|(name, path)| format!("{name}='{}'\n", path.display()));
        guest.archive.file(Path::new("/programs.sh"), names.collect::<String>().as_bytes());
        guest.archive.file(Path::new("/bin/busybox"), &read(busybox)?);
        for (_, program) in programs {
            guest.program(program, program)?;
        }
        Ok(guest)
    }

    /// Adds a program at the path `at`.
    ///
    /// # Errors
    /// When it or a library of it cannot be read.
    pub(crate) fn program(&mut self, at: &Path, program: &Path) -> Result<()> {
        self.archive.file(at, &read(program)?);
        self.libraries.extend(libraries(program)?);
        Ok(())
    }

    /// Adds the libraries of all programs and writes the archive to `file`.
    ///
    /// # Errors
    /// When a library cannot be read, or `file` cannot be written.
    pub(crate) fn write(mut self, file: &Path) -> Result<()> {
        for library in self.libraries {
            self.archive.file(&library, &read(&library)?);
        }
        fs::write(file, self.archive.finish()).with_context(|| format!("cannot write {}", file.display()))
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The shared libraries of `program`, including the dynamic loader. A static program has none.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("cannot start ldd")?;
    let listed = [output.stdout, output.stderr].concat();
    let listed = String::from_utf8_lossy(&listed);
    if listed.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        bail!("ldd cannot read {}: {}", program.display(), listed.trim());
    }
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

    use super::library_paths;

    #[test]
    fn libraries_and_loader_are_found() {
        let listed = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        assert_eq!(library_paths(listed), ["/lib/x/libc.so.6", "/lib64/ld.so.2"].map(PathBuf::from));
    }
}
