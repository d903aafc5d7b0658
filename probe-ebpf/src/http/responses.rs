//! Follows the answers of a connection: the requests that have an answer, and whether the shard reads further requests.
//!
//! Hook: `cgroup_skb` egress. An interim answer (1xx) does not count. After an answer with `Connection: close` the
//! shard reads no further request. Not seen: an answer to HEAD has no body.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_loop, bpf_skb_load_bytes},
    macros::map,
    maps::PerCpuArray,
    programs::SkBuffContext,
};
use probe_common::{
    http::{FirstBytes, Http, SegmentReader, head::ResponseHead},
    protocol::Parser as _,
    responses::Responses,
    segment::Next,
    socket::Socket,
};

use crate::{
    atomic, latency,
    outcomes::{never_read, settle},
    packet::Packet,
    parser::{Parser, STEPS, STEPS_A_CALL, load_window},
};

/// Egress copies payload into it. Softirq may interrupt process context, and a task another one, so each level has one.
#[map]
static ANSWER_READERS: PerCpuArray<SegmentReader> = PerCpuArray::with_max_entries(LEVELS, 0);

/// The levels in use on this CPU.
#[map]
static ANSWER_LEVEL: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

const LEVELS: u32 = 4;

/// Follows a segment with payload from a shard.
#[inline(always)]
pub fn follow(context: &SkBuffContext, storage: *mut Socket, shard: u32, packet: &Packet) -> Option<()> {
    // SAFETY: a socket's storage is valid while the program runs. Only egress writes it, under the socket's lock.
    let (responses, head) = unsafe { (&mut (*storage).responses, &mut (*storage).response_head) };
    // SAFETY: the same storage.
    let stream = unsafe { &raw mut (*storage).stream };
    let skip = responses.send(packet.sequence, packet.payload_length)?;
    // SAFETY: a word that ingress writes as a whole.
    let arrived = unsafe { (&raw const (*stream).arrived).read_volatile() };
    let outstanding = arrived.requests().wrapping_sub(responses.answers).cast_signed();
    let bytes = first_bytes(context, packet.payload_at.wrapping_add(skip));
    if bytes.begins && bytes.is_interim && responses.parsing == 0 && packet.payload_length < 64 {
        return Some(());
    }
    // SAFETY: one aligned word that only egress writes, except for the reset in `Stream`, which may come a packet early
    // or late without harm.
    unsafe { (&raw mut (*stream).answered).write_volatile(1) };
    if outstanding <= 0 {
        responses.parsing = 0;
        return Some(());
    }
    // SAFETY: a byte that ingress writes.
    let in_body = unsafe { (&raw const (*stream).in_body).read_volatile() };
    if responses.parsing == 0 {
        if !bytes.begins {
            // The rest of an answer that has been counted.
            return Some(());
        }
        if outstanding == 1 && bytes.is_success && in_body == 0 {
            // SAFETY: the same storage.
            unsafe { latency::stop(context, shard, stream) };
            return settle(responses, shard, 1, arrived);
        }
        responses.parsing = 1;
        head.begin();
    }
    let finals = parse(context, packet, skip, responses, head)?;
    if finals > 0 {
        // SAFETY: the same storage.
        unsafe { latency::stop(context, shard, stream) };
        let finals = if finals < outstanding as u32 { finals } else { outstanding as u32 };
        settle(responses, shard, finals, arrived)?;
    }
    if head.is_last() && finals > 0 {
        // SAFETY: a byte that only egress writes.
        unsafe { (&raw mut (*stream).closing).write_volatile(1) };
        // SAFETY: as above. Ingress refuses all later segments.
        let arrived = unsafe { (&raw const (*stream).arrived).read_volatile() };
        let (never, at_most) = responses.outstanding(arrived);
        never_read(responses, shard, arrived, never, at_most - never)?;
    }
    if head.stopped().is_some() || arrived.requests() == responses.answers && head.body() == 0 {
        responses.parsing = 0;
    }
    Some(())
}

#[inline(always)]
fn first_bytes(context: &SkBuffContext, at: u32) -> FirstBytes {
    let mut bytes = [0_u32; 3];
    // SAFETY: the buffer has that length. It stays zeros where the segment is shorter.
    unsafe { bpf_skb_load_bytes(context.as_ptr().cast(), at, bytes.as_mut_ptr().cast(), 12) };
    let [a, b, c] = bytes;
    FirstBytes::of(u64::from(a) | u64::from(b) << 32, c)
}

/// Parses a segment. Returns the number of final answers whose heads end in it.
#[inline(always)]
fn parse(
    context: &SkBuffContext,
    packet: &Packet,
    skip: u32,
    responses: &mut Responses,
    head: &mut ResponseHead,
) -> Option<u32> {
    let level = ANSWER_LEVEL.get_ptr_mut(0)?;
    // SAFETY: the map's value for this CPU. Each level subtracts what it has added.
    let mine = unsafe { level.read_volatile() };
    // It fails if another level has begun in between and has not ended.
    // SAFETY: the same.
    if unsafe { !atomic::replace(level, mine, mine + 1) } {
        responses.parsing = 0;
        return Some(0);
    }
    let finals = match ANSWER_READERS.get_ptr_mut(mine as u32) {
        Some(reader) => {
            // SAFETY: this level's own.
            unsafe { (*reader).begin_responses(skip, packet.payload_length) };
            let mut parser = Parser::<Http, ResponseHead> {
                context: context.as_ptr().cast(),
                reader,
                head: &raw mut *head,
                payload_at: packet.payload_at,
                attendant: (),
            };
            // SAFETY: the callback has the signature that `bpf_loop` calls, and `parser` outlives the call.
            unsafe { bpf_loop(STEPS / STEPS_A_CALL, run_steps as *mut c_void, (&raw mut parser).cast(), 0) };
            // SAFETY: as above; the callback has returned.
            unsafe { (*parser.reader).tally.set }
        }
        None => {
            responses.parsing = 0;
            0
        }
    };
    // SAFETY: as above.
    unsafe { atomic::add(level, u64::MAX) };
    Some(finals)
}

/// Callback of `bpf_loop`: some steps of the parser. Returns 1 to end the loop.
unsafe extern "C" fn run_steps(_: u32, parser: *mut Parser<Http, ResponseHead>) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let parser = unsafe { &mut *parser };
    // SAFETY: the map's value for this CPU and level.
    let reader = unsafe { &mut *parser.reader };
    // SAFETY: in the socket's storage, which egress alone writes.
    let head = unsafe { &mut *parser.head };
    for _ in 0..STEPS_A_CALL {
        match reader.step_response(head) {
            Next::Step => {}
            Next::Load => return load_window(parser, reader),
            Next::Done => return 1,
            Next::Driver => {
                reader.cache_response(head);
                return 0;
            }
        }
    }
    0
}
