//! Signal `connections`: opened, closed, cut short, and segments sent again, at each shard's sockets.
//!
//! Hook: `sock_ops`. Unit: connections; segments. Cannot see: connections older than the probe. Minimum kernel: 5.2.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG,
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    },
    btf_maps::SkStorage,
    helpers::generated::bpf_sk_storage_get,
    macros::{btf_map, map},
    maps::PerCpuArray,
    programs::SockOpsContext,
};
use probe_common::{MAX_SHARDS, connections::Connections, endpoint::Endpoint};

use crate::{atomic, shard};

#[map]
static CONNECTIONS: PerCpuArray<Connections> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// In each socket whose opening was counted: another probe may have asked for the same calls for older ones.
#[btf_map]
static OPENED: SkStorage<u64> = SkStorage::new();

const AF_INET: u32 = 2;

/// States of `sk_state`.
const ESTABLISHED: u32 = 1;
const CLOSE: u32 = 7;
const CLOSE_WAIT: u32 = 8;

/// `BPF_SK_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;

/// Counts what happened to a socket.
#[inline(always)]
pub fn happened(context: &SockOpsContext) -> Option<()> {
    let event = context.op();
    if !matches!(event, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB | BPF_SOCK_OPS_STATE_CB | BPF_SOCK_OPS_RETRANS_CB)
    {
        return None;
    }
    let shard = shard::find(local(context))?;
    let counters = CONNECTIONS.get_ptr_mut(shard)?;
    if event == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        if !mark(context, CREATE) {
            return None;
        }
        let wanted = (BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG) as i32;
        // Added to what others have asked for. It fails for flags unknown to the kernel alone, which these are not.
        let _ = context.set_cb_flags(context.cb_flags() as i32 | wanted);
        // SAFETY: a counter of the map's value for this CPU.
        unsafe { atomic::add(&raw mut (*counters).opened, 1) };
        return Some(());
    }
    if !mark(context, 0) {
        return None;
    }
    if event == BPF_SOCK_OPS_RETRANS_CB {
        let (segments, error) = (argument::<1>(context), argument::<2>(context));
        if error == 0 {
            // SAFETY: as above.
            unsafe { atomic::add(&raw mut (*counters).retransmitted, u64::from(segments)) };
        }
        return Some(());
    }
    let (before, now) = (argument::<0>(context), argument::<1>(context));
    if now == CLOSE {
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

/// Whether the socket bears this probe's mark; with `CREATE` it does afterwards.
#[inline(always)]
fn mark(context: &SockOpsContext, flags: u64) -> bool {
    // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
    let socket = unsafe { (*context.ops).__bindgen_anon_2.sk };
    if socket.is_null() {
        return false;
    }
    let map = core::ptr::from_ref(&OPENED).cast_mut().cast();
    // SAFETY: a map of this object and a socket that is not null.
    !unsafe { bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), flags) }.is_null()
}

/// An argument of the call. Volatile, as the verifier takes reads of 4 bytes only, and the compiler would join them.
#[inline(always)]
fn argument<const N: usize>(context: &SockOpsContext) -> u32 {
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
    let [a, b, c, d] = unsafe {
        let address = (&raw const (*context.ops).local_ip6).cast::<u32>();
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
