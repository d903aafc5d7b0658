//! Checks whether the probe can run here; names remedies.

use std::path::{Path, PathBuf};

use crate::kernel::attach::{self, Rehearsal};
use crate::kernel::error::ObjectError;
use crate::kernel::object::{self, Switches};
use crate::kernel::pin::folder;
use crate::kernel::privileges;
use crate::kernel::release::{kernel_release, kernel_version};

/// The oldest kernel with everything that the programs use (`bpf_loop`).
const OLDEST_KERNEL: (u32, u32) = (5, 17);

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub what: &'static str,
    /// Whether the check passed.
    pub passed: bool,
    /// What was found.
    pub found: String,
    /// What to do when the check did not pass.
    pub remedy: Option<String>,
}

impl Finding {
    fn passed(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, passed: true, found: found.into(), remedy: None }
    }

    fn failed(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, passed: false, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// The finding and its remedy in one line.
    #[must_use]
    pub fn line(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}: {}: {remedy}", self.what, self.found),
            None => format!("{}: {}", self.what, self.found),
        }
    }
}

/// The quick checks. `cgroup` is the path from the options, if one was given.
#[must_use]
pub fn check(cgroup: Option<&Path>) -> Vec<Finding> {
    vec![object_finding(), kernel_finding(), cgroup_finding(cgroup), privileges_finding()]
}

fn object_finding() -> Finding {
    match object::embedded() {
        Ok(bytes) => Finding::passed("kernel object", format!("built in, {} bytes", bytes.len())),
        Err(error) => {
            Finding { what: "kernel object", passed: false, found: error.to_string(), remedy: None }
        }
    }
}

fn kernel_finding() -> Finding {
    let release = kernel_release();
    let (major, minor) = OLDEST_KERNEL;
    match kernel_version(&release) {
        Some(version) if version >= OLDEST_KERNEL => Finding::passed("kernel", release),
        Some(_) => {
            Finding::failed("kernel", release, format!("the probe needs Linux {major}.{minor} or later"))
        }
        None => Finding::failed(
            "kernel",
            format!("release {release:?} cannot be parsed"),
            "the probe needs Linux",
        ),
    }
}

fn cgroup_finding(option: Option<&Path>) -> Finding {
    match cgroup(option) {
        Ok(path) => Finding::passed("cgroup v2", path.display().to_string()),
        Err(error) => {
            let CgroupError { found, remedy } = error;
            Finding::failed("cgroup v2", found, remedy)
        }
    }
}

/// Checks whether the folder to pin in can be used.
#[must_use]
pub fn pin_finding(path: &Path) -> Finding {
    match folder::check(path) {
        Ok(_) => Finding::passed("pin", path.display().to_string()),
        Err(error) => Finding { what: "pin", passed: false, found: error.to_string(), remedy: None },
    }
}

/// Checks whether the kernel accepts the programs. They are loaded but not attached.
#[must_use]
pub fn programs_finding(switches: Switches) -> Finding {
    let what = "programs";
    let rehearse = || {
        let mut ebpf = object::load(object::embedded()?, switches)?;
        attach::rehearse(&mut ebpf, switches.protocol)
    };
    match rehearse() {
        Ok(Rehearsal { taken, refused }) => {
            let without =
                refused.iter().map(|why| format!("; one program is off: {why}")).collect::<String>();
            Finding::passed(what, format!("the kernel accepts {}{without}", taken.join(", ")))
        }
        Err(ObjectError::NotPermitted { what: step, source }) => Finding::failed(
            what,
            format!(
                "the kernel refuses eBPF to this process ({step}: {source}), although it has the capabilities"
            ),
            "start the probe outside of user namespaces (rootless containers), and without a seccomp profile that \
             forbids bpf",
        ),
        // Each error message names the remedy.
        Err(error) => Finding { what, passed: false, found: error.to_string(), remedy: None },
    }
}

