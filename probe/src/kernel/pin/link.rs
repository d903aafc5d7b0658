//! Opens, queries and updates pinned links, which aya cannot.

use std::ffi::{CString, c_long};
use std::io::{Error, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::kernel::bpf::bpf;

/// Commands of `bpf(2)`.
const OBJ_GET: c_long = 7;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const LINK_UPDATE: c_long = 29;
const LINK_DETACH: c_long = 34;

/// `BPF_LINK_TYPE_CGROUP`.
const CGROUP: u32 = 3;

/// An open link.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// `bpf_attr` of the commands that take a path.
#[repr(C)]
#[derive(Default)]
struct ByPath {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `bpf_attr` of the commands that take a link.
#[repr(C)]
#[derive(Default)]
struct OfLink {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// `bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Default)]
struct Question {
    fd: u32,
    length: u32,
    answer: u64,
}

/// The first fields of `bpf_link_info`, for a link to a cgroup.
#[repr(C)]
#[derive(Default)]
struct About {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    cgroup: u64,
    attach_type: u32,
    more_padding: u32,
}

impl Link {
    /// Opens the link pinned at `path`.
    pub(super) fn at(path: &Path) -> Result<Self, Error> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut request = ByPath { path: path.as_ptr().expose_provenance() as u64, ..ByPath::default() };
        let fd = bpf(OBJ_GET, &mut request)?;
        let fd = RawFd::try_from(fd).map_err(Error::other)?;
        #[expect(unsafe_code, reason = "the kernel gives a descriptor as a number")]
        // SAFETY: the descriptor is new, so nothing else owns it.
        let link = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        // A pin may be of any kind of object, so check that it is a link to a cgroup.
        link.cgroup().map(|_| link)
    }

    /// The inode number of the cgroup it is attached to, or 0 if the cgroup no longer exists.
    pub(super) fn cgroup(&self) -> Result<u64, Error> {
        let mut about = About::default();
        let mut question = Question {
            fd: number(&self.0),
            length: u32::try_from(size_of::<About>()).map_err(Error::other)?,
            answer: (&raw mut about).expose_provenance() as u64,
        };
        bpf(OBJ_GET_INFO_BY_FD, &mut question)?;
        if about.kind != CGROUP {
            return Err(Error::new(ErrorKind::InvalidData, "it is not a link to a cgroup"));
        }
        Ok(about.cgroup)
    }

    /// Replaces the link's program atomically.
    pub(super) fn update(&self, program: impl AsFd) -> Result<(), Error> {
        let mut request = OfLink { link: number(&self.0), program: number(&program), ..OfLink::default() };
        bpf(LINK_UPDATE, &mut request).map(drop)
    }

    /// Detaches the link's program.
    pub(super) fn detach(&self) -> Result<(), Error> {
        bpf(LINK_DETACH, &mut OfLink { link: number(&self.0), ..OfLink::default() }).map(drop)
    }
}

fn number(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().unsigned_abs()
}
