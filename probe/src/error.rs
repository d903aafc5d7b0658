//! Errors that keep the probe from starting.

use service::process::StartError;

pub(crate) mod chain;

use crate::kernel::error::ObjectError;
use crate::kernel::pin::BeginError;
use crate::kernel::pin::folder::PinError;
use crate::kernel::preflight::CgroupError;
use crate::kernel::privileges::{MissingCapabilities, PrivilegeError};

/// Why the probe could not start. The exit code is 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// The kernel programs cannot be loaded or attached.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The folder to pin in cannot be used.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The pinned set can be neither adopted nor created.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// There is no cgroup v2 to attach to.
    #[error("cgroup v2: {0}")]
    Cgroup(#[from] CgroupError),
    /// Capabilities that loading and attaching require are missing.
    #[error(transparent)]
    Capabilities(#[from] MissingCapabilities),
    /// The privileges could not be dropped.
    #[error("{0}: the probe does not run with more privileges than it needs")]
    Privileges(#[from] PrivilegeError),
    /// The client for the Kubernetes API could not be set up.
    #[error("the client for the Kubernetes API cannot be set up: {0}")]
    Pods(String),
    /// The kernel object has no log buffer.
    #[error("KERNEL_LOG=on, but the kernel object has no log: {0}")]
    KernelLog(#[from] aya_log::Error),
}

impl From<ProbeError> for StartError {
    fn from(error: ProbeError) -> Self {
        Self::Other(error.to_string())
    }
}
