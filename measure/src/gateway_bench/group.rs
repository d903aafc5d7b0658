//! CPU time and memory of a server's processes.

use std::fs;
use std::process::Command;

use anyhow::Result;
use lab::cgroup::Cgroup;
use lab::process::Process;

use crate::machine::{CHILDREN, OWN, cpu_seconds, proportional_bytes};

/// The processes of one server.
pub(super) struct Group {
    /// `None` without the right to create one.
    cgroup: Option<Cgroup>,
}

impl Group {
    pub(super) fn new(name: &str) -> Self {
        Self { cgroup: Cgroup::create(&format!("gateway-bench-{name}")).ok() }
    }

    pub(super) fn enter(&self, command: &mut Command) -> Result<()> {
        self.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.enter(command))
    }

    /// Returns the source of the CPU time.
    pub(super) const fn source(&self) -> &'static str {
        match self.cgroup {
            Some(_) => "`cpu.stat` of its control group",
            None => "`/proc/PID/stat` of its processes, in steps of 10 ms",
        }
    }

    /// Returns the CPU microseconds so far.
    pub(super) fn cpu_microseconds(&self, root: &Process) -> f64 {
        if let Some(cgroup) = &self.cgroup {
            let text = fs::read_to_string(cgroup.path().join("cpu.stat")).unwrap_or_default();
            let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
            return usage.unwrap_or_default();
        }
        let of = |pid: &u32| cpu_seconds(*pid, OWN) + cpu_seconds(*pid, CHILDREN);
        self.pids(root).iter().map(of).sum::<f64>() * 1e6
    }

    /// Returns the memory in bytes: the sum of the proportional set sizes, which has shared pages once.
    pub(super) fn memory(&self, root: &Process) -> u64 {
        self.pids(root).into_iter().filter_map(proportional_bytes).sum()
    }

    /// Returns the running processes.
    pub(super) fn pids(&self, root: &Process) -> Vec<u32> {
        let numbers = |text: &str| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if let Some(cgroup) = &self.cgroup {
            return numbers(&fs::read_to_string(cgroup.path().join("cgroup.procs")).unwrap_or_default());
        }
        let mut found: Vec<u32> = vec![root.pid()];
        let mut at = 0;
        while let Some(pid) = found.get(at) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children: Vec<u32> = numbers(&children.unwrap_or_default());
            found.extend(children);
            at += 1;
        }
        found
    }
}
