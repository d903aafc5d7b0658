//! A thread pinned to one CPU.
//!
//! Loopback queues packets per sending CPU. Two segments of one write arrive out of order if the thread moves between
//! them.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Keeps this thread, and the threads that it starts, on one CPU until dropped.
#[derive(Debug)]
pub(crate) struct PinnedThread(CpuSet);

impl PinnedThread {
    /// Pins to the current CPU.
    pub(crate) fn here() -> Result<Self> {
        Self::on(sched_getcpu())
    }

    pub(crate) fn on(cpu: usize) -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one).context("this thread cannot be pinned to one CPU")?;
        Ok(Self(before))
    }
}

impl Drop for PinnedThread {
    fn drop(&mut self) {
        // The kernel has accepted this CPU set before.
        let _ = sched_setaffinity(None, &self.0);
    }
}
