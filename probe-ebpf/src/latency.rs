//! Signal `latency`: from a data request's head to the first byte of its answer, at the shard's socket.
//!
//! Hook: `cgroup_skb`. Unit: nanoseconds, by bucket. The clock starts with the segment that completes the head. Cannot
//! see: all but the oldest request of a pipeline, and what comes behind one on that connection; the first request of a
//! connection older than the probe. An interim answer (100 Continue) is an answer here. Minimum kernel: 5.12.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::map, maps::PerCpuArray};
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
pub unsafe fn answered(shard: u32, stream: *mut Stream) {
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
    // SAFETY: the helper takes nothing.
    let took = unsafe { bpf_ktime_get_ns() }.saturating_sub(asked);
    let Some(latency) = array::value(&LATENCY, shard) else { return };
    // SAFETY: in that storage; only who has won the exchange gets here, so nobody else writes it meanwhile.
    unsafe { count(latency, &raw mut (*stream).bucket, took) };
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
