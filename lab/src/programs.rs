//! Finds programs and checks that they can be copied elsewhere.

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The first bytes of an ELF executable.
const ELF: &[u8] = b"\x7fELF";

/// Finds `name` in `PATH` or in the system administrator's folders, which an ordinary user's `PATH` lacks.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    in_path(name).find(|file| is_program(file))
}

fn in_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    folders.into_iter().chain(["/usr/sbin", "/sbin"].map(PathBuf::from)).map(move |folder| folder.join(name))
}

/// Whether `file` is an executable file.
#[must_use]
pub fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Resolves links and returns the executable `program`, which a caller can copy to another system.
///
/// # Errors
/// When it is a script, such as a version manager's shim. A copy of a shim cannot run.
pub fn executable(program: &Path) -> Result<PathBuf> {
    let real = program.canonicalize().with_context(|| format!("cannot read {}", program.display()))?;
    let mut start = [0; ELF.len()];
    let read = File::open(&real).and_then(|mut file| file.read_exact(&mut start));
    if read.is_ok() && start == ELF {
        return Ok(real);
    }
    bail!("{} is a script or a shim, not an executable; a copy of it would not run", program.display())
}

/// The first executable `name` in `PATH`. Skips scripts and shims.
///
/// # Errors
/// When there is none.
pub fn find_executable(name: &str) -> Result<PathBuf> {
    in_path(name)
        .filter(|file| is_program(file))
        .find_map(|file| executable(&file).ok())
        .with_context(|| format!("there is no executable {name} in PATH"))
}

#[cfg(test)]
mod tests {
    use super::{executable, find, find_executable};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_shim_is_no_executable() {
        let folder = tempfile::tempdir().unwrap();
        let shim = folder.path().join("k6");
        fs::write(&shim, "#!/bin/sh\nexec pyenv exec k6\n").unwrap();
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
        let error = executable(&shim).unwrap_err().to_string();
        assert!(error.contains("shim") && error.contains("k6"), "{error}");
        assert!(executable(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn links_lead_to_the_executable() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("sh");
        std::os::unix::fs::symlink(find("sh").unwrap(), &link).unwrap();
        let real = executable(&link).unwrap();
        assert!(!real.starts_with(folder.path()), "{}", real.display());
        assert!(find_executable("sh").is_ok());
    }
}
