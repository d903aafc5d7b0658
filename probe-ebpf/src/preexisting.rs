//! Signal `connections`, of connections older than the probe, from their first packet on.
//!
//! Hooks: `cgroup_skb`, and `cgroup/sock_release` for their end. Unit: connections. A connection is open from its first
//! payload on, and closed once the shard's side has closed the socket or sent FIN or RST. Cannot see: those that say
//! nothing; one that dies in the queue of a listener. Minimum kernel: 5.12.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::bpf_tcp_sock,
    programs::{SkBuffContext, SockContext},
};
use probe_common::{
    connections::{Connections, Mark},
    socket::Socket,
};

use crate::{
    atomic,
    connections::{counters, mark},
    socket::{CLOSE_WAIT, CREATE, ESTABLISHED, LISTEN, full, of_packet, storage},
};

/// `SOCK_STREAM`. The kernel's own socket, by which TCP answers packets that belong to no connection, is another.
const STREAM: u32 = 1;

/// Payload, or the client's last packet, comes in.
#[inline(always)]
pub fn count_activity(socket: *mut bpf_sock, storage: *mut Socket, shard: u32) -> Option<()> {
    if let Some(mark) = mark(storage) {
        // SAFETY: the socket's storage lives as long as the program runs.
        if unsafe { (*mark).kind } == Mark::PREEXISTING {
            count_retransmissions(socket, mark, counters(shard)?);
        }
        return Some(());
    }
    // SAFETY: not null.
    let state = unsafe { (*socket).state };
    // Any state before is one of a connection that is just being set up, which `sock_ops` counts; in any state behind
    // them the shard was done with it before anything was seen.
    if state != ESTABLISHED && state != CLOSE_WAIT {
        return None;
    }
    adopt(socket, storage, shard)
}

/// The shard's last packet goes out.
#[inline(always)]
pub fn count_end(context: &SkBuffContext, shard: u32) -> Option<()> {
    let socket = full(of_packet(context)?)?;
    // SAFETY: a full socket.
    if unsafe { (*socket).type_ != STREAM || (*socket).state == LISTEN } {
        return None;
    }
    let storage = storage(socket, CREATE)?;
    let mark = match mark(storage) {
        Some(mark) => mark,
        None => {
            adopt(socket, storage, shard)?;
            // SAFETY: the socket's storage.
            unsafe { &raw mut (*storage).mark }
        }
    };
    // SAFETY: the socket's storage.
    if unsafe { (*mark).kind } == Mark::PREEXISTING {
        count_retransmissions(socket, mark, counters(shard)?);
    }
    close(mark)
}

/// A process has closed a socket.
#[inline(always)]
pub fn released(context: &SockContext) -> Option<()> {
    close(mark(storage(context.sock, 0)?)?)
}

/// Counts a socket as an older connection.
#[inline(always)]
fn adopt(socket: *mut bpf_sock, storage: *mut Socket, shard: u32) -> Option<()> {
    let counters = counters(shard)?;
    let total = total_retransmissions(socket)?;
    // SAFETY: the socket's storage, and a counter of the map's value for this CPU.
    unsafe {
        let mark = &raw mut (*storage).mark;
        (*mark).shard = shard;
        (*mark).retransmitted = total;
        // Two CPUs may have packets of one connection: one of them counts.
        if atomic::replace(&raw mut (*mark).kind, 0, Mark::PREEXISTING) {
            atomic::add(&raw mut (*counters).preexisting_seen, 1);
        }
    }
    Some(())
}

/// Counts the end of an older connection, once.
#[inline(always)]
fn close(mark: *mut Mark) -> Option<()> {
    // SAFETY: the socket's storage.
    let counters = counters(unsafe { (*mark).shard })?;
    // SAFETY: the same, and a counter of the map's value for this CPU.
    unsafe {
        if atomic::replace(&raw mut (*mark).kind, Mark::PREEXISTING, Mark::PREEXISTING_CLOSED) {
            atomic::add(&raw mut (*counters).preexisting_closed, 1);
        }
    }
    Some(())
}

/// Counts retransmissions since the last read: no callback reports them on these connections.
#[inline(always)]
fn count_retransmissions(socket: *mut bpf_sock, mark: *mut Mark, counters: *mut Connections) {
    let Some(total) = total_retransmissions(socket) else { return };
    // SAFETY: the socket's storage, and a counter of the map's value for this CPU.
    unsafe {
        let place = &raw mut (*mark).retransmitted;
        if place.read_volatile() != total {
            // Wrapping, so that the sum is right in whichever order two CPUs get here.
            let more = total.wrapping_sub(atomic::exchange(place, total));
            atomic::add(&raw mut (*counters).retransmitted, more);
        }
    }
}

#[inline(always)]
fn total_retransmissions(socket: *mut bpf_sock) -> Option<u64> {
    // SAFETY: a socket that is not null.
    let tcp = unsafe { bpf_tcp_sock(socket) };
    // SAFETY: not null where it is read.
    (!tcp.is_null()).then(|| u64::from(unsafe { (*tcp).total_retrans }))
}
