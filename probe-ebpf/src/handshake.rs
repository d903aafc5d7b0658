//! Requests that arrive with, or before, the last packet of the handshake.
//!
//! The kernel passes such a packet to the listening socket. There is no connection yet to count the requests for. The
//! listener may also be full, and then no connection follows. Otherwise the kernel creates the connection from this
//! packet, on this CPU, before it handles any other packet. The parser's result is therefore held here until
//! `sock_ops` reports the new connection.

use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray},
    programs::{SkBuffContext, SockOpsContext},
};
use probe_common::{
    http::Http,
    key::{KeyText, SHORT_KEY},
    protocol::Parser,
    requests::{Reason, Tally},
    resp::Pairing,
    socket::Socket,
    stream::{Admission, Stream},
};

use crate::{
    endpoint_key::EndpointKey,
    keys,
    packet::{End, Packet},
    parser::parse_segment,
    pending,
    program::Program,
    request_counters::{add_unparsed, counters},
    sock_ops::remote,
};

/// 1 once `socket_events` is attached. That program counts the held result.
#[map]
static ADOPTS: Array<u32> = Array::with_max_entries(1, 0);

/// The held result, of one packet at most.
#[map]
static HELD: PerCpuArray<Held> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct Held {
    /// Like [`Socket::stream`], for the protocol of the program that holds it.
    stream: Stream<Http>,
    /// Like [`Socket::pairing`].
    pairing: Pairing,
    client: EndpointKey,
    server: EndpointKey,
    tally: Tally,
    /// The key of its only request, if that is a read.
    key: KeyText,
    /// Sequence number of the packet's first payload byte.
    sequence: u32,
    length: u32,
    /// 0, or 1 + the [`Reason`] why some bytes were not parsed.
    unparsed: u32,
    /// One of the three constants below.
    kind: u32,
    padding: u32,
}

const NOTHING: u32 = 0;
/// A parsed packet that is still to be counted.
const READ: u32 = 1;
/// More than one head. Only the last key's bytes are kept, so the packet was counted as unparsed.
const SEVERAL: u32 = 2;

/// The farthest a packet can be ahead of the connection's first byte when the handshake ends. It is above any first
/// window.
const AHEAD_MOST: u32 = 1 << 20;

/// Parses a packet's payload and holds the result.
#[inline(always)]
pub fn hold<P: Program>(context: &SkBuffContext, shard: u32, packet: &Packet) -> Result<(), Reason> {
    // SAFETY: only user space writes it, as a whole.
    let adopts = ADOPTS.get_ptr(0).is_some_and(|adopts| unsafe { *adopts } != 0);
    let held = HELD.get_ptr_mut(0).filter(|_| adopts).ok_or(Reason::Handshake)?;
    // SAFETY: the map's value for this CPU. Ingress and the `sock_ops` call after it run in one softirq.
    let held = unsafe { &mut *held };
    held.kind = NOTHING;
    held.client = packet.at(context, End::Source).ok_or(Reason::Unreadable)?;
    held.server = packet.at(context, End::Destination).ok_or(Reason::Unreadable)?;
    held.sequence = packet.sequence;
    held.length = packet.payload_length;
    zero(&mut held.stream);
    // SAFETY: the streams of all protocols have one size and alignment, and zeros are a new one.
    let stream = unsafe { &mut *(&raw mut held.stream).cast::<Stream<P>>() };
    stream.open(Some(packet.sequence), packet.sequence);
    stream.accept(packet.sequence);
    // Parse from the first byte. Without `black_box` the compiler merges several zeros into a call.
    let skip = core::hint::black_box(0);
    held.pairing.hold();
    let pairing = &raw mut held.pairing;
    let parsed = parse_segment::<P>(context, shard, keys::NO_SHARD, packet, skip, stream, pairing)
        .ok_or(Reason::Unreadable)?;
    let tally = parsed.tally;
    let key = if parsed.took_fast_path { &parsed.reader.key } else { stream.head.key() };
    pending::copy_key(key, &raw mut held.key);
    held.tally = tally;
    held.unparsed = parsed.outcome.err().map_or(0, |reason| 1 + reason as u32);
    let heads = tally.get.wrapping_add(tally.set).wrapping_add(tally.control);
    if heads > 1 || heads == 1 && stream.head.inside_request() {
        held.kind = SEVERAL;
        return Err(Reason::Handshake);
    }
    held.kind = READ;
    Ok(())
}

/// Counts the held result if it belongs to this new connection to a shard.
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
    // SAFETY: the context's own structure. The verifier rewrites the access to the kernel's structure.
    let first = unsafe { (*context.ops).rcv_nxt };
    let ahead = held.sequence.wrapping_sub(first);
    if ahead > AHEAD_MOST {
        return None;
    }
    // This call runs in softirq, as ingress does.
    let counters = counters(shard)?;
    // SAFETY: the new socket's storage. No other program uses it yet.
    let stream = unsafe { &mut (*socket).stream };
    if kind == SEVERAL {
        stream.open_lost(first, held.sequence.wrapping_add(held.length), Reason::Handshake);
        return Some(());
    }
    if ahead == 0 {
        copy(&held.stream, stream);
        // SAFETY: as above.
        unsafe { (*socket).pairing.take_first(&held.pairing) };
        // TCP has not accepted the segment yet.
        let key = if held.tally.get > 0 || held.key.tag != 0 { Some(&held.key) } else { None };
        let end = held.sequence.wrapping_add(held.length);
        match key {
            Some(key) if key.length > SHORT_KEY || key.tag != 0 => {
                let position = pending::stage(key, 0)?;
                pending::queue(socket, counters, end, held.tally, (position, 1));
            }
            _ if held.tally == Tally::default() => {}
            _ => pending::wait_alone(socket, counters, end, held.tally, key),
        }
        if held.unparsed > 0 {
            add_unparsed(counters, Reason::from_number((held.unparsed - 1) as u8));
        }
        return Some(());
    }
    // Earlier bytes are missing, so parsing began at a wrong position.
    stream.open(Some(first), first);
    if let Admission::Unparsed(reason) = stream.admit(held.sequence, held.length, None, false) {
        add_unparsed(counters, reason);
    }
    Some(())
}

const STREAM_WORDS: usize = size_of::<Stream<Http>>() / 8;
const _: () = assert!(size_of::<Stream<Http>>().is_multiple_of(8));

/// Resets a stream word by word. An assignment would compile to a call with a loop over bytes.
#[inline(always)]
fn zero(stream: &mut Stream<Http>) {
    let words = core::ptr::from_mut(stream).cast::<u64>();
    for at in 0..STREAM_WORDS {
        // SAFETY: a word of the stream. It consists of integers only, and all zeros is a new stream.
        unsafe { words.add(at).write_volatile(0) };
    }
}

/// Copies a stream word by word. An assignment would compile to a call with a loop over bytes.
#[inline(always)]
fn copy(from: &Stream<Http>, to: &mut Stream<Http>) {
    let (from, to) = (core::ptr::from_ref(from).cast::<u64>(), core::ptr::from_mut(to).cast::<u64>());
    for at in 0..STREAM_WORDS {
        // SAFETY: a word of each stream.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
}
