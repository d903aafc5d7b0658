//! Signal `connections`: connection, retransmission and reset counters of each shard.
//!
//! - Hook: `sock_ops` ([`socket_events`](crate::socket_events)); `cgroup_skb` for resets.
//! - Unit: connections; segments.
//! - Connections older than the probe: [`preexisting`](crate::preexisting).
//! - Not seen: resets to a socket in TIME_WAIT.
//! - Minimum kernel: 5.2.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use probe_common::{
    MAX_SHARDS,
    connections::{Connections, Mark},
    socket::Socket,
};

use crate::atomic;

#[map]
static CONNECTIONS: PerCpuArray<Connections> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Returns a shard's counters on this CPU.
#[inline(always)]
pub fn counters(shard: u32) -> Option<*mut Connections> {
    CONNECTIONS.get_ptr_mut(shard)
}

/// Returns a socket's mark, if its connection was counted.
#[inline(always)]
pub fn mark(socket: *mut Socket) -> Option<*mut Mark> {
    // SAFETY: `socket` is a socket's storage.
    let mark = unsafe { &raw mut (*socket).mark };
    // SAFETY: as above.
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
