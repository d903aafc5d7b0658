//! Signal `requests`: complete request heads of each shard, read out of the payload.
//!
//! Hook: `cgroup_skb`. Unit: requests; segments for what was repeated or not parsed. Cannot see: chunked bodies (counted
//! as unparsed). Minimum kernel: 5.17 (`bpf_loop`). What comes before the handshake's end: [`handshake`].

use core::{ffi::c_void, ptr::NonNull};

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_ktime_get_ns, bpf_loop, bpf_skb_load_bytes, bpf_tcp_sock},
    macros::map,
    maps::PerCpuArray,
    programs::SkBuffContext,
};
use aya_log_ebpf::warn;
use probe_common::{
    MAX_SHARDS,
    head::{Head, Tally},
    requests::{Reason, Requests},
    scan::{Next, Scan, WINDOW},
    socket::Socket,
    stream::{Admission, Stream, begins_request},
};

use crate::{
    array, atomic, handshake, keys, latency, older,
    packet::Packet,
    socket::{self, CREATE, LISTEN},
};

#[map]
pub static REQUESTS: PerCpuArray<Requests> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Where ingress reads payload. Ingress runs in softirq and is never nested, so one per CPU is enough; one for each shard,
/// as each is asked in its own way.
#[map]
static SCAN: PerCpuArray<Scan> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Parser steps for one segment: one for each byte of the longest, which is more than any head needs.
const STEPS: u32 = 1 << 17;

/// How often a CPU tries to take a connection that another one works on: some microseconds.
const SPINS: u32 = 256;

/// Follows the payload of a packet towards a shard, and its client's leaving. The parser takes `STEPS_A_CALL` steps for
/// each call of `bpf_loop`'s callback.
#[inline(always)]
pub fn received<const STEPS_A_CALL: u32>(
    context: &SkBuffContext,
    shard: u32,
    packet: &Packet,
    storage: Option<NonNull<Socket>>,
) {
    let Some(requests) = array::value(&REQUESTS, shard) else { return };
    // SAFETY: the map's value for this CPU; ingress runs in softirq, where nothing else on this CPU gets at it.
    let requests = unsafe { &mut *requests };
    if let Err(reason) = of_socket::<STEPS_A_CALL>(context, shard, requests, packet, storage)
        && packet.payload_length > 0
    {
        count_unparsed(requests, reason);
        // Not in the careful variant: without CAP_PERFMON verifiers up to 6.12 refuse how a record is written.
        if STEPS_A_CALL > 1 {
            warn!(
                context,
                "shard {}: {} bytes not parsed, reason {}", shard, packet.payload_length, reason as u8
            );
        }
    }
}

#[inline(always)]
fn of_socket<const STEPS_A_CALL: u32>(
    context: &SkBuffContext,
    shard: u32,
    requests: &mut Requests,
    packet: &Packet,
    storage: Option<NonNull<Socket>>,
) -> Result<(), Reason> {
    let socket = socket::of_packet(context).ok_or(Reason::Unreadable)?;
    // SAFETY: not null; all sockets have a state.
    if unsafe { (*socket).state } == LISTEN {
        return if packet.payload_length > 0 {
            handshake::hold::<STEPS_A_CALL>(context, shard, packet)
        } else {
            Ok(())
        };
    }
    let storage = match storage {
        Some(storage) => storage.as_ptr(),
        None => socket::storage(socket, CREATE).ok_or(Reason::Unreadable)?,
    };
    older::received(socket, storage, shard);
    // SAFETY: a socket's storage lives as long as the program runs.
    let stream = unsafe { &raw mut (*storage).stream };
    let outcome = if packet.payload_length > 0 {
        follow::<STEPS_A_CALL>(context, shard, requests, packet, socket, stream)
    } else {
        Ok(())
    };
    if packet.is_last() {
        // The shard may never read what is without an answer.
        // SAFETY: as above. Behind a client's last packet no payload follows that another CPU could be at.
        requests.aborted += u64::from(unsafe { (*stream).aborted() });
    }
    outcome
}

/// Remembers that an answer's bytes went out.
#[inline(always)]
pub fn answered(context: &SkBuffContext, storage: *mut Socket, shard: u32) {
    // SAFETY: a socket's storage lives as long as the program runs.
    let stream = unsafe { &raw mut (*storage).stream };
    // SAFETY: the same storage. One aligned word, written by egress alone but for the reset in `Stream`, which may
    // come a packet early or late without harm.
    unsafe { (&raw mut (*stream).answered).write_volatile(1) };
    // SAFETY: the same storage.
    unsafe { latency::answered(context, shard, stream) };
}

