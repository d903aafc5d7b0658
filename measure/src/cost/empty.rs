//! What the kernel's statistics themselves cost, measured with an empty program.

use anyhow::{Context as _, Result, bail};
use aya::sys::{Stats, enable_stats};
use serde::Serialize;
use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::statistics::Quartiles;

/// Runs in one call, and calls.
const RUNS: u32 = 200_000;
const CALLS: usize = 9;

/// `BPF_PROG_LOAD`, `BPF_PROG_TEST_RUN` and `BPF_PROG_TYPE_CGROUP_SKB` of `linux/bpf.h`.
const LOAD: c_int = 5;
const TEST_RUN: c_int = 10;
const CGROUP_SKB: u32 = 8;

/// `r0 = 1; exit`.
const PROGRAM: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

/// The cost of the statistics for each run of a program, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StatisticsCost {
    /// The part that the statistics record as the program's own time.
    pub recorded: Quartiles,
    /// By how much a run takes longer: two clock reads and three counters.
    pub added: f64,
}

/// The start of `bpf_attr` for a load. The omitted fields are 0.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log: [u32; 2],
    log_buffer: u64,
    version_and_flags: [u32; 2],
}

/// The start of `bpf_attr` for a test run.
#[repr(C)]
#[derive(Default)]
struct RunAttributes {
    program: u32,
    return_value: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context: [u64; 3],
}

/// Measures the cost. Requires `CAP_SYS_ADMIN`.
pub(crate) fn measure() -> Result<StatisticsCost> {
    let program = load()?;
    let nanoseconds = || (0..CALLS).map(|_| run(&program).map(f64::from)).collect::<Result<Vec<_>>>();
    let median = |values: Vec<f64>| Ok::<_, anyhow::Error>(Quartiles::of(values).context("no run")?.median);
    run(&program)?;
    let without = median(nanoseconds()?)?;
    // Enabled while this value lives.
    let _statistics = enable_stats(Stats::RunTime).context("the kernel does not count the programs' runs")?;
    let with = median(nanoseconds()?)?;
    let recorded = (0..CALLS).map(|_| {
        let before = counted(&program)?;
        run(&program)?;
        let after = counted(&program)?;
        Ok((after.0 - before.0) / (after.1 - before.1))
    });
    let recorded = Quartiles::of(recorded.collect::<Result<Vec<_>>>()?).context("no run")?;
    Ok(StatisticsCost { recorded, added: with - without })
}

fn load() -> Result<OwnedFd> {
    let license = c"GPL";
    let mut attributes = LoadAttributes {
        kind: CGROUP_SKB,
        instructions: PROGRAM.len() as u32,
        program: PROGRAM.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        ..LoadAttributes::default()
    };
    let fd = c_int::try_from(bpf(LOAD, &mut attributes)?)?;
    // SAFETY: the kernel has just created this descriptor, and no other code owns it.
    #[expect(unsafe_code, reason = "a descriptor from a system call without a wrapper")]
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns the nanoseconds of a run, with the kernel's loop around it.
fn run(program: &OwnedFd) -> Result<u32> {
    let packet = [0_u8; 64];
    let mut attributes = RunAttributes {
        program: u32::try_from(program.as_raw_fd())?,
        size_in: packet.len() as u32,
        data_in: packet.as_ptr().addr() as u64,
        repeat: RUNS,
        ..RunAttributes::default()
    };
    bpf(TEST_RUN, &mut attributes)?;
    if attributes.return_value != 1 {
        bail!("the empty program returned {}", attributes.return_value);
    }
    Ok(attributes.duration)
}

/// Returns the recorded nanoseconds and runs.
fn counted(program: &OwnedFd) -> Result<(f64, f64)> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
    let number = |name: &str| {
        let value = about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse::<f64>().ok()).with_context(|| format!("no {name}"))
    };
    Ok((number("run_time_ns")?, number("run_cnt")?))
}

fn bpf<T>(command: c_int, attributes: &mut T) -> Result<c_long> {
    // SAFETY: the attributes are a prefix of `bpf_attr` for that command, with the given length. Everything they
    // point to outlives the call, and the kernel writes nowhere else.
    #[expect(unsafe_code, reason = "aya loads programs from object files only")]
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 {
        bail!("bpf({command}): {}", io::Error::last_os_error());
    }
    Ok(result)
}
