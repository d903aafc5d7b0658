//! Signal `latency`: from a data request's head to the first byte of its answer, at the shard's socket.
//!
//! - Hook: `cgroup_skb`.
//! - Unit: nanoseconds, by bucket. The clock starts with the segment that completes the head. It stops at TCP's
//!   timestamp of the answer's first segment. An interim answer (100 Continue) is an answer here.
//! - Not seen: in a pipeline all requests but the oldest, and all later requests of that connection; the first request
//!   of a connection older than the probe.
//! - Minimum kernel: 5.12.

use aya_ebpf::{
    EbpfContext, bindings::__sk_buff, helpers::bpf_ktime_get_ns, macros::map, maps::PerCpuArray,
    programs::SkBuffContext,
};
use probe_common::{
    MAX_SHARDS,
    latency::{self, Latency, SLOTS},
    protocol::Protocol,
    stream::Stream,
};

use crate::atomic;

#[map]
static LATENCY: PerCpuArray<Latency> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Starts the clock: the request to be timed has arrived.
#[inline(always)]
pub fn start<P: Protocol>(stream: &mut Stream<P>, came_at: u64) {
    // SAFETY: an aligned word of the socket's storage; egress takes it by an exchange.
    unsafe { (&raw mut stream.request_started).write_volatile(came_at) };
}

/// Stops the clock: the first bytes of an answer leave.
///
/// # Safety
///
/// `stream` is a socket's storage.
#[inline(always)]
pub unsafe fn stop<P: Protocol>(context: &SkBuffContext, shard: u32, stream: *mut Stream<P>) {
    // SAFETY: the caller's promise.
    let request_started = unsafe { &raw mut (*stream).request_started };
    // SAFETY: an aligned word of that storage.
    if unsafe { request_started.read_volatile() } == 0 {
        return;
    }
    // By an exchange, because two CPUs may send for one socket. Only one of them counts.
    // SAFETY: as above.
    let started = unsafe { atomic::exchange(request_started, 0) };
    if started == 0 {
        return;
    }
    // SAFETY: the program's context.
    let took = unsafe { departure_time(context.as_ptr().cast()) }.saturating_sub(started);
    let Some(latency) = LATENCY.get_ptr_mut(shard) else { return };
    // SAFETY: the map's value for this CPU.
    unsafe { count(latency, took) };
}

/// Returns the time at which a segment leaves, in nanoseconds of the kernel's monotonic clock. TCP has just read that
/// clock for the segment (since 4.20). Reading it again would take longer than a lookup of the shard.
///
/// # Safety
///
/// `context` is the program's context.
#[inline(always)]
pub unsafe fn departure_time(context: *mut __sk_buff) -> u64 {
    // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
    match unsafe { (*context).tstamp } {
        // The segment comes from a test, not from TCP.
        // SAFETY: the helper takes nothing.
        0 => unsafe { bpf_ktime_get_ns() },
        time => time,
    }
}

/// Counts a duration in nanoseconds.
///
/// # Safety
///
/// `latency` is a map's value for this CPU.
#[inline(always)]
pub unsafe fn count(latency: *mut Latency, took: u64) {
    // SAFETY: the caller's promise.
    unsafe { count_several(latency, took, 1) };
}

/// Counts several equal durations in nanoseconds.
///
/// # Safety
///
/// As for [`count`].
#[inline(always)]
pub unsafe fn count_several(latency: *mut Latency, took: u64, times: u64) {
    // The verifier must see that the index is below `SLOTS`. Without `black_box` the compiler infers it and removes the
    // mask.
    let bucket = core::hint::black_box(latency::bucket(took)) as usize & usize::from(u8::MAX);
    const { assert!(SLOTS > u8::MAX as usize) };
    // SAFETY: fields of the map's value for this CPU; atomic, because softirq may interrupt process context.
    unsafe {
        let first = (&raw mut (*latency).buckets).cast::<u64>();
        atomic::add(first.add(bucket), times);
        atomic::add(&raw mut (*latency).sum, took.wrapping_mul(times));
    }
}
