//! Attaches the programs: a table row and a status for each.

use std::fs::File;
use std::path::Path;

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError};
use protocol::probe_api::ProgramStatus;

use crate::kernel::error::ObjectError;
use crate::kernel::pin::PinnedSet;
use crate::kernel::protocol::Protocol;

/// The program that tracks connections.
pub(crate) const SOCKET_EVENTS: &str = "socket_events";

/// The program that reports the end of older connections.
pub(crate) const SOCKET_RELEASED: &str = "socket_released";

/// A program, its hook, and whether the probe requires it.
struct Row {
    program: &'static str,
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

/// Returns the programs of a protocol.
const fn table(protocol: Protocol) -> [Row; 4] {
    let (ingress, egress) = match protocol {
        Protocol::Http => ("ingress", "egress"),
        Protocol::Resp => ("ingress_resp", "egress_resp"),
    };
    [
        Row {
            program: ingress,
            hook: "cgroup_skb/ingress",
            at: Hook::Packets(CgroupSkbAttachType::Ingress),
            required: true,
        },
        Row {
            program: egress,
            hook: "cgroup_skb/egress",
            at: Hook::Packets(CgroupSkbAttachType::Egress),
            required: true,
        },
        Row { program: SOCKET_EVENTS, hook: "sock_ops", at: Hook::Sockets, required: false },
        Row { program: SOCKET_RELEASED, hook: "cgroup/sock_release", at: Hook::Released, required: false },
    ]
}

/// Where links are held.
pub(crate) enum Links {
    /// In this process. Dropping the list detaches the programs.
    Held(Vec<FdLink>),
    /// In a pinned set.
    Pinned(PinnedSet),
}

/// The programs whose links a pinned set must have. Only the lab's shards can be pinned.
#[must_use]
pub fn required() -> Vec<&'static str> {
    table(Protocol::Http).iter().filter(|row| row.required).map(|row| row.program).collect()
}

/// The names of all links of a pinned set.
pub(crate) fn all() -> Vec<&'static str> {
    table(Protocol::Http).iter().map(|row| row.program).collect()
}

/// Loads every program and attaches it to the cgroup. A pinned link instead gets the new program in place.
pub(crate) fn attach(
    ebpf: &mut Ebpf,
    protocol: Protocol,
    cgroup: &Path,
    links: &mut Links,
) -> Result<Vec<ProgramStatus>, ObjectError> {
    let cgroup = File::open(cgroup).map_err(|error| {
        ObjectError::other(format!("the cgroup {} cannot be opened", cgroup.display()), &error)
    })?;
    let mut statuses = Vec::new();
    for row in &table(protocol) {
        let (why, reason) = match attach_one(ebpf, row, &cgroup, links) {
            Ok(()) => (None, "ok"),
            Err(error) if row.required => return Err(error),
            Err(error) => {
                if let Links::Pinned(set) = links {
                    // The program of an earlier probe must not keep running when this probe cannot replace it.
                    set.forget(row.program);
                }
                (Some(error.to_string()), error.kind())
            }
        };
        statuses.push(ProgramStatus {
            program: row.program.into(),
            hook: row.hook.into(),
            required: row.required,
            attached: why.is_none(),
            why,
            reason: reason.into(),
        });
    }
    Ok(statuses)
}

/// Which programs the kernel accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rehearsal {
    /// The accepted programs.
    pub(crate) taken: Vec<&'static str>,
    /// Why the kernel rejected optional programs.
    pub(crate) refused: Vec<String>,
}

/// Loads every program as [`attach`] does, and attaches none.
pub(crate) fn rehearse(ebpf: &mut Ebpf, protocol: Protocol) -> Result<Rehearsal, ObjectError> {
    let mut rehearsal = Rehearsal::default();
    for row in &table(protocol) {
        match load_one(ebpf, row.program) {
            Ok(_) => rehearsal.taken.push(row.program),
            Err(error) if row.required => return Err(error),
            Err(error) => rehearsal.refused.push(error.to_string()),
        }
    }
    Ok(rehearsal)
}

fn attach_one(ebpf: &mut Ebpf, row: &Row, cgroup: &File, links: &mut Links) -> Result<(), ObjectError> {
    let program = load_one(ebpf, row.program)?;
    let attach = |program: &mut Program| {
        link(program, row.at, cgroup).map_err(|error| ObjectError::of_program(row.program, error))
    };
    match links {
        Links::Held(links) => links.push(attach(program)?),
        Links::Pinned(set) => set.place(row.program, program, attach)?,
    }
    Ok(())
}

fn load_one<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, ObjectError> {
    let program = ebpf.program_mut(name).ok_or(ObjectError::Missing { what: name })?;
    load(program).map_err(|error| ObjectError::of_program(name, error))?;
    Ok(program)
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn link(program: &mut Program, at: Hook, cgroup: &File) -> Result<FdLink, ProgramError> {
    // aya creates links only in this mode. Links on a cgroup never displace each other.
    let mode = CgroupAttachMode::Single;
    let link = match (program, at) {
        (Program::CgroupSkb(program), Hook::Packets(at)) => {
            let id = program.attach(cgroup, at, mode)?;
            program.take_link(id)?.try_into()
        }
        (Program::CgroupSock(program), Hook::Released) => {
            let id = program.attach(cgroup, mode)?;
            program.take_link(id)?.try_into()
        }
        (Program::SockOps(program), Hook::Sockets) => {
            let id = program.attach(cgroup, mode)?;
            program.take_link(id)?.try_into()
        }
        _ => return Err(ProgramError::UnexpectedProgramType),
    };
    // Kernels before 5.7 have no links. The programs need a newer kernel anyway.
    link.map_err(|_| ProgramError::UnexpectedProgramType)
}
