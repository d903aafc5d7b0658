//! Finds the shard of an endpoint or a socket.
//!
//! A socket belongs to a shard if its address, its port and its network namespace are the shard's.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::bpf_sock,
    macros::map,
    maps::{Array, HashMap},
    programs::SkBuffContext,
};
use probe_common::{
    MAX_ENDPOINTS,
    endpoint::{Endpoint, Listener},
    socket::{Owner, Socket},
};

use crate::{
    atomic,
    endpoint_key::EndpointKey,
    namespace,
    packet::{End, Packet},
    ports, socket,
};

const PROTOCOL_TCP: u32 = 6;
const AF_INET: u32 = 2;

#[map]
static SHARDS: HashMap<Endpoint, Listener> = HashMap::with_max_entries(MAX_ENDPOINTS, 0);

/// Number of changes of [`SHARDS`] by user space. Each change invalidates the shards cached in sockets.
#[map]
static CHANGES: Array<u32> = Array::with_max_entries(1, 0);

/// Returns the shard that listens at this endpoint, if any.
#[inline(always)]
pub fn find(key: &EndpointKey) -> Option<Listener> {
    // SAFETY: only user space replaces entries, as a whole. A stale entry is still valid.
    SHARDS.get_ptr(key.endpoint()).map(|listener| unsafe { *listener })
}

/// Returns the number of the shard that listens at this endpoint, if the packet's socket is in its namespace.
#[inline(always)]
fn find_in_namespace(
    context: &SkBuffContext,
    key: &EndpointKey,
    storage: Option<NonNull<Socket>>,
) -> Option<u32> {
    let listener = find(key)?;
    listener.may_own(namespace::of_packet(context, storage)).then_some(listener.shard)
}

/// Returns the shard of the packet's full socket, by the socket's own address and port.
#[inline(always)]
pub fn of_socket(context: &SkBuffContext, socket: *mut bpf_sock) -> Option<u32> {
    // SAFETY: a full socket. Volatile, because the verifier allows reads of whole fields only.
    let (protocol, port) = unsafe {
        (
            (&raw const (*socket).protocol).read_volatile(),
            (&raw const (*socket).src_port).read_volatile() as u16,
        )
    };
    if protocol != PROTOCOL_TCP || !ports::may_be_shard(port) {
        return None;
    }
    // Read the fields of both families. With a branch for each family, the compiler would compute one address for
    // both, and the verifier allows no arithmetic on this pointer.
    // SAFETY: as above.
    let (family, v4, v6) = unsafe {
        (
            (&raw const (*socket).family).read_volatile(),
            (&raw const (*socket).src_ip4).read_volatile(),
            [
                (&raw const (*socket).src_ip6[0]).read_volatile(),
                (&raw const (*socket).src_ip6[1]).read_volatile(),
                (&raw const (*socket).src_ip6[2]).read_volatile(),
                (&raw const (*socket).src_ip6[3]).read_volatile(),
            ],
        )
    };
    let [a, b, c, d] = v6.map(u32::to_ne_bytes);
    let endpoint = if family == AF_INET {
        Endpoint::v4(v4.to_ne_bytes(), port)
    } else {
        Endpoint::v6(
            [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]],
            port,
        )
    };
    find_in_namespace(context, &EndpointKey::of(endpoint), socket::storage_of_packet(context))
}

/// Returns the shard at one end of a packet. `storage` belongs to the socket at that end and caches the result.
#[inline(always)]
pub fn of_packet(
    context: &SkBuffContext,
    packet: &Packet,
    end: End,
    storage: Option<NonNull<Socket>>,
) -> Option<u32> {
    let Some(storage) = storage else {
        return find_in_namespace(context, &packet.at(context, end)?, None);
    };
    // Read `CHANGES` before `SHARDS`. User space increments it after each change of `SHARDS`, which invalidates a
    // result from before the change.
    // SAFETY: user space replaces the number as a whole.
    let changes = unsafe { CHANGES.get_ptr(0)?.read_volatile() };
    // SAFETY: a word of a socket's storage, which records how long it is valid.
    let owner = unsafe { &raw mut (*storage.as_ptr()).owner };
    // SAFETY: as above.
    if let Some(shard) = unsafe { owner.read_volatile() }.shard(changes) {
        return Some(shard);
    }
    // The exchange is a barrier: the CPU does not move reads across it.
    // SAFETY: as above.
    unsafe { atomic::exchange(owner.cast(), 0) };
    let shard = find_in_namespace(context, &packet.at(context, end)?, Some(storage))?;
    // SAFETY: as above.
    unsafe { owner.write_volatile(Owner::found(shard, changes)) };
    Some(shard)
}
