//! Signal `latency` of a store, and the outcome of transactions: pairs replies with commands.
//!
//! Hook: `cgroup_skb` egress. A command's latency ends when TCP says that the first segment of its reply leaves. Pushes are no
//! replies. A segment that is exactly one short reply is not parsed. Cannot see: latency of what [`Untimed`] names.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::__sk_buff,
    helpers::generated::{bpf_ktime_get_ns, bpf_loop, bpf_skb_load_bytes},
    macros::map,
    maps::PerCpuArray,
    programs::SkBuffContext,
};
use probe_common::{
    protocol::Parser as _,
    resp::{
        Pairing, Resp, SegmentReader, Untimed,
        pairing::{KEPT, Replies},
        reply::{ReplyHead, SHORT_REPLY, is_whole_reply},
    },
    segment::Next,
    socket::Socket,
};

use crate::{
    atomic, commands, latency,
    outcomes::settle,
    packet::Packet,
    parser::{Parser, STEPS, STEPS_A_CALL, load_window},
    transactions,
};

use super::families;

/// Where egress copies payload to. Softirq may interrupt process context, and a task another one: each program that runs has
/// its own.
#[map]
static REPLY_READERS: PerCpuArray<SegmentReader> = PerCpuArray::with_max_entries(READERS, 0);

/// For each reader of this CPU: 1 while it is in use.
#[map]
static REPLY_READERS_IN_USE: PerCpuArray<u64> = PerCpuArray::with_max_entries(READERS, 0);

const READERS: u32 = 4;

/// Follows a segment with payload from a store.
#[inline(always)]
pub fn follow(context: &SkBuffContext, socket: *mut Socket<Resp>, shard: u32, packet: &Packet) {
    let place = u64::from(packet.payload_at) << 32 | u64::from(packet.payload_length);
    // SAFETY: the context and a socket's storage.
    unsafe { follow_replies(context.as_ptr().cast(), socket, shard, packet.sequence, place) };
}

/// Pairs the replies in a segment. `place` has the payload's offset in the upper half, and its length. A global function:
/// verified once and on its own.
///
/// # Safety
///
/// `context` is null or the program's context, and `socket` is null or a socket's storage.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn follow_replies(
    context: *mut __sk_buff,
    socket: *mut Socket<Resp>,
    shard: u32,
    sequence: u32,
    place: u64,
) -> u64 {
    if context.is_null() || socket.is_null() {
        return 0;
    }
    let (payload_at, length) = ((place >> 32) as u32, place as u32);
    // SAFETY: a socket's storage lives as long as the program runs. Only egress writes these fields, under the socket's lock.
    let (responses, head, pairing) =
        unsafe { (&mut (*socket).responses, &mut (*socket).response_head, &raw mut (*socket).pairing) };
    // SAFETY: the same storage.
    let stream = unsafe { &raw mut (*socket).stream };
    responses.parsing = 1;
    let Some(skip) = responses.send(sequence, length) else { return 0 };
    let has_gap = responses.parsing == 0;
    // SAFETY: a byte that only egress writes, except for the reset in `Stream`.
    unsafe { (&raw mut (*stream).answered).write_volatile(1) };
    // SAFETY: a word that ingress writes as a whole.
    let arrived = unsafe { (&raw const (*stream).arrived).read_volatile() };
    let requests = arrived.requests();
    let answered = responses.answers;
    let waiting = requests.wrapping_sub(answered);
    let waiting = if waiting.cast_signed() < 0 { 0 } else { waiting };
    // SAFETY: the same storage.
    let (was_paired, admitted) = unsafe {
        if has_gap {
            (*pairing).lose_replies();
        }
        ((*pairing).is_in_step(), (*pairing).admit(answered, requests))
    };
    if admitted == Replies::Lost {
        head.restart();
        if was_paired {
            commands::count_untimed(shard, Untimed::Lost, waiting);
        }
    }
    if admitted == Replies::Ignored || admitted == Replies::Lost {
        settle(responses, shard, waiting, arrived);
        return 0;
    }
    let is_paired = admitted == Replies::Paired;
    let is_plain = is_paired && waiting > 0 && skip == 0 && head.is_at_first_byte() && !head.wants_all();
    let read = if is_plain && is_short(context, payload_at, length) {
        Some(1)
    } else {
        let answered = if is_paired { Some(answered) } else { None };
        read(context, (payload_at, skip, length), head, pairing, shard, answered)
    };
    if !is_paired {
        settle(responses, shard, waiting, arrived);
        // SAFETY: the same storage; the helper takes nothing.
        let goes_on =
            unsafe { (*pairing).count(read, requests, head.is_at_first_byte(), bpf_ktime_get_ns()) };
        if !goes_on {
            head.restart();
        }
        return 0;
    }
    // SAFETY: the same storage.
    let is_lost = unsafe { (*pairing).exceeds(read, waiting, requests) };
    if is_lost {
        head.restart();
        commands::count_untimed(shard, Untimed::Lost, waiting);
        settle(responses, shard, waiting, arrived);
        return 0;
    }
    let read = read.unwrap_or(0);
    let begun = read + u32::from(head.has_begun());
    let begun = answered.wrapping_add(if begun < waiting { begun } else { waiting });
    // SAFETY: the same storage.
    let (from, count) = unsafe { (*pairing).begin_replies(begun) };
    if count > 0 {
        measure(context, pairing, shard, (from, count), requests);
    }
    settle(responses, shard, if read < waiting { read } else { waiting }, arrived);
    0
}

