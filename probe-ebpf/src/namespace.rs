//! Network namespaces of sockets.
//!
//! - Minimum kernel: 5.15 for connections newer than the probe, 6.15 for all packets.
//! - Not seen: before 6.15, the namespace of listeners and of connections older than the probe.

use core::ptr::NonNull;

use aya_ebpf::{
    EbpfContext as _, Global,
    helpers::generated::bpf_get_netns_cookie,
    macros::map,
    maps::LruHashMap,
    programs::{SkBuffContext, SockOpsContext},
};
use probe_common::{
    endpoint::{ConnectionKey, UNKNOWN_NAMESPACE},
    socket::Socket,
};

use crate::endpoint_key::EndpointKey;

/// Connections that can be accepted until the probe reads the entry of its own one.
const RECORDED: u32 = 4096;

/// New connections to endpoints whose namespace the probe determines from them.
#[map]
static ACCEPTED: LruHashMap<ConnectionKey, u64> = LruHashMap::with_max_entries(RECORDED, 0);

/// Whether the kernel provides the namespace of a packet's socket. The loader sets it. If it is 0, the
/// verifier does not check the call.
#[unsafe(no_mangle)]
static PACKETS_HAVE_NAMESPACE: Global<u8> = Global::new(0);

/// Whether [`of_packet`] needs no storage.
#[inline(always)]
pub fn is_in_packets() -> bool {
    PACKETS_HAVE_NAMESPACE.load() != 0
}

/// Returns the cookie of the namespace of a packet's socket, whose storage is `storage`.
#[inline(always)]
pub fn of_packet(context: &SkBuffContext, storage: Option<NonNull<Socket>>) -> u64 {
    if is_in_packets() {
        // SAFETY: the program's context.
        return unsafe { bpf_get_netns_cookie(context.as_ptr()) };
    }
    // SAFETY: a socket's storage. `socket_events` writes the word as a whole.
    storage.map_or(UNKNOWN_NAMESPACE, |storage| unsafe { (*storage.as_ptr()).namespace })
}

/// Returns the cookie of the namespace of the socket of a `sock_ops` call.
#[inline(always)]
pub fn of_event(context: &SockOpsContext) -> u64 {
    // SAFETY: the program's context.
    unsafe { bpf_get_netns_cookie(context.ops.cast()) }
}

/// Records the namespace that accepted a connection.
#[inline(always)]
pub fn record(client: &EndpointKey, server: &EndpointKey, namespace: u64) {
    // The map evicts old entries, so there is always room.
    let _ = ACCEPTED.insert([client.words(), server.words()], namespace, 0);
}
