//! Signal `connections`: round-trip times as TCP measures them.
//!
//! A round trip lasts from a shard's segment to its acknowledgement.
//!
//! - Hook: `sock_ops`, enabled by a flag of each connection, only with `RTT=on`.
//! - Unit: nanoseconds, by bucket. TCP measures microseconds.
//! - Not seen: more than one round trip of each flight; connections older than the probe.
//! - Minimum kernel: 5.3. Before 6.10 the kernel reports only the smoothed round trip.

use aya_ebpf::{
    Global, bindings::BPF_SOCK_OPS_RTT_CB_FLAG, macros::map, maps::PerCpuArray, programs::SockOpsContext,
};
use probe_common::{MAX_SHARDS, latency::Latency};

use crate::{latency, sock_ops::argument};

#[map]
static RTT: PerCpuArray<Latency> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Whether round trips are measured. The loader sets it.
#[unsafe(no_mangle)]
static RTT_WANTED: Global<u8> = Global::new(0);

/// Returns the flag that enables the callback, or 0 if round trips are not measured.
#[inline(always)]
pub fn flag() -> u32 {
    if RTT_WANTED.load() == 0 { 0 } else { BPF_SOCK_OPS_RTT_CB_FLAG }
}

/// Counts a round trip that TCP measured on a marked socket.
#[inline(always)]
pub fn count_sample(context: &SockOpsContext, shard: u32) -> Option<()> {
    // Another probe may have enabled the callback.
    if RTT_WANTED.load() == 0 {
        return None;
    }
    let (sample, smoothed) = (argument::<0>(context), argument::<1>(context));
    let microseconds = if smoothed > 0 {
        sample
    } else {
        // Before 6.10 there are no arguments. This is TCP's smoothed value before this sample, in eighths of a
        // microsecond. It is 0 before the first sample.
        // SAFETY: the context's own structure. The verifier rewrites the access to the kernel's structure.
        let eighths = unsafe { (&raw const (*context.ops).srtt_us).read_volatile() };
        if eighths == 0 {
            return None;
        }
        eighths / 8
    };
    let latency = RTT.get_ptr_mut(shard)?;
    // SAFETY: the map's value for this CPU.
    unsafe { latency::count(latency, u64::from(microseconds) * 1_000) };
    Some(())
}
