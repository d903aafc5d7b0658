//! Signal `requests`: finds complete request heads of each shard in the payload; [`pending::count_accepted`] adds them.
//!
//! - Hook: `cgroup_skb`.
//! - Unit: requests; segments for duplicates and unparsed bytes. A request counts once TCP has accepted its segment
//!   ([`pending`]). [`handshake`] has payload before the end of the handshake.
//! - Not seen: chunked bodies, which are counted as unparsed.

use core::{ffi::c_void, ptr::NonNull};

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_loop, bpf_tcp_sock},
    programs::SkBuffContext,
};
use aya_log_ebpf::warn;
use probe_common::{
    pending::SINGLE_NONE,
    requests::{Reason, Requests},
    socket::Socket,
    stream::{Admission, Stream},
};

use crate::{
    atomic, handshake,
    packet::Packet,
    parser, pending, preexisting,
    program::Program,
    request_counters::{add_unparsed, counters, pointer},
    socket::{self, CLOSE, CLOSE_WAIT, CREATE, ESTABLISHED, LISTEN, SYN_RECEIVED},
};

/// Attempts to lock a connection that another CPU works on. The longest segment takes that CPU some hundred
/// microseconds.
const SPINS: u32 = 1 << 15;

/// Attempts to create a socket's storage. The kernel may be out of memory for a moment.
const ATTEMPTS: u32 = 4;

/// Counts a packet to a shard that has payload or ends the client's side.
#[inline(always)]
pub fn count_segment<P: Program>(
    context: &SkBuffContext,
    shard: u32,
    packet: &Packet,
    storage: Option<NonNull<Socket>>,
) {
    let Some(requests) = counters(shard) else { return };
    if let Err(reason) = count_at_socket::<P>(context, shard, requests, packet, storage)
        && packet.payload_length > 0
    {
        add_unparsed(requests, reason);
        warn!(
            context,
            "shard {}: {} bytes not parsed, reason {}", shard, packet.payload_length, reason as u8
        );
    }
}

/// The same once the packet's socket is known: a listener's packet is held, a connection's is parsed.
#[inline(always)]
fn count_at_socket<P: Program>(
    context: &SkBuffContext,
    shard: u32,
    requests: &mut Requests,
    packet: &Packet,
    storage: Option<NonNull<Socket>>,
) -> Result<(), Reason> {
    let socket = socket::of_packet(context).ok_or(Reason::Unreadable)?;
    // SAFETY: not null; all sockets have a state.
    let state = unsafe { (*socket).state };
    if state == LISTEN {
        return if packet.payload_length > 0 { handshake::hold::<P>(context, shard, packet) } else { Ok(()) };
    }
    let storage = match storage {
        Some(storage) => storage.as_ptr(),
        None => make_storage(socket).ok_or(Reason::Unreadable)?,
    };
    preexisting::count_activity(socket, storage, shard);
    let outcome = if packet.payload_length == 0 || !(packet.is_acknowledgment() || packet.is_reset()) {
        // TCP drops payload without an acknowledgment.
        Ok(())
    } else {
        let accepted = accepted(socket, packet);
        if is_closing(state) {
            // The shard has closed the socket, and reads nothing more.
            Err(Reason::Closed)
        } else {
            let result = parse_locked::<P>(context, shard, requests, packet, accepted, storage.cast());
            // SAFETY: not null.
            if unsafe { (*socket).state } == CLOSE {
                // The socket of a test run, which accepts everything.
                let end = packet.sequence.wrapping_add(packet.payload_length);
                // SAFETY: a socket's storage.
                unsafe { pending::count_accepted(storage, shard, end) };
            }
            result
        }
    };
    if packet.is_last() && P::pairs_answers(storage.cast()) {
        // The shard may never read requests that have no answer.
        // SAFETY: a socket's storage is valid while the program runs. After a client's last packet no payload follows
        // that another CPU could work on.
        let most = unsafe { (*storage).responses.outstanding((*storage).stream.arrived).1 };
        // SAFETY: the same.
        let aborted = unsafe { &mut (*storage).responses.aborted };
        // A repeated FIN counts no request twice.
        if most > *aborted {
            requests.aborted += u64::from(most - *aborted);
            *aborted = most;
        }
    }
    outcome
}

/// Creates a socket's storage.
#[inline(always)]
fn make_storage(socket: *mut bpf_sock) -> Option<*mut Socket> {
    for _ in 0..ATTEMPTS {
        if socket::storage(socket, CREATE).is_some() {
            break;
        }
    }
    // Looked up again, so that the verifier follows one pointer instead of one for each attempt.
    socket::storage(socket, 0)
}

