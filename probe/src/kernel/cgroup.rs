//! Notices that the cgroup of the programs was removed or replaced.

use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The cgroup that the programs are attached to.
///
/// The kernel detaches the programs when the cgroup is removed. A new cgroup of the same name has another inode.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// Device and inode. `None` if they could not be read.
    identity: Option<(u64, u64)>,
}

impl Cgroup {
    /// The cgroup that is now at `path`. Call it before the programs are attached.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let identity = identity(&path).ok();
        Self { path, identity }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns why the programs are no longer attached. `None` while the cgroup exists.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let attached = self.identity?;
        let what = match identity(&self.path) {
            Ok(now) if now == attached => return None,
            Ok(_) => "was removed and made again",
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                "was removed"
            }
            // Without the right to look, nothing is known.
            Err(_) => return None,
        };
        Some(format!(
            "the cgroup {} {what}, and the kernel has detached the programs from it: restart the probe",
            self.path.display()
        ))
    }
}

fn identity(path: &Path) -> Result<(u64, u64), Error> {
    std::fs::metadata(path).map(|about| (about.dev(), about.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_missed_when_removed_and_when_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unit");
        std::fs::create_dir(&path).unwrap();
        let cgroup = Cgroup::at(path.clone());
        assert_eq!(cgroup.problem(), None);
        // Keep the old inode in use, so that the new folder gets another one.
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        assert!(cgroup.problem().unwrap().contains("unit was removed, and"));
        std::fs::create_dir(&path).unwrap();
        assert!(cgroup.problem().unwrap().contains("unit was removed and made again, and"));
    }

    #[test]
    fn a_cgroup_that_never_was_is_not_missed() {
        assert_eq!(Cgroup::at("/no/such/cgroup".into()).problem(), None);
    }
}
