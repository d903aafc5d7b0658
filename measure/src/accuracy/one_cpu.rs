//! A thread kept on one processor.
//!
//! Loopback queues packets by the processor that sends them, so two segments of one write come in the wrong order when
//! the thread moves to another between them.

use anyhow::{Context, Result};

/// Keeps this thread where it is until dropped.
#[derive(Debug)]
pub struct OneCpu(libc::cpu_set_t);

impl OneCpu {
    /// From now on. Threads that this one starts stay there, too.
    ///
    /// # Errors
    /// When the kernel says no.
    pub fn stay() -> Result<Self> {
        // SAFETY: a set of processors is plain bits, all of which may be zero.
        #[expect(unsafe_code, reason = "the standard library knows no processors")]
        let (before, read, cpu) = unsafe {
            let mut before = std::mem::zeroed::<libc::cpu_set_t>();
            let read = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut before);
            (before, read, libc::sched_getcpu())
        };
        checked(read)?;
        let cpu = usize::try_from(cpu).context("the kernel does not say which processor this is")?;
        // SAFETY: as above; CPU_SET panics where the number is beyond the set.
        #[expect(unsafe_code, reason = "as above")]
        let one = unsafe {
            let mut one = std::mem::zeroed::<libc::cpu_set_t>();
            libc::CPU_SET(cpu, &mut one);
            one
        };
        set(&one)?;
        Ok(Self(before))
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = set(&self.0);
    }
}

fn set(cpus: &libc::cpu_set_t) -> Result<()> {
    // SAFETY: the kernel reads one set, of this length.
    #[expect(unsafe_code, reason = "as above")]
    let outcome = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cpus) };
    checked(outcome)
}

fn checked(outcome: libc::c_int) -> Result<()> {
    if outcome == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()).context("this thread cannot be kept on one processor")
}