#[inline(always)]
fn follow<const STEPS_A_CALL: u32>(
    context: &SkBuffContext,
    shard: u32,
    requests: &mut Requests,
    packet: &Packet,
    socket: *mut bpf_sock,
    stream: *mut Stream,
) -> Result<(), Reason> {
    // SAFETY: as in `answered`.
    let busy = unsafe { &raw mut (*stream).busy };
    if !take::<STEPS_A_CALL>(busy) {
        return Err(Reason::Concurrent);
    }
    // SAFETY: `busy` keeps other CPUs away from all but `answered`.
    let outcome =
        follow_alone::<STEPS_A_CALL>(context, shard, requests, packet, socket, unsafe { &mut *stream });
    // SAFETY: as above.
    unsafe { atomic::exchange(busy, 0) };
    outcome
}

/// Takes a connection for this CPU. Another that has it is done in microseconds: it is waited for, as a spin lock would,
/// which must not be held where helpers are called.
#[inline(always)]
fn take<const STEPS_A_CALL: u32>(busy: *mut u64) -> bool {
    // Not in the careful variant: for it the verifier takes no loop here.
    let spins = if STEPS_A_CALL > 1 { SPINS } else { 1 };
    for _ in 0..spins {
        // SAFETY: `busy` points into a socket's storage.
        if unsafe { atomic::exchange(busy, 1) } == 0 {
            return true;
        }
    }
    false
}

#[inline(always)]
fn follow_alone<const STEPS_A_CALL: u32>(
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
        Admission::Repeat => {
            requests.repeats += 1;
            return Ok(());
        }
        Admission::Unparsed(reason) => return Err(reason),
    };
    let (tally, outcome) = parse::<STEPS_A_CALL, true>(context, shard, shard, packet, skip, stream);
    credit(requests, tally);
    outcome
}

/// Reads a segment to `shard` that has been admitted, from its offset `skip` on. Reads' keys are counted for the shard
/// `keys_of`, unless that is [`keys::NO_SHARD`]. Without `ORDINARY` all is read step by step, which spares the verifier
/// one more way.
#[inline(always)]
pub fn parse<const STEPS_A_CALL: u32, const ORDINARY: bool>(
    context: &SkBuffContext,
    shard: u32,
    keys_of: u32,
    packet: &Packet,
    skip: u32,
    stream: &mut Stream,
) -> (Tally, Result<(), Reason>) {
    let Some(scan) = array::value(&SCAN, shard) else { return (Tally::default(), Err(Reason::Unreadable)) };
    // SAFETY: the map's value for this CPU.
    let scan = unsafe { &mut *scan };
    scan.begin(skip, packet.payload_length);
    scan.shard = keys_of;
    // SAFETY: the helper takes nothing.
    scan.came_at = unsafe { bpf_ktime_get_ns() };
    let mut reader = Reader {
        context: context.as_ptr().cast(),
        scan,
        head: &raw mut stream.head,
        payload_at: packet.payload_at,
    };
    read::<STEPS_A_CALL, ORDINARY>(&mut reader);
    // SAFETY: the same value as above; the callback has returned.
    let scan = unsafe { &*reader.scan };
    if stream.is_timed(scan) {
        latency::asked(stream, scan.came_at);
    }
    let outcome = match stream.finish(scan, packet.sequence.wrapping_add(packet.payload_length)) {
        Some(reason) => Err(reason),
        None => Ok(()),
    };
    (scan.tally, outcome)
}

/// Reads the segment: at a glance if it is an ordinary one, else step by step.
#[inline(always)]
fn read<const STEPS_A_CALL: u32, const ORDINARY: bool>(reader: &mut Reader) {
    // SAFETY: the map's value for this CPU.
    let scan = unsafe { &mut *reader.scan };
    // SAFETY: in a socket's storage that is kept for this CPU, or in this CPU's own.
    let head = unsafe { &mut *reader.head };
    let may_be_ordinary = ORDINARY && scan.may_be_ordinary(head);
    if may_be_ordinary && load(reader, scan) == 0 && ordinary::<STEPS_A_CALL>(scan) {
        keys::read(scan.shard, scan.came_at, &scan.key);
        return;
    }
    // SAFETY: the callback has the signature `bpf_loop` asks for, and `reader` outlives the call.
    unsafe {
        bpf_loop(
            STEPS / STEPS_A_CALL,
            read_on::<STEPS_A_CALL> as *mut c_void,
            core::ptr::from_mut(reader).cast(),
            0,
        )
    };
    if may_be_ordinary {
        // SAFETY: as above; the callback has returned.
        unsafe { (*reader.scan).remember(&*reader.head) };
    }
}

