//! An empty kernel program: the baseline of the cost measurements.
//!
//! In `BPF_PROG_TEST_RUN` it shows the measurement's own cost, which is part of every result of [`super::packets`].
//! On a cgroup it shows the kernel's cost of calling any program.

use anyhow::{Result, bail};
use std::ffi::{c_int, c_long};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// `BPF_PROG_LOAD`, `BPF_PROG_TEST_RUN`, `BPF_LINK_CREATE` and `BPF_PROG_TYPE_CGROUP_SKB` of `linux/bpf.h`.
const LOAD: c_int = 5;
const TEST_RUN: c_int = 10;
const LINK_CREATE: c_int = 28;
const CGROUP_SKB: u32 = 8;

/// `BPF_CGROUP_INET_INGRESS` and `BPF_CGROUP_INET_EGRESS`.
const BOTH_WAYS: [u32; 2] = [0, 1];

/// `r0 = 1; exit`.
const PROGRAM: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

/// The start of `bpf_attr` for a load. The omitted fields are 0.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log: [u32; 2],
    log_buffer: u64,
    version_and_flags: [u32; 2],
}

/// The start of `bpf_attr` for a test run.
#[repr(C)]
#[derive(Default)]
struct RunAttributes {
    program: u32,
    return_value: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context: [u64; 3],
}

/// The start of `bpf_attr` for a link.
#[repr(C)]
#[derive(Default)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// The empty program on a cgroup, in both directions. Dropping it detaches it.
pub(crate) struct Attached {
    _links: [OwnedFd; 2],
}

/// The empty program, loaded.
pub(crate) struct Empty(OwnedFd);

impl Empty {
    /// Loads the program.
    pub(crate) fn load() -> Result<Self> {
        let license = c"GPL";
        let mut attributes = LoadAttributes {
            kind: CGROUP_SKB,
            instructions: PROGRAM.len() as u32,
            program: PROGRAM.as_ptr().addr() as u64,
            license: license.as_ptr().addr() as u64,
            ..LoadAttributes::default()
        };
        Ok(Self(bpf_descriptor(LOAD, &mut attributes)?))
    }

    /// Attaches the program to a cgroup, for every packet of its sockets.
    pub(crate) fn attach(&self, cgroup: &Path) -> Result<Attached> {
        let folder = File::open(cgroup)?;
        let link = |attach_type| {
            let mut attributes = LinkAttributes {
                program: u32::try_from(self.0.as_raw_fd())?,
                target: u32::try_from(folder.as_raw_fd())?,
                attach_type,
                ..LinkAttributes::default()
            };
            bpf_descriptor(LINK_CREATE, &mut attributes)
        };
        let [received, sent] = BOTH_WAYS.map(link);
        Ok(Attached { _links: [received?, sent?] })
    }

    /// Returns the nanoseconds of a run, over `repeat` runs on a packet.
    pub(crate) fn run(&self, packet: &[u8], repeat: u32) -> Result<u32> {
        let mut attributes = RunAttributes {
            program: u32::try_from(self.0.as_raw_fd())?,
            size_in: u32::try_from(packet.len())?,
            data_in: packet.as_ptr().addr() as u64,
            repeat,
            ..RunAttributes::default()
        };
        bpf(TEST_RUN, &mut attributes)?;
        if attributes.return_value != 1 {
            bail!("the empty program returned {}", attributes.return_value);
        }
        Ok(attributes.duration)
    }
}

/// Calls a `bpf` command that returns a descriptor.
fn bpf_descriptor<T>(command: c_int, attributes: &mut T) -> Result<OwnedFd> {
    let fd = c_int::try_from(bpf(command, attributes)?)?;
    // SAFETY: the kernel has just created this descriptor, and no other code owns it.
    #[expect(unsafe_code, reason = "a descriptor from a system call without a wrapper")]
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: c_int, attributes: &mut T) -> Result<c_long> {
    // SAFETY: the attributes are a prefix of `bpf_attr` for that command, with the given length. Everything they
    // point to outlives the call, and the kernel writes nowhere else.
    #[expect(unsafe_code, reason = "aya loads programs from object files only")]
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 {
        bail!("bpf({command}): {}", io::Error::last_os_error());
    }
    Ok(result)
}
