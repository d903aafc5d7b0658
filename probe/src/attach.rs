//! What is attached where: one row a program, with the outcome and what to do about it.

use std::fs::File;
use std::path::Path;

use aya::Ebpf;
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, ProgramError, SockOps};
use serde::Serialize;

use crate::object::ObjectError;
use crate::signal::connections::ConnectionsMap;

/// A program, its hook, and whether the probe is any use without it.
struct Row {
    program: &'static str,
    /// The program to take where the verifier refuses that one.
    otherwise: Option<&'static str>,
    hook: &'static str,
    at: Hook,
    required: bool,
}

#[derive(Clone, Copy)]
enum Hook {
    Packets(CgroupSkbAttachType),
    Sockets,
    Released,
}

const TABLE: [Row; 4] = [
    Row {
        program: "ingress",
        otherwise: Some("ingress_careful"),
        hook: "cgroup_skb/ingress",
        at: Hook::Packets(CgroupSkbAttachType::Ingress),
        required: true,
    },
    Row {
        program: "egress",
        otherwise: None,
        hook: "cgroup_skb/egress",
        at: Hook::Packets(CgroupSkbAttachType::Egress),
        required: true,
    },
    Row {
        program: ConnectionsMap::PROGRAM,
        otherwise: None,
        hook: "sock_ops",
        at: Hook::Sockets,
        required: false,
    },
    Row {
        program: ConnectionsMap::PROGRAM_FOR_OLDER,
        otherwise: None,
        hook: "cgroup/sock_release",
        at: Hook::Released,
        required: false,
    },
];

/// The outcome for one program, as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramStatus {
    /// The program's name.
    pub program: &'static str,
    /// The kernel's hook.
    pub hook: &'static str,
    /// Whether the probe refuses to run without it.
    pub required: bool,
    /// Whether it is attached.
    pub attached: bool,
    /// Why it is not; absent when it is.
    pub why: Option<String>,
    /// A short word for the same; "ok" when attached.
    pub reason: &'static str,
}

/// Loads every program and attaches it to the cgroup; the attachments live as long as `ebpf`.
///
/// # Errors
/// When a required program is refused, or the cgroup cannot be opened.
pub fn attach(ebpf: &mut Ebpf, cgroup: &Path) -> Result<Vec<ProgramStatus>, ObjectError> {
    let cgroup = File::open(cgroup).map_err(|error| ObjectError::Other {
        what: format!("the cgroup {} cannot be opened", cgroup.display()),
        reason: error.to_string(),
    })?;
    let mut statuses = Vec::with_capacity(TABLE.len());
    for row in &TABLE {
        let mut program = row.program;
        let mut outcome = attach_one(ebpf, program, row.at, &cgroup);
        if let (Err(ObjectError::Refused { .. }), Some(other)) = (&outcome, row.otherwise) {
            program = other;
            outcome = attach_one(ebpf, program, row.at, &cgroup);
        }
        let (why, reason) = match outcome {
            Ok(()) => (None, "ok"),
            Err(error) if row.required => return Err(error),
            Err(error) => (Some(error.to_string()), error.kind()),
        };
        statuses.push(ProgramStatus {
            program,
            hook: row.hook,
            required: row.required,
            attached: why.is_none(),
            why,
            reason,
        });
    }
    Ok(statuses)
}

fn attach_one(ebpf: &mut Ebpf, name: &'static str, at: Hook, cgroup: &File) -> Result<(), ObjectError> {
    let program = ebpf.program_mut(name).ok_or(ObjectError::Missing { what: name })?;
    // The only mode aya attaches with a link; links on a cgroup never displace each other.
    let mode = CgroupAttachMode::Single;
    let attached = match at {
        Hook::Packets(at) => <&mut CgroupSkb>::try_from(program).and_then(|program| {
            program.load()?;
            program.attach(cgroup, at, mode).map(drop)
        }),
        Hook::Released => <&mut CgroupSock>::try_from(program).and_then(|program| {
            program.load()?;
            program.attach(cgroup, mode).map(drop)
        }),
        Hook::Sockets => <&mut SockOps>::try_from(program).and_then(|program| {
            program.load()?;
            program.attach(cgroup, mode).map(drop)
        }),
    };
    attached.map_err(|error: ProgramError| ObjectError::of_program(name, error))
}
