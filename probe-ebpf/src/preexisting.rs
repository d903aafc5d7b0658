//! Signal `connections`: connections older than the probe.
//!
//! A connection is open from its first payload on. It is closed once the shard's side has closed the socket or sent
//! FIN or RST.
//!
//! - Hooks: `cgroup_skb`, and `cgroup/sock_release` for the end of a connection.
//! - Unit: connections.
//! - Not seen: connections that send nothing, and connections that end in a listener's queue.
//! - Minimum kernel: 5.12.

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

/// `SOCK_STREAM`. It excludes the kernel's own socket, through which TCP answers packets without a connection.
const STREAM: u32 = 1;

/// Counts a connection when payload or the client's last packet arrives.
#[inline(always)]
pub fn count_activity(socket: *mut bpf_sock, storage: *mut Socket, shard: u32) -> Option<()> {
    if let Some(mark) = mark(storage) {
        // SAFETY: the socket's storage is valid while the program runs.
        if unsafe { (*mark).kind } == Mark::PREEXISTING {
            count_retransmissions(socket, mark, counters(shard)?);
        }
        return Some(());
    }
    // SAFETY: the socket is not null.
    let state = unsafe { (*socket).state };
    // In an earlier state the connection is being set up, and `sock_ops` counts it. In a later state the shard's side
    // ended before the probe saw the connection.
    if state != ESTABLISHED && state != CLOSE_WAIT {
        return None;
    }
    adopt(socket, storage, shard)
}

/// Counts the end of a connection when the shard's last packet leaves.
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

/// Counts the end of a connection when a process closes its socket.
#[inline(always)]
pub fn released(context: &SockContext) -> Option<()> {
    close(mark(storage(context.sock, 0)?)?)
}

/// Counts a socket as a preexisting connection.
#[inline(always)]
fn adopt(socket: *mut bpf_sock, storage: *mut Socket, shard: u32) -> Option<()> {
    let counters = counters(shard)?;
    let total = total_retransmissions(socket)?;
    // SAFETY: the socket's storage, and a counter of the map's value for this CPU.
    unsafe {
        let mark = &raw mut (*storage).mark;
        (*mark).shard = shard;
        (*mark).retransmitted = total;
        // Two CPUs may handle packets of one connection. Only one of them counts it.
        if atomic::replace(&raw mut (*mark).kind, 0, Mark::PREEXISTING) {
            atomic::add(&raw mut (*counters).preexisting_seen, 1);
        }
    }
    Some(())
}

/// Counts the end of a preexisting connection, once.
#[inline(always)]
fn close(mark: *mut Mark) -> Option<()> {
    // SAFETY: the socket's storage.
    let counters = counters(unsafe { (*mark).shard })?;
    // SAFETY: as above, and a counter of the map's value for this CPU.
    unsafe {
        if atomic::replace(&raw mut (*mark).kind, Mark::PREEXISTING, Mark::PREEXISTING_CLOSED) {
            atomic::add(&raw mut (*counters).preexisting_closed, 1);
        }
    }
    Some(())
}

/// Counts retransmissions since the last read. No callback reports them for these connections.
#[inline(always)]
fn count_retransmissions(socket: *mut bpf_sock, mark: *mut Mark, counters: *mut Connections) {
    let Some(total) = total_retransmissions(socket) else { return };
    // SAFETY: the socket's storage, and a counter of the map's value for this CPU.
    unsafe {
        let place = &raw mut (*mark).retransmitted;
        if place.read_volatile() != total {
            // Wrapping arithmetic keeps the sum right in any order of two CPUs.
            let more = total.wrapping_sub(atomic::exchange(place, total));
            atomic::add(&raw mut (*counters).retransmitted, more);
        }
    }
}

#[inline(always)]
fn total_retransmissions(socket: *mut bpf_sock) -> Option<u64> {
    // SAFETY: the socket is not null.
    let tcp = unsafe { bpf_tcp_sock(socket) };
    // SAFETY: it is read only if not null.
    (!tcp.is_null()).then(|| u64::from(unsafe { (*tcp).total_retrans }))
}
