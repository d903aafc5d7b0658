//! Sockets: a packet's, and what the kernel keeps in them for this probe, freed with them.

use aya_ebpf::{
    bindings::bpf_sock,
    btf_maps::SkStorage,
    helpers::generated::{bpf_sk_fullsock, bpf_sk_storage_get},
    programs::SkBuffContext,
};

/// States of `sk_state`.
pub const ESTABLISHED: u32 = 1;
pub const CLOSE: u32 = 7;
pub const CLOSE_WAIT: u32 = 8;
pub const LISTEN: u32 = 10;

/// `BPF_SK_STORAGE_GET_F_CREATE`.
pub const CREATE: u64 = 1;

/// A packet's socket, full or not.
#[inline(always)]
pub fn of_packet(context: &SkBuffContext) -> Option<*mut bpf_sock> {
    // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
    let socket = unsafe { (*context.skb.skb).__bindgen_anon_2.sk };
    (!socket.is_null()).then_some(socket)
}

/// The socket, if it is a full one.
#[inline(always)]
pub fn full(socket: *mut bpf_sock) -> Option<*mut bpf_sock> {
    // SAFETY: not null.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    (!socket.is_null()).then_some(socket)
}

/// What `map` keeps in a socket that is not null, if it keeps something there; with [`CREATE`] it does.
#[inline(always)]
pub fn storage<T>(map: &SkStorage<T>, socket: *mut bpf_sock, flags: u64) -> Option<*mut T> {
    let map = core::ptr::from_ref(map).cast_mut().cast();
    // SAFETY: a map of this object and a socket.
    let value: *mut T =
        unsafe { bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), flags) }.cast();
    (!value.is_null()).then_some(value)
}
