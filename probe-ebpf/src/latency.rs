//! Signal `latency`: from a data request's head to the first byte of its answer, at the shard's socket.
//!
//! Hook: `cgroup_skb`. Unit: nanoseconds, by bucket. The clock starts with the segment that completes the head and stops
//! when TCP says that the answer's first segment leaves. Cannot see: all but the oldest request of a pipeline, and what
//! comes behind one on that connection; the first request of a connection older than the probe. An interim answer (100
//! Continue) is an answer here. Minimum kernel: 5.12.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::map, maps::PerCpuArray, programs::SkBuffContext};
use probe_common::{
    MAX_SHARDS,
    latency::{self, Latency, SLOTS},
    stream::Stream,
};

use crate::{array, atomic};

#[map]
static LATENCY: PerCpuArray<Latency> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// The request that is to be timed has come.
#[inline(always)]
pub fn asked(stream: &mut Stream, came_at: u64) {
    // SAFETY: an aligned word of the socket's storage; egress takes it by an exchange.
    unsafe { (&raw mut stream.asked_at).write_volatile(came_at) };
}

/// Bytes of an answer go out.
///
/// # Safety
///
/// `stream` is a socket's storage.
#[inline(always)]
pub unsafe fn answered(context: &SkBuffContext, shard: u32, stream: *mut Stream) {
    // SAFETY: the caller's promise.
    let asked_at = unsafe { &raw mut (*stream).asked_at };
    // SAFETY: an aligned word of that storage.
    if unsafe { asked_at.read_volatile() } == 0 {
        return;
    }
    // By an exchange, as two CPUs may send for one socket: one of them counts.
    // SAFETY: as above.
    let asked = unsafe { atomic::exchange(asked_at, 0) };
    if asked == 0 {
        return;
    }
    let took = leaves(context).saturating_sub(asked);
    let Some(latency) = array::value(&LATENCY, shard) else { return };
    // SAFETY: in that storage; only who has won the exchange gets here, so nobody else writes it meanwhile.
    unsafe { count(latency, &raw mut (*stream).bucket, took) };
}

/// When a segment leaves, in nanoseconds of the kernel's monotonic clock: TCP has just read that clock for it (since 4.20),
/// and reading it again would take longer than looking a shard up.
#[inline(always)]
fn leaves(context: &SkBuffContext) -> u64 {
    // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
    match unsafe { (*context.skb.skb).tstamp } {
        // TCP did not make it: a test did.
        // SAFETY: the helper takes nothing.
        0 => unsafe { bpf_ktime_get_ns() },
        time => time,
    }
}

/// Counts a duration in nanoseconds.
///
/// # Safety
///
/// `latency` is a map's value for this CPU, `scratch` in a map's value that nobody else writes meanwhile.
#[inline(always)]
pub unsafe fn count(latency: *mut Latency, scratch: *mut u8, took: u64) {
    // By way of memory, as an index the verifier knows on one path and not on another is refused to processes without
    // CAP_PERFMON. As a byte it is below `SLOTS`.
    // SAFETY: the caller's promise.
    let bucket = unsafe {
        scratch.write_volatile(latency::bucket(took) as u8);
        usize::from(scratch.read_volatile())
    };
    const { assert!(SLOTS > u8::MAX as usize) };
    // SAFETY: fields of the map's value for this CPU; atomic, as softirq may cut in on process context.
    unsafe {
        let first = (&raw mut (*latency).buckets).cast::<u64>();
        atomic::add(first.add(bucket), 1);
        atomic::add(&raw mut (*latency).sum, took);
    }
}
