//! Signal `connections`, round trips: from a shard's segment to its acknowledgement, as TCP measures them.
//!
//! Hook: `sock_ops`, enabled by a flag of each connection, only with `RTT=on`. Unit: nanoseconds, by
//! bucket; TCP measures microseconds. Cannot see: more than one of each flight; connections older than the probe.
//! Minimum kernel: 5.3; before 6.10 the kernel reports only the smoothed round trip.

use aya_ebpf::{
    Global, bindings::BPF_SOCK_OPS_RTT_CB_FLAG, macros::map, maps::PerCpuArray, programs::SockOpsContext,
};
use probe_common::{MAX_SHARDS, latency::Latency};

use crate::{latency, sock_ops::argument};

#[map]
static RTT: PerCpuArray<Latency> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Set by the loader: whether round trips are measured.
#[unsafe(no_mangle)]
static RTT_WANTED: Global<u8> = Global::new(0);

/// The flag that enables the calls, if they are wanted.
#[inline(always)]
pub fn flag() -> u32 {
    if RTT_WANTED.load() == 0 { 0 } else { BPF_SOCK_OPS_RTT_CB_FLAG }
}

/// Counts a round trip that TCP has measured at a marked socket.
#[inline(always)]
pub fn count_sample(context: &SockOpsContext, shard: u32) -> Option<()> {
    // Another probe may have enabled the call.
    if RTT_WANTED.load() == 0 {
        return None;
    }
    let (sample, smoothed) = (argument::<0>(context), argument::<1>(context));
    let microseconds = if smoothed > 0 {
        sample
    } else {
        // Before 6.10 there are no arguments. This is what TCP had before this sample, in eighths; nothing at first.
        // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
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