/// [`Scan::ordinary`], in the careful variant with its larger part called.
#[inline(always)]
fn ordinary<const STEPS_A_CALL: u32>(scan: &mut Scan) -> bool {
    if STEPS_A_CALL > 1 {
        return scan.ordinary();
    }
    scan.ordinary_by(|scan, length| {
        // SAFETY: a reference is a pointer that is not null.
        unsafe { take_key(scan, length) != 0 }
    })
}

/// [`Scan::take_key`] as a global function: verified once and on its own, not again for each way to it.
///
/// # Safety
///
/// `scan` is null or points to a scan: the verifier holds callers to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn take_key(scan: *mut Scan, length: u32) -> u64 {
    // SAFETY: the caller's promise.
    let Some(scan) = (unsafe { scan.as_mut() }) else { return 0 };
    u64::from(scan.take_key(length))
}

/// Adds one segment's requests.
#[inline(always)]
pub fn credit(requests: &mut Requests, tally: Tally) {
    requests.get += u64::from(tally.get);
    requests.set += u64::from(tally.set);
    requests.control += u64::from(tally.control);
}

/// What the callback of `bpf_loop` works with.
#[repr(C)]
struct Reader {
    context: *mut __sk_buff,
    scan: *mut Scan,
    head: *mut Head,
    payload_at: u32,
}

/// Some steps of the parser; 1 ends the loop.
unsafe extern "C" fn read_on<const STEPS_A_CALL: u32>(_: u32, reader: *mut Reader) -> i64 {
    // SAFETY: `bpf_loop` hands on the pointer it was given.
    let reader = unsafe { &mut *reader };
    // SAFETY: the map's value for this CPU.
    let scan = unsafe { &mut *reader.scan };
    // SAFETY: in the socket's storage, which `busy` keeps for this CPU.
    let head = unsafe { &mut *reader.head };
    // Before the steps, not where they say so: the verifier would follow the call from each of them.
    if head.has_key() {
        keys::read(scan.shard, scan.came_at, &head.key);
        head.key_taken();
        return 0;
    }
    for _ in 0..STEPS_A_CALL {
        let next = if STEPS_A_CALL > 1 {
            scan.step(head)
        } else {
            scan.step_by(head, |head, word, available, tally| {
                // SAFETY: references are pointers that are not null.
                unsafe { step_head(head, word, available, tally) as u32 }
            })
        };
        match next {
            Next::Step => {}
            Next::Done => return 1,
            Next::Load => return load(reader, scan),
            Next::Get => return 0,
        }
    }
    0
}

/// [`Head::step`] as a global function: verified once and on its own, not again for each way to it.
///
/// # Safety
///
/// The pointers are null or point to what they say: the verifier holds callers to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn step_head(head: *mut Head, word: u64, available: u32, tally: *mut Tally) -> u64 {
    // SAFETY: the caller's promise.
    let (Some(head), Some(tally)) = (unsafe { head.as_mut() }, unsafe { tally.as_mut() }) else { return 0 };
    u64::from(head.step(word, available, tally))
}

#[inline(always)]
fn load(reader: &Reader, scan: &mut Scan) -> i64 {
    let wanted = scan.wanted();
    if wanted == 0 {
        return 1;
    }
    // The verifier wants both bounds on the very register it hands to the helper: `black_box` keeps the compiler from
    // checking another one, and 6.1 learns no lower bound from a comparison with 0.
    let length = (core::hint::black_box(wanted - 1) & (WINDOW as u32 - 1)) + 1;
    let at = reader.payload_at.wrapping_add(scan.at);
    // SAFETY: `length` is at most the window's size.
    let failed =
        unsafe { bpf_skb_load_bytes(reader.context.cast(), at, scan.words.as_mut_ptr().cast(), length) };
    if failed != 0 {
        return 1;
    }
    scan.loaded(length);
    0
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

#[inline(always)]
pub fn count_unparsed(requests: &mut Requests, reason: Reason) {
    let last = &raw mut requests.last_reason;
    // SAFETY: a field of the map's value. By way of memory, as an index the verifier knows on one path and not on
    // another is refused to processes without CAP_PERFMON.
    let index = unsafe {
        last.write_volatile(reason as u64);
        last.read_volatile()
    };
    if let Some(counter) = requests.unparsed.get_mut(index as usize) {
        *counter += 1;
    }
}
