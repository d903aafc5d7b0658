//! Signal `requests`: counts complete request heads of each shard, read from the payload.
//!
//! Hook: `cgroup_skb`. Unit: requests; segments for duplicates and for what was not parsed. Cannot see: chunked bodies
//! (counted as unparsed). Payload before the end of the handshake: [`handshake`].

use core::ptr::NonNull;

use aya_ebpf::{bindings::bpf_sock, helpers::generated::bpf_tcp_sock, programs::SkBuffContext};
use aya_log_ebpf::warn;
use probe_common::{
    requests::{Reason, Requests},
    socket::Socket,
    stream::{Admission, Stream, begins_request},
};

use crate::{
    atomic, handshake, latency,
    packet::Packet,
    parser, preexisting,
    request_counters::{add_requests, add_unparsed, counters},
    socket::{self, CREATE, LISTEN},
};

/// Attempts to lock a connection that another CPU works on: some microseconds.
const SPINS: u32 = 256;

/// Counts a packet to a shard that has payload or ends the client's side.
#[inline(always)]
pub fn count_segment(
    context: &SkBuffContext,
    shard: u32,
    packet: &Packet,
    storage: Option<NonNull<Socket>>,
) {
    let Some(requests) = counters(shard) else { return };
    if let Err(reason) = count_at_socket(context, shard, requests, packet, storage)
        && packet.payload_length > 0
    {
        add_unparsed(requests, reason);
        warn!(context, "shard {}: {} bytes not parsed, reason {}", shard, packet.payload_length, reason as u8);
    }
}

/// The same once the packet's socket is known: a listener's packet is held, a connection's is parsed.
#[inline(always)]
fn count_at_socket(
    context: &SkBuffContext,
    shard: u32,
    requests: &mut Requests,
    packet: &Packet,
    storage: Option<NonNull<Socket>>,
) -> Result<(), Reason> {
    let socket = socket::of_packet(context).ok_or(Reason::Unreadable)?;
    // SAFETY: not null; all sockets have a state.
    if unsafe { (*socket).state } == LISTEN {
        return if packet.payload_length > 0 { handshake::hold(context, shard, packet) } else { Ok(()) };
    }
    let storage = match storage {
        Some(storage) => storage.as_ptr(),
        None => socket::storage(socket, CREATE).ok_or(Reason::Unreadable)?,
    };
    preexisting::count_activity(socket, storage, shard);
    // SAFETY: a socket's storage lives as long as the program runs.
    let stream = unsafe { &raw mut (*storage).stream };
    let outcome = if packet.payload_length > 0 {
        parse_locked(context, shard, requests, packet, socket, stream)
    } else {
        Ok(())
    };
    if packet.is_last() {
        // The shard may never read what has no answer.
        // SAFETY: as above. After a client's last packet no payload follows that another CPU could work on.
        requests.aborted += u64::from(unsafe { (*stream).aborted() });
    }
    outcome
}

/// Records that an answer's bytes leave.
#[inline(always)]
pub fn count_answer(context: &SkBuffContext, storage: *mut Socket, shard: u32) {
    // SAFETY: a socket's storage lives as long as the program runs.
    let stream = unsafe { &raw mut (*storage).stream };
    // SAFETY: the same storage. One aligned word that only egress writes, except for the reset in `Stream`, which may come
    // a packet early or late without harm.
    unsafe { (&raw mut (*stream).answered).write_volatile(1) };
    // SAFETY: the same storage.
    unsafe { latency::stop(context, shard, stream) };
}

/// Parses a segment while its connection is locked for this CPU.
#[inline(always)]
fn parse_locked(
    context: &SkBuffContext,
    shard: u32,
    requests: &mut Requests,
    packet: &Packet,
    socket: *mut bpf_sock,
    stream: *mut Stream,
) -> Result<(), Reason> {
    // SAFETY: as in `count_answer`.
    let busy = unsafe { &raw mut (*stream).busy };
    if !try_lock(busy) {
        return Err(Reason::Concurrent);
    }
    // SAFETY: `busy` keeps other CPUs away from everything that ingress uses.
    let outcome = parse_in_order(context, shard, requests, packet, socket, unsafe { &mut *stream });
    // SAFETY: as above.
    unsafe { atomic::exchange(busy, 0) };
    outcome
}

/// Locks a connection for this CPU. Another CPU that holds it is done in microseconds. The kernel's spin lock is of no use:
/// it must not be held while helpers are called.
#[inline(always)]
fn try_lock(busy: *mut u64) -> bool {
    for _ in 0..SPINS {
        // SAFETY: `busy` points into a socket's storage.
        if unsafe { atomic::exchange(busy, 1) } == 0 {
            return true;
        }
    }
    false
}

/// Parses a segment's new bytes if they are the next ones of the stream.
#[inline(always)]
fn parse_in_order(
    context: &SkBuffContext,
    shard: u32,
    requests: &mut Requests,
    packet: &Packet,
    socket: *mut bpf_sock,
    stream: &mut Stream,
) -> Result<(), Reason> {
    if stream.is_new() {
        stream.open(first_byte(socket), packet.sequence);
    }
    let begins = stream.wants_first_bytes()
        && context
            .load::<u32>(packet.payload_at as usize)
            .is_ok_and(|bytes| begins_request(u32::from_le(bytes)));
    let skip = match stream.admit(packet.sequence, packet.payload_length, begins) {
        Admission::Parse(skip) => skip,
        Admission::Duplicate => {
            requests.duplicate_segments += 1;
            return Ok(());
        }
        Admission::Unparsed(reason) => return Err(reason),
    };
    let (tally, outcome) = parser::parse_segment::<true>(context, shard, shard, packet, skip, stream);
    add_requests(requests, tally);
    outcome
}

/// The sequence number of a connection's first byte, if that is still to come.
#[inline(always)]
fn first_byte(socket: *mut bpf_sock) -> Option<u32> {
    // SAFETY: `socket` is not null.
    let tcp = unsafe { bpf_tcp_sock(socket) };
    if tcp.is_null() {
        return None;
    }
    // SAFETY: not null.
    let (received, next) = unsafe { ((*tcp).bytes_received, (*tcp).rcv_nxt) };
    (received == 0).then_some(next)
}
