//! Signal `connections`: opened, closed, aborted, retransmitted segments, resets, at each shard's sockets.
//!
//! Hook: `sock_ops` ([`socket_events`](crate::socket_events)); `cgroup_skb` for resets. Unit: connections; segments.
//! Connections older than the probe: [`preexisting`](crate::preexisting). Cannot see: resets to a socket in TIME_WAIT.
//! Minimum kernel: 5.2.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use probe_common::{
    MAX_SHARDS,
    connections::{Connections, Mark},
    socket::Socket,
};

use crate::atomic;

#[map]
static CONNECTIONS: PerCpuArray<Connections> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// A shard's counters on this CPU.
#[inline(always)]
pub fn counters(shard: u32) -> Option<*mut Connections> {
    CONNECTIONS.get_ptr_mut(shard)
}

/// A socket's mark, if it was counted.
#[inline(always)]
pub fn mark(socket: *mut Socket) -> Option<*mut Mark> {
    // SAFETY: a socket's storage.
    let mark = unsafe { &raw mut (*socket).mark };
    // SAFETY: the same.
    (unsafe { (*mark).kind } != 0).then_some(mark)
}

/// Counts a segment with RST to or from a shard's socket.
#[inline(always)]
pub fn count_reset(shard: u32, from_shard: bool) {
    let Some(counters) = counters(shard) else { return };
    // SAFETY: counters of the map's value for this CPU.
    unsafe {
        let counter =
            if from_shard { &raw mut (*counters).resets_sent } else { &raw mut (*counters).resets_received };
        atomic::add(counter, 1);
    }
}
