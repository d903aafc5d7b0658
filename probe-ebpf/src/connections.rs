//! Signal `connections`: opened, closed, cut short, segments sent again, resets, at each shard's sockets.
//!
//! Hook: `sock_ops`; `cgroup_skb` for resets. Unit: connections; segments. Connections older than the probe are
//! [`older`](crate::older)'s. Cannot see: resets to a socket that is none any more (TIME_WAIT). Minimum kernel: 5.2.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG,
        BPF_SOCK_OPS_RTT_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock,
    },
    macros::map,
    maps::PerCpuArray,
    programs::SockOpsContext,
};
use probe_common::{
    MAX_SHARDS,
    connections::{Connections, Mark},
    endpoint::Endpoint,
    socket::Socket,
};

use crate::{
    array, atomic, handshake, rtt,
    shard::{self, Words},
    socket::{self, CLOSE, CLOSE_WAIT, CREATE, ESTABLISHED},
};

#[map]
static CONNECTIONS: PerCpuArray<Connections> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

const AF_INET: u32 = 2;

/// A shard's counters on this CPU.
#[inline(always)]
pub fn counters(shard: u32) -> Option<*mut Connections> {
    array::value(&CONNECTIONS, shard)
}

/// Counts what happened to a socket.
#[inline(always)]
pub fn happened(context: &SockOpsContext) -> Option<()> {
    let event = context.op();
    if event == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        return opened(context);
    }
    if !matches!(event, BPF_SOCK_OPS_STATE_CB | BPF_SOCK_OPS_RETRANS_CB | BPF_SOCK_OPS_RTT_CB) {
        return None;
    }
    // Only of marked ones: another probe may have asked for the same calls for others.
    let mark = mark(socket::storage(of_call(context)?, 0)?)?;
    // SAFETY: a socket's storage lives as long as the program runs; `shard` is written before `kind`.
    let shard = unsafe { (*mark).shard };
    if event == BPF_SOCK_OPS_RTT_CB {
        return rtt::measured(context, shard, mark);
    }
    let counters = counters(shard)?;
    if event == BPF_SOCK_OPS_RETRANS_CB {
        // Also those the host itself dropped on their way out: as TCP counts them (`tcpi_total_retrans`).
        let segments = argument::<1>(context);
        // SAFETY: a counter of the map's value for this CPU.
        unsafe { atomic::add(&raw mut (*counters).retransmitted, u64::from(segments)) };
        return Some(());
    }
    let (before, now) = (argument::<0>(context), argument::<1>(context));
    if now == CLOSE && before != CLOSE {
        let cut = before == ESTABLISHED || before == CLOSE_WAIT;
        // SAFETY: as above.
        unsafe {
            atomic::add(&raw mut (*counters).closed, 1);
            if cut {
                atomic::add(&raw mut (*counters).cut, 1);
            }
        }
    }
    Some(())
}

/// A handshake has ended.
#[inline(always)]
fn opened(context: &SockOpsContext) -> Option<()> {
    let server = Words::of(local(context));
    let shard = shard::find(&server)?;
    let counters = counters(shard)?;
    let socket = socket::storage(of_call(context)?, CREATE)?;
    // SAFETY: the socket's storage; the connection is not established yet, so nobody else writes it.
    unsafe {
        (*socket).mark.shard = shard;
        (*socket).mark.kind = Mark::NEW;
    }
    let wanted = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG | rtt::flag();
    // Added to what others have asked for. It fails for flags unknown to the kernel alone, which these are not.
    let _ = context.set_cb_flags((context.cb_flags() | wanted) as i32);
    // What the handshake sent again, which TCP counts for the connection, and no call told of.
    // SAFETY: the context's own structure. Volatile, as in `argument`.
    let again = unsafe { (&raw const (*context.ops).total_retrans).read_volatile() };
    // SAFETY: counters of the map's value for this CPU.
    unsafe {
        atomic::add(&raw mut (*counters).opened, 1);
        atomic::add(&raw mut (*counters).retransmitted, u64::from(again));
    }
    handshake::adopt(context, socket, shard, &server);
    Some(())
}

/// A segment with RST reached a shard's socket, or comes from there.
#[inline(always)]
pub fn reset(shard: u32, from_shard: bool) {
    let Some(counters) = counters(shard) else { return };
    // SAFETY: counters of the map's value for this CPU.
    unsafe {
        let counter =
            if from_shard { &raw mut (*counters).resets_sent } else { &raw mut (*counters).resets_received };
        atomic::add(counter, 1);
    }
}

/// The socket the call is about.
#[inline(always)]
pub fn of_call(context: &SockOpsContext) -> Option<*mut bpf_sock> {
    // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
    let socket = unsafe { (*context.ops).__bindgen_anon_2.sk };
    (!socket.is_null()).then_some(socket)
}

/// A socket's mark, if it was counted.
#[inline(always)]
pub fn mark(socket: *mut Socket) -> Option<*mut Mark> {
    // SAFETY: a socket's storage.
    let mark = unsafe { &raw mut (*socket).mark };
    // SAFETY: the same.
    (unsafe { (*mark).kind } != 0).then_some(mark)
}

/// An argument of the call. Volatile, as the verifier takes reads of 4 bytes only, and the compiler would join them.
#[inline(always)]
pub fn argument<const N: usize>(context: &SockOpsContext) -> u32 {
    // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
    unsafe { (&raw const (*context.ops).__bindgen_anon_1.args[N]).read_volatile() }
}

/// The socket's own address and port.
#[inline(always)]
fn local(context: &SockOpsContext) -> Endpoint {
    let port = context.local_port() as u16;
    if context.family() == AF_INET {
        return Endpoint::v4(context.local_ip4().to_ne_bytes(), port);
    }
    // SAFETY: as in `argument`.
    v6(unsafe { (&raw const (*context.ops).local_ip6).cast::<u32>() }, port)
}

/// The peer's address and port.
#[inline(always)]
pub fn remote(context: &SockOpsContext) -> Endpoint {
    // In network order, in the upper half.
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
