//! Requests that come with, or before, the last packet of their connection's handshake.
//!
//! The kernel passes such a packet to the listening socket. There is no connection yet to count it for, and whether
//! there will be one is not known: the listener may be full. If there is, the kernel makes it from this very packet, on
//! this CPU, before any other packet. So the result is held here until `sock_ops` reports the new connection.

use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray},
    programs::{SkBuffContext, SockOpsContext},
};
use probe_common::{
    head::Tally,
    requests::Reason,
    socket::Socket,
    stream::{Admission, Stream},
};

use crate::{
    endpoint_key::EndpointKey,
    keys,
    packet::{End, Packet},
    parser::parse_segment,
    pending,
    request_counters::{add_unparsed, counters},
    sock_ops::remote,
};

/// 1 once `socket_events` is attached, which takes what is held.
#[map]
static ADOPTS: Array<u32> = Array::with_max_entries(1, 0);

/// What is held: one packet at most.
#[map]
static HELD: PerCpuArray<Held> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct Held {
    stream: Stream,
    client: EndpointKey,
    server: EndpointKey,
    tally: Tally,
    /// Sequence number of the packet's first payload byte.
    sequence: u32,
    length: u32,
    /// 0, or 1 + the [`Reason`] why some of it was not parsed.
    unparsed: u32,
    /// One of the three below.
    kind: u32,
    padding: u32,
}

const NOTHING: u32 = 0;
/// What was read, to be counted.
const READ: u32 = 1;
/// More than one head: of several keys only the last one's bytes are there. Counted as unparsed already.
const SEVERAL: u32 = 2;

/// Farther ahead of a connection's first byte no packet can be at its handshake's end: beyond its first window.
const AHEAD_MOST: u32 = 1 << 20;

/// Reads a packet's payload and holds the outcome.
#[inline(always)]
pub fn hold(context: &SkBuffContext, shard: u32, packet: &Packet) -> Result<(), Reason> {
    // SAFETY: written by user space only, as a whole.
    let adopts = ADOPTS.get_ptr(0).is_some_and(|adopts| unsafe { *adopts } != 0);
    let held = HELD.get_ptr_mut(0).filter(|_| adopts).ok_or(Reason::Handshake)?;
    // SAFETY: the map's value for this CPU. Ingress and the `sock_ops` call that follows it run in one softirq.
    let held = unsafe { &mut *held };
    held.kind = NOTHING;
    held.client = packet.at(context, End::Source).ok_or(Reason::Unreadable)?;
    held.server = packet.at(context, End::Destination).ok_or(Reason::Unreadable)?;
    held.sequence = packet.sequence;
    held.length = packet.payload_length;
    zero(&mut held.stream);
    held.stream.open(Some(packet.sequence), packet.sequence);
    held.stream.accept(packet.sequence);
    // From the first byte on. `black_box`, because the compiler would make a call of several zeros in a row.
    let skip = core::hint::black_box(0);
    let parsed = parse_segment(context, shard, keys::NO_SHARD, packet, skip, &mut held.stream)
        .ok_or(Reason::Unreadable)?;
    let tally = parsed.tally;
    if parsed.took_fast_path {
        pending::copy_key(&parsed.reader.key, &raw mut held.stream.head.key);
    }
    held.tally = tally;
    held.unparsed = parsed.outcome.err().map_or(0, |reason| 1 + reason as u32);
    let heads = tally.get.wrapping_add(tally.set).wrapping_add(tally.control);
    if heads > 1 || heads == 1 && held.stream.head.inside_head() {
        held.kind = SEVERAL;
        return Err(Reason::Handshake);
    }
    held.kind = READ;
    Ok(())
}

/// A connection to a shard has been set up: if what is held is its, it is counted now.
#[inline(always)]
pub fn count_held(
    context: &SockOpsContext,
    socket: *mut Socket,
    shard: u32,
    server: &EndpointKey,
) -> Option<()> {
    let held = HELD.get_ptr_mut(0)?;
    // SAFETY: as in `hold`.
    let held = unsafe { &mut *held };
    let kind = held.kind;
    held.kind = NOTHING;
    if kind == NOTHING
        || !held.server.equals(server)
        || !held.client.equals(&EndpointKey::of(remote(context)))
    {
        return None;
    }
    // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
    let first = unsafe { (*context.ops).rcv_nxt };
    let ahead = held.sequence.wrapping_sub(first);
    if ahead > AHEAD_MOST {
        return None;
    }
    // This call comes in softirq, as ingress does.
    let counters = counters(shard)?;
    // SAFETY: the new socket's storage: no other program has it yet.
    let stream = unsafe { &mut (*socket).stream };
    if kind == SEVERAL {
        stream.open_lost(first, held.sequence.wrapping_add(held.length), Reason::Handshake);
        return Some(());
    }
    if ahead == 0 {
        copy(&held.stream, stream);
        // TCP has yet to take the segment.
        let key = if held.tally.get > 0 { Some(&held.stream.head.key) } else { None };
        let end = held.sequence.wrapping_add(held.length);
        // SAFETY: the new socket's storage.
        let waiting = unsafe { &raw mut (*socket).pending };
        pending::append(waiting, counters, end, held.tally, key, (0, 0));
        if held.unparsed > 0 {
            add_unparsed(counters, Reason::from_number((held.unparsed - 1) as u8));
        }
        return Some(());
    }
    // Bytes before these are missing: they were read from a wrong place on.
    stream.open(Some(first), first);
    if let Admission::Unparsed(reason) = stream.admit(held.sequence, held.length, None, false) {
        add_unparsed(counters, reason);
    }
    Some(())
}

const STREAM_WORDS: usize = size_of::<Stream>() / 8;
const _: () = assert!(size_of::<Stream>().is_multiple_of(8));

/// Resets a stream, word by word: an assignment would be a call with a loop over bytes.
#[inline(always)]
fn zero(stream: &mut Stream) {
    let words = core::ptr::from_mut(stream).cast::<u64>();
    for at in 0..STREAM_WORDS {
        // SAFETY: a word of the stream, which is integers only: all zeros is a new one.
        unsafe { words.add(at).write_volatile(0) };
    }
}

/// Copies a stream, word by word for the same reason.
#[inline(always)]
fn copy(from: &Stream, to: &mut Stream) {
    let (from, to) = (core::ptr::from_ref(from).cast::<u64>(), core::ptr::from_mut(to).cast::<u64>());
    for at in 0..STREAM_WORDS {
        // SAFETY: a word of either stream.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
}