fn privileges_finding() -> Finding {
    let what = "privileges";
    let held = match privileges::of_this_process() {
        Ok(status) => status.effective,
        Err(error) => return Finding::failed(what, error.to_string(), "mount /proc"),
    };
    match privileges::sufficient(held) {
        Ok(()) => Finding::passed(what, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"),
        // The error message names the remedy.
        Err(error) => Finding { what, passed: false, found: error.to_string(), remedy: None },
    }
}

/// There is no cgroup v2 to attach to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}: {remedy}")]
pub struct CgroupError {
    /// What was found.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// The cgroup to attach to: the path from the options, else the root of cgroup v2 from the mount table.
///
/// # Errors
/// When there is no such cgroup.
pub fn cgroup(option: Option<&Path>) -> Result<PathBuf, CgroupError> {
    if let Some(path) = option {
        // Every cgroup v2 has this file. A cgroup v1 or any other folder does not.
        let is_cgroup2 = |path: &Path| path.join("cgroup.controllers").is_file();
        if is_cgroup2(path) {
            return Ok(path.to_owned());
        }
        // On a hybrid host the v2 tree is below those of v1.
        let below = path.join("unified");
        if is_cgroup2(&below) {
            return Ok(below);
        }
        return Err(CgroupError {
            found: format!("CGROUP={} is not a cgroup v2 folder", path.display()),
            remedy: "leave CGROUP unset to use the mount table, or name a folder of a cgroup2 mount".into(),
        });
    }
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(|error| CgroupError {
        found: format!("the mount table cannot be read ({error})"),
        remedy: "mount /proc, or set CGROUP".into(),
    })?;
    cgroup2_root(&table).ok_or_else(|| CgroupError {
        found: "no file system of type cgroup2 is mounted".into(),
        remedy: "sudo mount -t cgroup2 none /mnt && export CGROUP=/mnt".into(),
    })
}

/// The mount point of cgroup v2's root in a mount table (`proc_pid_mountinfo(5)`).
fn cgroup2_root(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        // "36 35 98:0 /root /mount/point options [optional fields] - type source super-options"
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let is_cgroup2 = file_system.split(' ').next() == Some("cgroup2");
        (is_cgroup2 && root == "/").then(|| PathBuf::from(unescape(point)))
    })
}

/// Decodes the octal escapes of blanks, tabs, newlines and backslashes in a mount table, such as `\040`.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_cgroup2_is_found_in_a_mount_table() {
        let hybrid = "24 1 0:22 / / rw - ext4 /dev/vda rw\n\
                      31 24 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
                      32 24 0:28 / /sys/fs/cgroup/unified rw,relatime shared:10 master:2 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_root(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let part = "32 24 0:28 /user.slice /a rw - cgroup2 none rw\n33 24 0:28 / /with\\040blank rw - cgroup2 none rw";
        assert_eq!(cgroup2_root(part), Some("/with blank".into()));
        assert_eq!(cgroup2_root("31 24 0:27 / /cgroup2 rw - cgroup cgroup rw"), None);
        assert_eq!(cgroup2_root(""), None);
    }

    #[test]
    fn on_a_hybrid_host_the_tree_of_version_2_is_found_below_the_folder() {
        let host = tempfile::tempdir().unwrap();
        let unified = host.path().join("unified");
        std::fs::create_dir(&unified).unwrap();
        assert!(cgroup(Some(host.path())).is_err());
        std::fs::write(unified.join("cgroup.controllers"), "").unwrap();
        assert_eq!(cgroup(Some(host.path())), Ok(unified.clone()));
        assert_eq!(cgroup(Some(&unified)), Ok(unified.clone()));
    }

    #[test]
    fn a_folder_that_is_no_cgroup_is_refused_with_a_remedy() {
        let error = cgroup(Some(Path::new("/proc"))).unwrap_err();
        assert!(
            error.to_string().contains("CGROUP=/proc is not a cgroup v2 folder: leave CGROUP unset"),
            "{error}"
        );
        assert_eq!(error.to_string().lines().count(), 1);
    }
}