/// Counts what a shard's packet acknowledges.
#[inline(always)]
pub fn count_acknowledged(storage: *mut Socket, shard: u32, packet: &Packet) {
    // SAFETY: a socket's storage is valid while the program runs.
    let waits = unsafe {
        (&raw const (*storage).pending.single).read_volatile() != SINGLE_NONE
            || (&raw const (*storage).pending.head).read_volatile()
                != (&raw const (*storage).pending.tail).read_volatile()
    };
    if waits && packet.is_acknowledgment() {
        // SAFETY: a socket's storage.
        unsafe { pending::count_accepted(storage, shard, packet.acknowledgment) };
    }
}

/// Parses a segment while its connection is locked for this CPU.
#[inline(always)]
fn parse_locked<P: Program>(
    context: &SkBuffContext,
    shard: u32,
    requests: &mut Requests,
    packet: &Packet,
    accepted: Accepted,
    storage: *mut Socket<P>,
) -> Result<(), Reason> {
    // SAFETY: a socket's storage is valid while the program runs.
    let busy = unsafe { &raw mut (*storage).stream.busy };
    if !lock(busy) {
        return Err(Reason::Concurrent);
    }
    let outcome = parse_in_order::<P>(context, shard, requests, packet, accepted, storage);
    // SAFETY: `busy` points into a socket's storage.
    unsafe { atomic::exchange(busy, 0) };
    outcome
}

/// Locks a connection for this CPU. The kernel's spin lock is of no use: it must not be held while helpers are called.
#[inline(always)]
fn lock(busy: *mut u64) -> bool {
    // SAFETY: `busy` points into a socket's storage.
    try_lock(busy) || unsafe { lock_contended(busy) } != 0
}

/// Waits for the CPU that has the lock. A global function: verified once and on its own.
///
/// # Safety
///
/// `busy` is null or points into a socket's storage.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn lock_contended(busy: *mut u64) -> u64 {
    if busy.is_null() {
        return 0;
    }
    let mut attempt = Attempt { busy, is_locked: 0 };
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `attempt` outlives the call.
    unsafe { bpf_loop(SPINS, spin as *mut c_void, (&raw mut attempt).cast(), 0) };
    attempt.is_locked
}

#[inline(always)]
fn try_lock(busy: *mut u64) -> bool {
    // SAFETY: `busy` points into a socket's storage.
    unsafe { atomic::exchange(busy, 1) == 0 }
}

/// The argument of `bpf_loop`'s callback.
#[repr(C)]
struct Attempt {
    busy: *mut u64,
    is_locked: u64,
}

/// Callback of `bpf_loop`: one attempt to lock. Returns 1 to end the loop.
unsafe extern "C" fn spin(_: u32, attempt: *mut Attempt) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let attempt = unsafe { &mut *attempt };
    // Read first: an exchange would take the cache line from the CPU that has the lock.
    // SAFETY: `busy` points into a socket's storage.
    if unsafe { attempt.busy.read_volatile() } == 0 && try_lock(attempt.busy) {
        attempt.is_locked = 1;
        return 1;
    }
    0
}

