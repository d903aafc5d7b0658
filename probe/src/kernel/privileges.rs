//! Drops all privileges after attaching, and verifies it in `/proc/self`.

use caps::CapSet;
use protocol::probe_api::PrivilegeStatus;

use crate::kernel::release::{kernel_release, kernel_version};

/// From this kernel on, a process needs no capability to read and write maps that it has already opened.
const FREE_MAPS: (u32, u32) = (5, 19);

/// The capabilities that matter to the probe. The numbers are the kernel's (`linux/capability.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Capability {
    /// Attaching to a cgroup's network hooks.
    NetAdmin = 12,
    /// Includes `Perfmon` and `Bpf`, which were later split from it.
    SysAdmin = 21,
    /// Loading programs without the verifier following mispredicted branches.
    Perfmon = 38,
    /// Loading programs and creating maps.
    Bpf = 39,
}

impl Capability {
    /// The kernel's name of the capability.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    /// Whether a capability set contains it.
    pub(crate) fn is_in(self, set: u64) -> bool {
        set >> (self as u8) & 1 == 1
    }
}

/// The capability sets in `/proc/self/task/*/status`. A bit is set if any thread has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapabilitySets {
    /// Inherited across `execve`.
    pub(crate) inheritable: u64,
    /// Can be made effective.
    pub(crate) permitted: u64,
    /// Checked by the kernel.
    pub(crate) effective: u64,
    /// The upper limit of what the process can gain.
    pub(crate) bounding: u64,
    /// Inherited across `execve` without file capabilities.
    pub(crate) ambient: u64,
    /// Whether every thread has set `no_new_privs`, so that `execve` grants no privileges.
    pub(crate) no_new_privileges: bool,
    /// Number of threads read.
    pub(crate) threads: usize,
}

/// Capabilities that the probe needs in order to attach are missing.
#[derive(Debug, thiserror::Error)]
#[error("this process lacks {}: {REMEDY}", listed(missing))]
pub(crate) struct MissingCapabilities {
    missing: Vec<&'static str>,
}

/// What to do when capabilities are missing.
const REMEDY: &str = "run the probe as root (sudo), or give it the capabilities: \
                      sudo setcap cap_bpf,cap_net_admin,cap_perfmon=ep target/release/probe";

/// Checks whether these effective capabilities suffice to load and attach the programs.
pub(crate) fn sufficient(effective: u64) -> Result<(), MissingCapabilities> {
    let missing: Vec<_> = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon]
        .into_iter()
        .filter(|needed| !needed.is_in(effective))
        // CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON. Container engines that do not know their names grant it
        // instead.
        .filter(|needed| *needed == Capability::NetAdmin || !Capability::SysAdmin.is_in(effective))
        .map(Capability::name)
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(MissingCapabilities { missing }) }
}

fn listed(names: &[&str]) -> String {
    match names {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        _ => names.concat(),
    }
}

/// The privileges could not be dropped or verified.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub(crate) struct PrivilegeError {
    what: &'static str,
    reason: String,
}

impl PrivilegeError {
    fn new(what: &'static str, reason: &impl ToString) -> Self {
        Self { what, reason: reason.to_string() }
    }
}

/// Drops every capability of the calling thread and of threads it creates later. Call it before there are other
/// threads.
pub(crate) fn drop_all() -> Result<(), PrivilegeError> {
    let what = "capabilities cannot be dropped";
    let failed = |error: caps::errors::CapsError| PrivilegeError::new(what, &error);
    // Clearing the bounding set requires CAP_SETPCAP. If it stays, `no_new_privs` makes it ineffective.
    for capability in caps::all() {
        if caps::drop(None, CapSet::Bounding, capability).is_err() {
            break;
        }
    }
    // Kernels without an ambient set return an error, which is fine.
    let _ = caps::clear(None, CapSet::Ambient);
    let mut keep = caps::CapsHashSet::new();
    if keeps_bpf() {
        keep.insert(caps::Capability::CAP_BPF);
    }
    caps::set(None, CapSet::Effective, &keep).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &keep).map_err(failed)?;
    caps::clear(None, CapSet::Inheritable).map_err(failed)?;
    no_new_privileges()?;
    let left = of_this_process()?;
    if left.effective | left.permitted != expected() || !left.no_new_privileges {
        return Err(PrivilegeError::new(what, &format!("{left:?} is left")));
    }
    Ok(())
}

