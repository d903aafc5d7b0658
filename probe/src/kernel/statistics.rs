//! Enables the kernel's run-time statistics of BPF programs.

use std::os::fd::OwnedFd;

use aya::sys::{Stats, enable_stats};
use protocol::probe_api::Feature;

/// Whether the kernel counts the programs' runs. Dropping the value stops the counting.
#[derive(Debug, Default)]
pub enum Statistics {
    /// Not requested.
    #[default]
    SwitchedOff,
    /// The kernel does not permit this process to enable them.
    NotPermitted,
    /// Enabled: by this descriptor, or for all by the system's setting.
    On(Option<OwnedFd>),
}

/// The system's setting.
const SETTING: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    /// Enables the statistics if `wanted`. Requires CAP_SYS_ADMIN, unless the system's setting is on.
    #[must_use]
    pub fn switch(wanted: bool) -> Self {
        if !wanted {
            return Self::SwitchedOff;
        }
        match enable_stats(Stats::RunTime) {
            Ok(switch) => Self::On(Some(switch)),
            Err(_) if std::fs::read_to_string(SETTING).is_ok_and(|value| value.trim() == "1") => {
                Self::On(None)
            }
            Err(error) => {
                tracing::info!(%error, "the kernel does not count the programs' runs");
                Self::NotPermitted
            }
        }
    }

    /// Whether the statistics are enabled.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        matches!(self, Self::On(_))
    }

    /// The feature in the form of `/status` and `probe_feature_enabled`.
    #[must_use]
    pub fn feature(&self) -> Feature {
        let (reason, remedy) = match self {
            Self::On(_) => ("ok", None),
            Self::SwitchedOff => ("switched_off", Some("start the probe with PROGRAM_STATS=on")),
            Self::NotPermitted => (
                "needs CAP_SYS_ADMIN",
                Some("start the probe with CAP_SYS_ADMIN, or run: sysctl kernel.bpf_stats_enabled=1"),
            ),
        };
        let remedy = remedy.map(Into::into);
        Feature { feature: "program_stats".into(), enabled: self.is_on(), reason: reason.into(), remedy }
    }
}