/// Whether a segment is exactly one short reply.
#[inline(always)]
fn is_short(context: *mut __sk_buff, payload_at: u32, length: u32) -> bool {
    let mut words = [0_u64; SHORT_REPLY / 8];
    // The verifier needs both bounds on the very register that the helper gets, as in `load_window`.
    let wanted = if length < SHORT_REPLY as u32 { length } else { SHORT_REPLY as u32 };
    let wanted = (core::hint::black_box(wanted.wrapping_sub(1)) & (SHORT_REPLY as u32 - 1)) + 1;
    // SAFETY: `wanted` is at most the buffer's length.
    let failed = unsafe { bpf_skb_load_bytes(context.cast(), payload_at, words.as_mut_ptr().cast(), wanted) };
    failed == 0 && is_whole_reply(&words, length)
}

/// What the driver of the replies' parser needs.
#[derive(Clone, Copy)]
struct Attendant {
    pairing: *mut Pairing,
    shard: u32,
    /// Commands with a reply before this segment.
    answered: u32,
    /// 1 if the replies are paired.
    is_paired: u32,
}

/// Reads the replies in a segment. `answered` commands have a reply before it; `None` if the replies are not paired. Returns how
/// many replies end in it. `None` if they cannot be read.
#[inline(always)]
fn read(
    context: *mut __sk_buff,
    (payload_at, skip, length): (u32, u32, u32),
    head: &mut ReplyHead,
    pairing: *mut Pairing,
    shard: u32,
    answered: Option<u32>,
) -> Option<u32> {
    let mine = claim_reader() as u32;
    // If all are in use, the replies are lost.
    let in_use = REPLY_READERS_IN_USE.get_ptr_mut(mine)?;
    let replies = match REPLY_READERS.get_ptr_mut(mine) {
        Some(reader) => {
            // SAFETY: this program's own.
            unsafe { (*reader).begin(skip, length) };
            let attendant = Attendant {
                pairing,
                shard,
                answered: answered.unwrap_or(0),
                is_paired: u32::from(answered.is_some()),
            };
            let mut parser = Parser::<Resp, ReplyHead, Attendant> {
                context,
                reader,
                head: &raw mut *head,
                payload_at,
                attendant,
            };
            // SAFETY: the callback has the signature that `bpf_loop` calls, and `parser` outlives the call.
            unsafe { bpf_loop(STEPS / STEPS_A_CALL, run_steps as *mut c_void, (&raw mut parser).cast(), 0) };
            // SAFETY: as above; the callback has returned.
            let (is_done, replies) = unsafe { ((*parser.reader).is_done(), (*parser.reader).tally.set) };
            // SAFETY: in the socket's storage.
            let has_stopped = unsafe { (*parser.head).stopped().is_some() };
            if is_done && !has_stopped { Some(replies) } else { None }
        }
        None => None,
    };
    // SAFETY: the map's value for this CPU, which this program has claimed.
    unsafe { atomic::exchange(in_use, 0) };
    replies
}

/// Claims a reader of this CPU. Returns its number, or [`READERS`] if all are in use. A global function: the verifier follows
/// its caller once, and not for each reader.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn claim_reader() -> u64 {
    for reader in 0..READERS {
        if let Some(in_use) = REPLY_READERS_IN_USE.get_ptr_mut(reader) {
            // SAFETY: the map's value for this CPU.
            if unsafe { atomic::exchange(in_use, 1) == 0 } {
                return u64::from(reader);
            }
        }
    }
    u64::from(READERS)
}

