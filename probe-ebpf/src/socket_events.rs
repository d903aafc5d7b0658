//! Signal `connections`: counts the events of each shard's sockets.
//!
//! Hook: `sock_ops`. Events: handshake complete, state change, retransmission, round trip.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG,
        BPF_SOCK_OPS_RTT_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    },
    programs::SockOpsContext,
};
use probe_common::{connections::Mark, socket::Socket};

use crate::{
    atomic,
    connections::{counters, mark},
    endpoint_key::EndpointKey,
    handshake, namespace, outcomes, pending, request_counters, rtt, shard, sock_ops,
    socket::{self, CLOSE, CLOSE_WAIT, CREATE, ESTABLISHED},
    transactions,
};

/// Counts one event of a socket.
#[inline(always)]
pub fn handle(context: &SockOpsContext) -> Option<()> {
    let event = context.op();
    if event == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        return opened(context);
    }
    if !matches!(event, BPF_SOCK_OPS_STATE_CB | BPF_SOCK_OPS_RETRANS_CB | BPF_SOCK_OPS_RTT_CB) {
        return None;
    }
    // Only marked sockets are counted, because another probe may have enabled the callbacks for others.
    let storage = socket::storage(sock_ops::socket(context)?, 0)?;
    let mark = mark(storage)?;
    // SAFETY: a socket's storage is valid while the program runs. `shard` is written before `kind`.
    let shard = unsafe { (*mark).shard };
    if event == BPF_SOCK_OPS_RTT_CB {
        return rtt::count_sample(context, shard);
    }
    let counters = counters(shard)?;
    if event == BPF_SOCK_OPS_RETRANS_CB {
        // The same number as TCP's `tcpi_total_retrans`. It includes segments that this host dropped at egress.
        let segments = sock_ops::argument::<1>(context);
        // SAFETY: a counter of the map's value for this CPU.
        unsafe { atomic::add(&raw mut (*counters).retransmitted, u64::from(segments)) };
        return Some(());
    }
    let (before, now) = (sock_ops::argument::<0>(context), sock_ops::argument::<1>(context));
    if now == CLOSE && before != CLOSE {
        settle_pending(context, storage, shard);
        outcomes::settle_closed(storage, shard);
        discard_queued(storage, shard);
        let aborted = before == ESTABLISHED || before == CLOSE_WAIT;
        // SAFETY: as above.
        unsafe {
            atomic::add(&raw mut (*counters).closed, 1);
            if aborted {
                atomic::add(&raw mut (*counters).aborted_connections, 1);
            }
        }
    }
    Some(())
}

/// Counts the requests that TCP has accepted when the connection ends. TCP will never accept the rest.
#[inline(always)]
fn settle_pending(context: &SockOpsContext, storage: *mut Socket, shard: u32) -> Option<()> {
    // SAFETY: a socket's storage is valid while the program runs.
    if unsafe { (*storage).pending.is_empty() } {
        return None;
    }
    // SAFETY: the context's own structure. The verifier rewrites the access to the kernel's structure.
    let accepted = unsafe { (&raw const (*context.ops).rcv_nxt).read_volatile() };
    // SAFETY: a socket's storage.
    unsafe { pending::count_accepted(storage, shard, accepted) };
    pending::drop_all(storage, request_counters::pointer(shard)?);
    Some(())
}

/// Counts the commands of a transaction that the connection leaves open. While a command has no reply, that may be an `EXEC`
/// that has run: then the queued ones are counted without a name.
#[inline(always)]
fn discard_queued(storage: *mut Socket, shard: u32) {
    // SAFETY: a socket's storage lives as long as the program runs.
    let (pairing, answers) = unsafe { (&raw mut (*storage).pairing, (*storage).responses.answers) };
    // SAFETY: as above; a word that ingress writes as a whole.
    let arrived = unsafe { (&raw const (*storage).stream.arrived).read_volatile() };
    // SAFETY: as above.
    unsafe {
        if (*pairing).has_queued() {
            if arrived.requests() != answers {
                (*pairing).forget_names();
            }
            transactions::discard_queued(pairing, shard, answers);
        }
    }
}

/// Counts a connection whose handshake is complete.
#[inline(always)]
fn opened(context: &SockOpsContext) -> Option<()> {
    let server = EndpointKey::of(sock_ops::local(context));
    let listener = shard::find(&server)?;
    let namespace = namespace::of_event(context);
    if listener.is_recorded != 0 {
        namespace::record(&EndpointKey::of(sock_ops::remote(context)), &server, namespace);
    }
    let is_shards = listener.may_own(namespace);
    if !is_shards && namespace::is_in_packets() {
        return None;
    }
    let socket = socket::storage(sock_ops::socket(context)?, CREATE)?;
    // SAFETY: the socket's storage. The connection is not established yet, so no other CPU writes it.
    unsafe { (*socket).namespace = namespace };
    if !is_shards {
        return None;
    }
    let shard = listener.shard;
    let counters = counters(shard)?;
    // SAFETY: the socket's storage. The connection is not established yet, so no other CPU writes it.
    unsafe {
        (*socket).mark.shard = shard;
        (*socket).mark.kind = Mark::NEW;
    }
    let wanted = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG | rtt::flag();
    // Keep other programs' flags. The call fails only for flags that the kernel does not support.
    let _ = context.set_cb_flags((context.cb_flags() | wanted) as i32);
    // TCP counts retransmissions of the handshake for the connection, but no callback reports them.
    // SAFETY: the context's own structure. Volatile, as in `argument`.
    let again = unsafe { (&raw const (*context.ops).total_retrans).read_volatile() };
    // SAFETY: counters of the map's value for this CPU.
    unsafe {
        atomic::add(&raw mut (*counters).opened, 1);
        atomic::add(&raw mut (*counters).retransmitted, u64::from(again));
    }
    handshake::count_held(context, socket, shard, &server);
    Some(())
}