#[expect(unsafe_code, reason = "prctl has no safe wrapper among the dependencies")]
fn no_new_privileges() -> Result<(), PrivilegeError> {
    // SAFETY: PR_SET_NO_NEW_PRIVS takes four integers and no pointer.
    let failed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if failed == 0 {
        return Ok(());
    }
    Err(PrivilegeError::new("no_new_privs cannot be set", &std::io::Error::last_os_error()))
}

/// Whether the kernel is so old that every map access requires CAP_BPF.
fn keeps_bpf() -> bool {
    kernel_version(&kernel_release()).is_some_and(|version| version < FREE_MAPS)
}

fn expected() -> u64 {
    if keeps_bpf() { 1 << Capability::Bpf as u8 } else { 0 }
}

/// The privileges of all threads of this process.
pub(crate) fn of_this_process() -> Result<CapabilitySets, PrivilegeError> {
    let what = "/proc/self cannot be read";
    let failed = |error: std::io::Error| PrivilegeError::new(what, &error);
    let mut all = CapabilitySets { no_new_privileges: true, ..CapabilitySets::default() };
    for task in std::fs::read_dir("/proc/self/task").map_err(failed)? {
        // A thread that has ended meanwhile has no privileges.
        let Ok(text) = std::fs::read_to_string(task.map_err(failed)?.path().join("status")) else { continue };
        let one = parse(&text).ok_or_else(|| PrivilegeError::new(what, &"status without capabilities"))?;
        all.inheritable |= one.inheritable;
        all.permitted |= one.permitted;
        all.effective |= one.effective;
        all.bounding |= one.bounding;
        all.ambient |= one.ambient;
        all.no_new_privileges &= one.no_new_privileges;
        all.threads += 1;
    }
    Ok(all)
}

/// Parses the privileges in a `/proc/PID/status` (`proc_pid_status(5)`).
fn parse(status: &str) -> Option<CapabilitySets> {
    let value = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let set = |name| u64::from_str_radix(value(name)?, 16).ok();
    Some(CapabilitySets {
        inheritable: set("CapInh")?,
        permitted: set("CapPrm")?,
        effective: set("CapEff")?,
        bounding: set("CapBnd")?,
        ambient: set("CapAmb").unwrap_or(0),
        no_new_privileges: value("NoNewPrivs") == Some("1"),
        threads: 1,
    })
}

/// The current privileges, for `/status`.
pub(crate) fn status() -> Result<PrivilegeStatus, PrivilegeError> {
    let held = of_this_process()?;
    Ok(PrivilegeStatus {
        dropped: held.effective | held.permitted | held.inheritable | held.ambient == 0,
        effective: format!("{:016x}", held.effective),
        permitted: format!("{:016x}", held.permitted),
        bounding: format!("{:016x}", held.bounding),
        no_new_privileges: held.no_new_privileges,
        threads: held.threads,
        kept: keeps_bpf().then(|| "CAP_BPF: kernels before 5.19 ask for it at every look into a map".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_is_understood() {
        let text = "Name:\tprobe\nCapInh:\t0000000000000000\nCapPrm:\t000001fffeffffff\nCapEff:\t0000008000201000\n\
                    CapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t0\n";
        let held = parse(text).unwrap();
        assert_eq!((held.permitted, held.effective), (0x1ff_feff_ffff, 0x80_0020_1000));
        assert!(held.no_new_privileges);
        for capability in [Capability::Bpf, Capability::NetAdmin, Capability::SysAdmin] {
            assert!(capability.is_in(held.effective), "{}", capability.name());
        }
        assert!(!Capability::Bpf.is_in(0x20_1000));
        assert_eq!(parse("Name:\tprobe\n"), None);
    }

    #[test]
    fn missing_capabilities_are_named() {
        let set = |all: &[Capability]| all.iter().fold(0, |set, one| set | 1 << *one as u8);
        let lacks = |all: &[Capability]| sufficient(set(all)).unwrap_err().to_string();
        let (bpf, net_admin) = (Capability::Bpf, Capability::NetAdmin);
        assert!(sufficient(set(&[bpf, net_admin, Capability::Perfmon])).is_ok());
        assert!(sufficient(set(&[net_admin, Capability::SysAdmin])).is_ok());
        assert!(lacks(&[bpf, net_admin]).starts_with("this process lacks CAP_PERFMON: run"));
        assert!(lacks(&[Capability::SysAdmin]).starts_with("this process lacks CAP_NET_ADMIN: run"));
        assert!(lacks(&[]).starts_with("this process lacks CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run"));
    }

    #[test]
    fn this_process_can_be_looked_at() {
        assert!(of_this_process().unwrap().threads >= 1);
    }
}
