//! Identifies network namespaces by the kernel's cookie.

use std::io::Error;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use protocol::probe_api::{Feature, ProgramStatus};

use crate::kernel::attach::SOCKET_EVENTS;

/// The sockets whose network namespace the programs can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placed {
    /// All sockets.
    #[default]
    All,
    /// Connections newer than the probe.
    NewConnections,
}

impl Placed {
    /// Returns what the running kernel supports. Needs the privileges to load programs.
    #[must_use]
    pub fn detect() -> Self {
        match is_helper_supported(ProgramType::CgroupSkb, BpfHelper::BPF_FUNC_get_netns_cookie) {
            Ok(true) => Self::All,
            Ok(false) | Err(_) => Self::NewConnections,
        }
    }

    /// The feature in the form of `/status` and `probe_feature_enabled`.
    #[must_use]
    pub fn feature(self, programs: &[ProgramStatus]) -> Feature {
        let feature = "namespaces".into();
        let lacking = programs.iter().find(|status| status.program == SOCKET_EVENTS && !status.attached);
        let (reason, remedy) = match (self, lacking) {
            (_, Some(status)) => (status.reason.clone(), Some("see programs")),
            (Self::All, None) => ("ok".into(), None),
            (Self::NewConnections, None) => (
                "kernel_before_6_15".into(),
                Some(
                    "use Linux 6.15 or later: an older kernel cannot place connections older than the probe, \
                     so they are counted in every network namespace",
                ),
            ),
        };
        Feature { feature, enabled: remedy.is_none(), reason, remedy: remedy.map(Into::into) }
    }
}

/// Returns the cookie of this process's network namespace.
///
/// # Errors
/// When no socket can be created, or the kernel is older than 5.14.
pub fn own() -> Result<u64, Error> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).map_err(Error::other)?;
    #[expect(unsafe_code, reason = "the option has no safe wrapper among the dependencies")]
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, and the length that it wrote to `length`.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(cookie) } else { Err(Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_namespace() {
        let cookie = own().unwrap();
        assert_ne!(cookie, probe_common::endpoint::UNKNOWN_NAMESPACE);
        assert_eq!(own().unwrap(), cookie);
    }

    #[test]
    fn a_kernel_that_places_only_new_connections_is_named() {
        let status = |attached, reason: &'static str| ProgramStatus {
            program: SOCKET_EVENTS.into(),
            hook: "sock_ops".into(),
            required: false,
            attached,
            why: None,
            reason: reason.into(),
        };
        let all = Placed::All.feature(&[status(true, "ok")]);
        assert_eq!((all.enabled, &*all.reason, all.remedy), (true, "ok", None));
        let new = Placed::NewConnections.feature(&[status(true, "ok")]);
        assert_eq!((new.enabled, &*new.reason), (false, "kernel_before_6_15"));
        assert!(new.remedy.unwrap().contains("connections older than the probe"));
        let none = Placed::All.feature(&[status(false, "refused")]);
        assert_eq!((none.enabled, &*none.reason), (false, "refused"));
    }
}