/// Parses a segment's new bytes if they are the next ones of the stream.
#[inline(always)]
fn parse_in_order<P: Program>(
    context: &SkBuffContext,
    shard: u32,
    requests: &mut Requests,
    packet: &Packet,
    accepted: Accepted,
    storage: *mut Socket<P>,
) -> Result<(), Reason> {
    let flags = u64::from(accepted.is_untouched) * IS_UNTOUCHED + u64::from(packet.is_urgent()) * IS_URGENT;
    // SAFETY: a socket's storage.
    unsafe {
        P::catch_up(storage, shard, packet.sequence, packet.payload_length, u64::from(accepted.next) | flags)
    };
    // SAFETY: the storage is locked for this CPU, except for the fields that egress takes.
    let (stream, waiting, pairing): (&mut Stream<P>, _, _) =
        unsafe { (&mut (*storage).stream, &raw mut (*storage).pending, &raw mut (*storage).pairing) };
    let begins = stream.wants_first_bytes() && P::begins_request(context, packet);
    let skip = match stream.admit(packet.sequence, packet.payload_length, Some(accepted.next), begins) {
        Admission::Parse(skip) => skip,
        Admission::Duplicate => {
            requests.duplicate_segments += 1;
            return Ok(());
        }
        Admission::Unparsed(reason) => return Err(reason),
    };
    // SAFETY: the storage's own.
    if unsafe { (*waiting).is_full() } {
        stream.lose(Reason::Unconfirmed);
        return Err(Reason::Unconfirmed);
    }
    let parsed = parser::parse_segment::<P>(context, shard, shard, packet, skip, stream, pairing)
        .ok_or(Reason::Unreadable)?;
    let tally = parsed.tally;
    // A command can span segments, and each of them can have some of its keys.
    if tally.get | tally.set | tally.control != 0 || parsed.reader.staged != 0 {
        let end = packet.sequence.wrapping_add(packet.payload_length);
        // SAFETY: the storage's own.
        let is_alone = unsafe { (*waiting).is_empty() };
        if is_alone && (parsed.took_fast_path || parsed.reader.staged == 0) {
            let key = if parsed.took_fast_path { Some(&parsed.reader.key) } else { None };
            pending::wait_alone(storage.cast(), requests, end, tally, key);
        } else {
            if parsed.took_fast_path {
                pending::stage_fast_key(parsed.reader);
            }
            let staged = (parsed.reader.staged_at, parsed.reader.staged);
            pending::queue(storage.cast(), requests, end, tally, staged);
        }
    }
    parsed.outcome
}

/// In [`catch_up`]'s last argument, above the sequence number: TCP has accepted nothing yet.
const IS_UNTOUCHED: u64 = 1 << 32;

/// The segment has urgent data.
const IS_URGENT: u64 = 1 << 33;

/// Updates a connection's state to TCP's, before a segment is admitted. Called through a global function: verified once
/// and on its own, so that its outcomes are not followed through the parser.
///
/// # Safety
///
/// `socket` is null or points to a socket's storage that is locked for this CPU.
#[inline(always)]
pub unsafe fn catch_up<P: Program>(
    socket: *mut Socket<P>,
    shard: u32,
    sequence: u32,
    length: u32,
    accepted: u64,
) -> u64 {
    if socket.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise; egress only takes from what is pending.
    let (stream, waiting) = unsafe { (&mut (*socket).stream, &raw mut (*socket).pending) };
    let next = accepted as u32;
    if stream.is_new() {
        if accepted & IS_UNTOUCHED == 0 {
            P::join(socket);
        }
        stream.open(if accepted & IS_UNTOUCHED != 0 { Some(next) } else { None }, sequence);
    }
    // SAFETY: the storage's own.
    if unsafe { !(*waiting).is_empty() } {
        // SAFETY: a socket's storage.
        unsafe { pending::count_accepted(socket.cast(), shard, next) };
    }
    if stream.roll_back(sequence, length, next)
        && let Some(requests) = pointer(shard)
    {
        pending::drop_all(socket.cast(), requests);
    }
    stream.accept(next);
    if stream.wants_first_bytes() {
        P::lose_requests(socket);
    }
    // SAFETY: a byte that egress writes.
    if unsafe { (&raw const stream.closing).read_volatile() } != 0 {
        stream.refuse();
    }
    if accepted & IS_URGENT != 0 {
        stream.lose(Reason::Urgent);
    }
    0
}

/// The bytes that TCP has accepted on a connection, without the current segment.
#[derive(Clone, Copy)]
struct Accepted {
    /// `rcv_nxt`.
    next: u32,
    /// Nothing yet.
    is_untouched: bool,
}

/// Whether the process has closed a connection in this state.
#[inline(always)]
fn is_closing(state: u32) -> bool {
    state != ESTABLISHED && state != CLOSE_WAIT && state != SYN_RECEIVED && state != CLOSE
}

/// Returns TCP's acceptance. A socket of another protocol accepts everything.
#[inline(always)]
fn accepted(socket: *mut bpf_sock, packet: &Packet) -> Accepted {
    // SAFETY: `socket` is not null.
    let tcp = unsafe { bpf_tcp_sock(socket) };
    if tcp.is_null() {
        return Accepted { next: packet.sequence, is_untouched: false };
    }
    // Volatile: the compiler would share an address between both, and the verifier allows no arithmetic on this
    // pointer.
    // SAFETY: not null.
    let (next, received) = unsafe {
        ((&raw const (*tcp).rcv_nxt).read_volatile(), (&raw const (*tcp).bytes_received).read_volatile())
    };
    Accepted { next, is_untouched: received == 0 }
}
