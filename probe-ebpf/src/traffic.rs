//! Signal `traffic`: bytes and packets of each shard's sockets.
//!
//! - Hook: `cgroup_skb`, in both directions.
//! - Unit: payload bytes, IP bytes, packets on the wire.
//! - Not seen: packets without a full socket (TIME_WAIT, resets without a connection, a listener's SYN-ACKs).
//! - Minimum kernel: 4.10.

use aya_ebpf::{macros::map, maps::PerCpuArray, programs::SkBuffContext};
use probe_common::{
    MAX_SHARDS,
    traffic::{Flow, Traffic},
};

use crate::{atomic, packet::Packet};

#[map]
static TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Counts a packet to a shard.
#[inline(always)]
pub fn count_received(context: &SkBuffContext, shard: u32, packet: &Packet) {
    let Some(traffic) = TRAFFIC.get_ptr_mut(shard) else { return };
    // SAFETY: the map's value for this CPU. Ingress runs in softirq, where no other program on this CPU accesses it.
    let flow = unsafe { &mut (*traffic).receive };
    flow.payload_bytes += u64::from(packet.payload_length);
    flow.ip_bytes += u64::from(context.len());
    flow.packets += packets(context);
}

/// Counts a packet from a shard.
#[inline(always)]
pub fn count_sent(context: &SkBuffContext, shard: u32, packet: &Packet) {
    let Some(traffic) = TRAFFIC.get_ptr_mut(shard) else { return };
    // SAFETY: a field of the map's value for this CPU.
    let flow: *mut Flow = unsafe { &raw mut (*traffic).transmit };
    // SAFETY: counters of that value. Egress also runs in process context, where softirq or another task may
    // interrupt it. The additions are therefore atomic.
    unsafe {
        atomic::add(&raw mut (*flow).payload_bytes, u64::from(packet.payload_length));
        atomic::add(&raw mut (*flow).ip_bytes, u64::from(context.len()));
        atomic::add(&raw mut (*flow).packets, packets(context));
    }
}

/// Counts a packet whose headers do not reveal its payload.
#[inline(always)]
pub fn count_unreadable(context: &SkBuffContext, shard: u32, is_received: bool) {
    let Some(traffic) = TRAFFIC.get_ptr_mut(shard) else { return };
    // SAFETY: a field of the map's value for this CPU.
    let flow: *mut Flow =
        unsafe { if is_received { &raw mut (*traffic).receive } else { &raw mut (*traffic).transmit } };
    // SAFETY: counters of that value; atomic, as in `count_sent`.
    unsafe {
        atomic::add(&raw mut (*flow).ip_bytes, u64::from(context.len()));
        atomic::add(&raw mut (*flow).packets, packets(context));
    }
}

/// Returns the number of packets on the wire. A batch counts as the number of segments in it.
#[inline(always)]
fn packets(context: &SkBuffContext) -> u64 {
    // SAFETY: the context's own structure. The verifier rewrites the access to the kernel's structure.
    let segments = unsafe { (*context.skb.skb).gso_segs };
    u64::from(if segments == 0 { 1 } else { segments })
}
