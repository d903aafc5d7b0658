//! Which shard an endpoint, or a socket, belongs to.

use core::ptr::NonNull;

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
    programs::SkBuffContext,
};
use probe_common::{
    MAX_ENDPOINTS,
    endpoint::Endpoint,
    socket::{Owner, Socket},
};

use crate::{
    atomic,
    endpoint_key::EndpointKey,
    packet::{End, Packet},
};

#[map]
static SHARDS: HashMap<Endpoint, u32> = HashMap::with_max_entries(MAX_ENDPOINTS, 0);

/// How often user space has changed [`SHARDS`]. Each change invalidates the shards cached in sockets.
#[map]
static CHANGES: Array<u32> = Array::with_max_entries(1, 0);

/// The number of the shard that listens at this endpoint, if any.
#[inline(always)]
pub fn find(key: &EndpointKey) -> Option<u32> {
    // SAFETY: entries are replaced by user space only, as a whole; a stale number is still a number.
    SHARDS.get_ptr(key.endpoint()).map(|shard| unsafe { *shard })
}

/// The shard at one end of a packet. `storage` belongs to the socket at that end, and caches the result.
#[inline(always)]
pub fn of_packet(
    context: &SkBuffContext,
    packet: &Packet,
    end: End,
    storage: Option<NonNull<Socket>>,
) -> Option<u32> {
    let Some(storage) = storage else { return find(&packet.at(context, end)?) };
    // Read before `SHARDS`: user space raises it after a change there, which invalidates a result that came too early.
    // SAFETY: a number that user space replaces as a whole.
    let changes = unsafe { CHANGES.get_ptr(0)?.read_volatile() };
    // SAFETY: a word of a socket's storage, which says itself how long it holds.
    let owner = unsafe { &raw mut (*storage.as_ptr()).owner };
    // SAFETY: the same.
    if let Some(shard) = unsafe { owner.read_volatile() }.shard(changes) {
        return Some(shard);
    }
    // An exchange, as a processor that reorders reads does not move them across it.
    // SAFETY: the same.
    unsafe { atomic::exchange(owner.cast(), 0) };
    let shard = find(&packet.at(context, end)?)?;
    // SAFETY: the same.
    unsafe { owner.write_volatile(Owner::found(shard, changes)) };
    Some(shard)
}
