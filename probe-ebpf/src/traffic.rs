//! Signal `traffic`: payload bytes, IP bytes and packets of each shard's sockets, both ways.
//!
//! Hook: `cgroup_skb`. Unit: bytes; packets on the wire. Cannot see: packets without a full socket (TIME_WAIT, resets
//! to nowhere, the SYN-ACKs of a listener's requests). Minimum kernel: 4.10.

use aya_ebpf::{macros::map, maps::PerCpuArray, programs::SkBuffContext};
use probe_common::{
    MAX_SHARDS,
    traffic::{Flow, Traffic},
};

use crate::{atomic, packet::Packet};

#[map]
static TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Counts a packet towards a shard.
#[inline(always)]
pub fn count_received(context: &SkBuffContext, shard: u32, packet: &Packet) {
    let Some(traffic) = TRAFFIC.get_ptr_mut(shard) else { return };
    // SAFETY: the map's value for this CPU. Ingress runs in softirq, where nothing else on this CPU gets at it.
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
    // SAFETY: counters of that value. Egress runs in process context too, where softirq or another task may cut in:
    // hence atomic.
    unsafe {
        atomic::add(&raw mut (*flow).payload_bytes, u64::from(packet.payload_length));
        atomic::add(&raw mut (*flow).ip_bytes, u64::from(context.len()));
        atomic::add(&raw mut (*flow).packets, packets(context));
    }
}

/// Counts a packet whose payload could not be told from its headers.
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

/// Packets on the wire: a batch of segments counts as many as it holds.
#[inline(always)]
fn packets(context: &SkBuffContext) -> u64 {
    // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
    let segments = unsafe { (*context.skb.skb).gso_segs };
    u64::from(if segments == 0 { 1 } else { segments })
}