/// `bpf_loop`'s callback: some steps of the parser; 1 ends the loop.
unsafe extern "C" fn run_steps(_: u32, parser: *mut Parser<Resp, ReplyHead, Attendant>) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let parser = unsafe { &mut *parser };
    // SAFETY: the map's value for this CPU, which this program has claimed.
    let reader = unsafe { &mut *parser.reader };
    // SAFETY: in the socket's storage, which egress alone writes.
    let head = unsafe { &mut *parser.head };
    if head.needs_driver() {
        attend(reader, head, parser.attendant);
        return 0;
    }
    for _ in 0..STEPS_A_CALL {
        match reader.step(head) {
            Next::Step => {}
            Next::Load => return load_window(parser, reader),
            Next::Done => return 1,
            Next::Driver => return 0,
        }
    }
    0
}

/// Takes a reply that may concern a transaction.
#[inline(always)]
fn attend(reader: &SegmentReader, head: &mut ReplyHead, attendant: Attendant) {
    if attendant.is_paired == 0 {
        head.taken(false);
        return;
    }
    let pairing = attendant.pairing;
    let before = attendant.answered.wrapping_add(reader.tally.set);
    // SAFETY: in the socket's storage.
    unsafe {
        if (*pairing).replied(before.wrapping_sub(1), head.outcome()) {
            transactions::discard_queued(pairing, attendant.shard, before);
        }
        head.taken((*pairing).has_queued());
    }
}

/// What the callback of `bpf_loop` works with.
#[repr(C)]
struct Measuring {
    pairing: *mut Pairing,
    now: u64,
    /// The first command.
    from: u32,
    /// Commands that are not kept any more. In the upper half of a word the verifier does not track a number. Otherwise it
    /// would follow the loop for each one.
    gone: u32,
    shard: u32,
    /// Arrival and family of the last commands, and how many came together.
    arrival: u64,
    times: u64,
}

/// Measures the latency of commands whose replies begin in this segment: so many from a place on.
#[inline(always)]
fn measure(
    context: *mut __sk_buff,
    pairing: *mut Pairing,
    shard: u32,
    (from, count): (u32, u32),
    arrived: u32,
) -> Option<()> {
    // SAFETY: the program's context.
    let now = unsafe { latency::departure_time(context) };
    if count == 1 {
        // SAFETY: in the socket's storage.
        let asked = unsafe { (*pairing).asked(from) };
        let Some(asked) = asked else { return commands::count_untimed(shard, Untimed::Depth, 1) };
        let arrival = asked.timed_from();
        if arrival != 0 {
            families::count_family(shard, arrival, now, 1);
        }
        return Some(());
    }
    // Of a deeper pipeline, only the last commands are kept.
    let oldest = arrived.wrapping_sub(KEPT as u32);
    let gone = oldest.wrapping_sub(from);
    let gone = if gone.cast_signed() <= 0 {
        0
    } else if gone < count {
        gone
    } else {
        count
    };
    let mut measuring =
        Measuring { pairing, now, from: from.wrapping_add(gone), gone, shard, arrival: 0, times: 0 };
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `measuring` outlives the call.
    unsafe { bpf_loop(count - gone, measure_one as *mut c_void, (&raw mut measuring).cast(), 0) };
    count_together(&measuring);
    if measuring.gone > 0 {
        commands::count_untimed(shard, Untimed::Depth, measuring.gone);
    }
    Some(())
}

/// `bpf_loop`'s callback: measures one command.
unsafe extern "C" fn measure_one(at: u32, measuring: *mut Measuring) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let measuring = unsafe { &mut *measuring };
    // SAFETY: in the socket's storage.
    let asked = unsafe { (*measuring.pairing).asked(measuring.from.wrapping_add(at)) };
    let Some(asked) = asked else {
        measuring.gone += 1;
        return 0;
    };
    let arrival = asked.timed_from();
    if arrival == measuring.arrival {
        measuring.times += 1;
        return 0;
    }
    count_together(measuring);
    (measuring.arrival, measuring.times) = (arrival, 1);
    0
}

/// Counts the latencies of commands of a family that came together.
#[inline(always)]
fn count_together(measuring: &Measuring) {
    if measuring.arrival != 0 {
        families::count_family(measuring.shard, measuring.arrival, measuring.now, measuring.times);
    }
}
