//! Finds the shard of an endpoint or a socket.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::bpf_sock,
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
    ports,
};

const PROTOCOL_TCP: u32 = 6;
const AF_INET: u32 = 2;

#[map]
static SHARDS: HashMap<Endpoint, u32> = HashMap::with_max_entries(MAX_ENDPOINTS, 0);

/// Number of changes of [`SHARDS`] by user space. Each change invalidates the shards cached in sockets.
#[map]
static CHANGES: Array<u32> = Array::with_max_entries(1, 0);

/// Returns the number of the shard that listens at this endpoint, if any.
#[inline(always)]
pub fn find(key: &EndpointKey) -> Option<u32> {
    // SAFETY: only user space replaces entries, as a whole. A stale number is still valid.
    SHARDS.get_ptr(key.endpoint()).map(|shard| unsafe { *shard })
}

/// Returns the shard of a socket, by the socket's own address and port.
#[inline(always)]
pub fn of_socket(socket: *mut bpf_sock) -> Option<u32> {
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
    find(&EndpointKey::of(endpoint))
}

/// Returns the shard at one end of a packet. `storage` belongs to the socket at that end and caches the result.
#[inline(always)]
pub fn of_packet(
    context: &SkBuffContext,
    packet: &Packet,
    end: End,
    storage: Option<NonNull<Socket>>,
) -> Option<u32> {
    let Some(storage) = storage else { return find(&packet.at(context, end)?) };
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
    let shard = find(&packet.at(context, end)?)?;
    // SAFETY: as above.
    unsafe { owner.write_volatile(Owner::found(shard, changes)) };
    Some(shard)
}
