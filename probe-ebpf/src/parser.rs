//! Runs the request parser over one segment: the fast path, else `bpf_loop` over the parser's steps.
//!
//! Minimum kernel: 5.17 (`bpf_loop`).

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
    MAX_SHARDS,
    head::{Head, Tally},
    requests::Reason,
    segment::{Next, SegmentReader, WINDOW},
    stream::Stream,
};

use crate::{keys, latency, packet::Packet, pending};

/// Where ingress copies payload to. Ingress runs in softirq and is never nested, so one per CPU is enough. There is one
/// for each shard, because the fast path compares with the shard's last request.
#[map]
static READERS: PerCpuArray<SegmentReader> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Parser steps for one segment: one for each byte of the longest, which is more than any head needs.
pub const STEPS: u32 = 1 << 17;

/// Parser steps of one call of `bpf_loop`'s callback. Four halve the cost of the calls. Eight save little more and take the
/// verifier three times the work.
pub const STEPS_A_CALL: u32 = 4;

/// What a segment held.
pub struct Parsed {
    pub tally: Tally,
    pub outcome: Result<(), Reason>,
    /// Its keys are staged there. If the fast path was taken, its only key is there instead.
    pub reader: &'static mut SegmentReader,
    pub took_fast_path: bool,
}

/// Parses a segment to `shard` that has been admitted, from its offset `skip` on. Stages the keys of reads, unless `keys_of` is
/// [`keys::NO_SHARD`].
#[inline(always)]
pub fn parse_segment(
    context: &SkBuffContext,
    shard: u32,
    keys_of: u32,
    packet: &Packet,
    skip: u32,
    stream: &mut Stream,
) -> Option<Parsed> {
    // SAFETY: the map's value for this CPU.
    let reader = unsafe { &mut *READERS.get_ptr_mut(shard)? };
    reader.begin(skip, packet.payload_length);
    reader.shard = keys_of;
    // SAFETY: the helper takes nothing.
    reader.came_at = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the context, the map's value for this CPU, and a connection that is locked for this CPU or its own.
    let took_fast_path =
        unsafe { parse_payload(context.as_ptr().cast(), reader, &raw mut stream.head, packet.payload_at) }
            != 0;
    if stream.is_timed(reader) {
        latency::start(stream, reader.came_at);
    }
    let outcome = match stream.finish(reader, packet.sequence.wrapping_add(packet.payload_length)) {
        Some(reason) => Err(reason),
        None => Ok(()),
    };
    Some(Parsed { tally: reader.tally, outcome, reader, took_fast_path })
}

/// What the callback of `bpf_loop` works with.
#[repr(C)]
pub struct Parser {
    pub context: *mut __sk_buff,
    pub reader: *mut SegmentReader,
    pub head: *mut Head,
    pub payload_at: u32,
}

/// Takes the fast path if the segment allows it, else runs the parser's steps. Returns 1 if it took it. A global function:
/// verified once and on its own, not again for each state of its callers.
///
/// # Safety
///
/// The pointers are null or point to what they say: the verifier holds callers to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn parse_payload(
    context: *mut __sk_buff,
    reader: *mut SegmentReader,
    head: *mut Head,
    payload_at: u32,
) -> u64 {
    if reader.is_null() || head.is_null() {
        return 0;
    }
    let mut parser = Parser { context, reader, head, payload_at };
    // SAFETY: the caller's promise.
    let (reader, head) = unsafe { (&mut *reader, &mut *head) };
    let may_take_fast_path = reader.may_take_fast_path(head);
    if may_take_fast_path && load_window(&parser, reader) == 0 && reader.try_fast_path() {
        return 1;
    }
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `parser` outlives the call.
    unsafe { bpf_loop(STEPS / STEPS_A_CALL, run_steps as *mut c_void, (&raw mut parser).cast(), 0) };
    if may_take_fast_path {
        // SAFETY: as above; the callback has returned.
        unsafe { (*parser.reader).cache_tail(&*parser.head) };
    }
    0
}

/// `bpf_loop`'s callback: some steps of the parser; 1 ends the loop.
unsafe extern "C" fn run_steps(_: u32, parser: *mut Parser) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let parser = unsafe { &mut *parser };
    // SAFETY: the map's value for this CPU.
    let reader = unsafe { &mut *parser.reader };
    // SAFETY: in the socket's storage, which the stream's lock keeps for this CPU.
    let head = unsafe { &mut *parser.head };
    // Before the steps, and not after each: the verifier would follow the call from each of them.
    if head.has_key() {
        if reader.shard != keys::NO_SHARD {
            pending::stage_key(reader, &head.key);
        }
        head.key_taken();
        return 0;
    }
    for _ in 0..STEPS_A_CALL {
        match reader.step(head) {
            Next::Step => {}
            Next::Done => return 1,
            Next::Load => return load_window(parser, reader),
            Next::Get => return 0,
        }
    }
    0
}

/// Copies the next window of payload; 0, or 1 when there is none.
#[inline(always)]
pub fn load_window(parser: &Parser, reader: &mut SegmentReader) -> i64 {
    let wanted = reader.wanted();
    if wanted == 0 {
        return 1;
    }
    // The verifier needs both bounds on the very register that the helper gets. `black_box` keeps the compiler from
    // checking another one; 6.1 learns no lower bound from a comparison with 0.
    let length = (core::hint::black_box(wanted - 1) & (WINDOW as u32 - 1)) + 1;
    let at = parser.payload_at.wrapping_add(reader.at);
    // SAFETY: `length` is at most the window's size.
    let failed =
        unsafe { bpf_skb_load_bytes(parser.context.cast(), at, reader.words.as_mut_ptr().cast(), length) };
    if failed != 0 {
        return 1;
    }
    reader.loaded(length);
    0
}
