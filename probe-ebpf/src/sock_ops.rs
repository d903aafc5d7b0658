//! Fields of a `sock_ops` call: socket, arguments, both endpoints.

use aya_ebpf::{bindings::bpf_sock, programs::SockOpsContext};
use probe_common::endpoint::Endpoint;

const AF_INET: u32 = 2;

/// Returns the socket of the call.
#[inline(always)]
pub fn socket(context: &SockOpsContext) -> Option<*mut bpf_sock> {
    // SAFETY: the context's own structure. The verifier rewrites the access to the kernel's structure.
    let socket = unsafe { (*context.ops).__bindgen_anon_2.sk };
    (!socket.is_null()).then_some(socket)
}

/// Returns an argument of the call. Volatile, because the compiler would merge two 4-byte reads and the verifier
/// accepts no larger ones.
#[inline(always)]
pub fn argument<const N: usize>(context: &SockOpsContext) -> u32 {
    // SAFETY: the context's own structure. The verifier rewrites the access to the kernel's structure.
    unsafe { (&raw const (*context.ops).__bindgen_anon_1.args[N]).read_volatile() }
}

/// Returns the socket's own address and port.
#[inline(always)]
pub fn local(context: &SockOpsContext) -> Endpoint {
    let port = context.local_port() as u16;
    if context.family() == AF_INET {
        return Endpoint::v4(context.local_ip4().to_ne_bytes(), port);
    }
    // SAFETY: as in `argument`.
    v6(unsafe { (&raw const (*context.ops).local_ip6).cast::<u32>() }, port)
}

/// Returns the peer's address and port.
#[inline(always)]
pub fn remote(context: &SockOpsContext) -> Endpoint {
    // The port is in network byte order, in the upper half.
    let port = u16::from_be((context.remote_port() >> 16) as u16);
    if context.family() == AF_INET {
        return Endpoint::v4(context.remote_ip4().to_ne_bytes(), port);
    }
    // SAFETY: as in `argument`.
    v6(unsafe { (&raw const (*context.ops).remote_ip6).cast::<u32>() }, port)
}

#[inline(always)]
fn v6(address: *const u32, port: u16) -> Endpoint {
    // SAFETY: four words of the context. Volatile, as in `argument`.
    let [a, b, c, d] = unsafe {
        [
            address.read_volatile(),
            address.add(1).read_volatile(),
            address.add(2).read_volatile(),
            address.add(3).read_volatile(),
        ]
    }
    .map(u32::to_ne_bytes);
    Endpoint::v6(
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]],
        port,
    )
}
