//! Defines the errors of the kernel object and its programs.

use aya::maps::MapError;
use aya::programs::ProgramError;
use probe_common::LAYOUT;

use crate::error::chain::chain;

/// Number of lines shown of the verifier's log.
const VERIFIER_LINES: usize = 10;

/// Why the kernel programs cannot be loaded or attached. Each message is one line that names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The probe was built before the kernel object.
    #[error(
        "the kernel object is not built into this probe: run \"cargo xtask build-ebpf\", then build the probe again"
    )]
    Absent,
    /// The embedded object has another layout version than this probe.
    #[error(
        "the kernel object built into this probe has layout {found}, this probe needs {LAYOUT}: \
         run \"cargo xtask build-ebpf\", then build the probe again"
    )]
    Layout {
        /// The object's layout version, or "unknown".
        found: String,
    },
    /// The kernel does not permit this process to load programs or create maps.
    #[error(
        "the kernel refuses eBPF to this process ({what}: {source}): run it as root, or give it the capabilities \
         CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted {
        /// The step that was refused.
        what: String,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// The kernel rejected a program for another reason. Most often the kernel is too old.
    #[error(
        "the kernel refuses the program {program} ({source}; {verifier}): kernels from 6.1 on accept it \
         (`uname -r` prints yours); LOG_LEVEL=debug shows the verifier's last lines"
    )]
    Refused {
        /// The program's name.
        program: String,
        /// The kernel's error.
        source: std::io::Error,
        /// The verifier's reason, in one line.
        verifier: String,
    },
    /// The object lacks a required part.
    #[error("the kernel object has no {what}: run \"cargo xtask build-ebpf\", then build the probe again")]
    Missing {
        /// The missing map or program.
        what: &'static str,
    },
    /// Any other error of loading or attaching.
    #[error("{what}: {reason}")]
    Other {
        /// The operation that failed.
        what: String,
        /// Why it failed.
        reason: String,
    },
}

impl ObjectError {
    /// Creates an error of another kind.
    pub(crate) fn other(what: impl Into<String>, error: &dyn std::error::Error) -> Self {
        Self::Other { what: what.into(), reason: error.to_string() }
    }

    /// Creates the error for a map that cannot be read.
    pub(crate) fn unreadable(map: &str, error: &MapError) -> Self {
        Self::other(format!("the map {map} cannot be read"), error)
    }

    /// A short name for metrics and `/status`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Absent => "no_object",
            Self::Layout { .. } => "layout",
            Self::NotPermitted { .. } => "not_permitted",
            Self::Refused { .. } => "refused",
            Self::Missing { .. } => "missing",
            Self::Other { .. } => "other",
        }
    }

    /// Classifies an error of loading or attaching a program.
    #[must_use]
    pub fn of_program(program: &str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                tracing::debug!(
                    program,
                    "the verifier's last lines:\n{}",
                    last_lines(&verifier_log.to_string())
                );
                // EPERM means a missing privilege. The verifier returns EACCES and other errors.
                if io_error.raw_os_error() == Some(libc::EPERM) {
                    return Self::NotPermitted { what: format!("loading {program}"), source: io_error };
                }
                let verifier = reason_in(&verifier_log.to_string());
                Self::Refused { program: program.to_owned(), source: io_error, verifier }
            }
            ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EPERM) => {
                Self::NotPermitted { what: format!("attaching {program}"), source: error.io_error }
            }
            other => Self::Other { what: format!("program {program}"), reason: chain(&other) },
        }
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(VERIFIER_LINES)..].join("\n")
}

/// The verifier's reason: the last line that is not one of its statistics.
fn reason_in(log: &str) -> String {
    let mut lines = log.lines().rev().map(str::trim);
    let is_reason = |line: &&str| {
        let counts = ["processed ", "verification time", "stack depth", "insns "];
        !line.is_empty() && !counts.iter().any(|count| line.starts_with(count))
    };
    lines
        .find(is_reason)
        .map_or_else(|| "the verifier printed nothing".to_owned(), |line| format!("{line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_reason_is_the_line_above_its_counts() {
        let log = "12: (85) call bpf_loop#181\nR1 type=scalar expected=fp\n\nverification time 7 usec\n\
                   stack depth 8\nprocessed 13 insns (limit 1000000) max_states_per_insn 0\n";
        assert_eq!(reason_in(log), "\"R1 type=scalar expected=fp\"");
        assert_eq!(reason_in("processed 1 insns"), "the verifier printed nothing");
    }

    #[test]
    fn a_verifier_log_is_cut_to_its_last_lines() {
        let log = (1..=200).map(|n| format!("line {n}\n")).collect::<String>();
        let shown = last_lines(&log);
        assert_eq!(shown.lines().count(), VERIFIER_LINES);
        assert!(shown.starts_with("line 191") && shown.ends_with("line 200"));
    }
}
