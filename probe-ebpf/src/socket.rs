//! Sockets of packets, and the storage in them.
//!
//! The kernel frees a socket's storage with the socket.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::bpf_sock,
    btf_maps::SkStorage,
    helpers::generated::{bpf_sk_fullsock, bpf_sk_storage_get},
    macros::btf_map,
    programs::SkBuffContext,
};
use probe_common::socket::Socket;

/// One value for each socket that is or was a shard's. One lookup returns all its state.
#[btf_map]
static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// Values of `sk_state`.
pub const ESTABLISHED: u32 = 1;
pub const SYN_RECEIVED: u32 = 3;
pub const CLOSE: u32 = 7;
pub const CLOSE_WAIT: u32 = 8;
pub const LISTEN: u32 = 10;

/// `BPF_SK_STORAGE_GET_F_CREATE`.
pub const CREATE: u64 = 1;

/// Returns a packet's socket, which may not be a full one. The state and the storage can be read in either case.
#[inline(always)]
pub fn of_packet(context: &SkBuffContext) -> Option<*mut bpf_sock> {
    // SAFETY: the context's own structure. The verifier rewrites the access to the kernel's structure.
    let socket = unsafe { (*context.skb.skb).__bindgen_anon_2.sk };
    (!socket.is_null()).then_some(socket)
}

/// Returns the socket if it is a full one.
#[inline(always)]
pub fn full(socket: *mut bpf_sock) -> Option<*mut bpf_sock> {
    // SAFETY: the socket is not null.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    (!socket.is_null()).then_some(socket)
}

/// Returns the storage of a packet's socket, if it exists.
#[inline(always)]
pub fn storage_of_packet(context: &SkBuffContext) -> Option<NonNull<Socket>> {
    NonNull::new(storage(of_packet(context)?, 0)?)
}

/// Returns the storage of a socket that is not null, if it exists. With [`CREATE`], it is created for a full socket.
#[inline(always)]
pub fn storage(socket: *mut bpf_sock, flags: u64) -> Option<*mut Socket> {
    let map = core::ptr::from_ref(&SOCKETS).cast_mut().cast();
    // SAFETY: a map of this object and a socket.
    let value: *mut Socket =
        unsafe { bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), flags) }.cast();
    (!value.is_null()).then_some(value)
}
