//! Runs the request parser over one segment: the fast path, else `bpf_loop` over the parser's steps.
//!
//! Minimum kernel: 5.17 (`bpf_loop`).

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::__sk_buff,
    helpers::generated::{bpf_ktime_get_ns, bpf_loop, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use probe_common::{
    protocol::{Parser as _, Protocol},
    requests::{Reason, Tally},
    resp::Pairing,
    segment::{Next, SegmentReader, WINDOW},
    stream::Stream,
};

use crate::{latency, packet::Packet, program::Program};

/// Largest number of parser steps for one segment: one for each byte of the longest segment. No head needs more.
pub const STEPS: u32 = 1 << 17;

/// Parser steps of one call of `bpf_loop`'s callback. Four steps halve the cost of the calls. Eight save little more,
/// and the verifier needs three times the work.
pub const STEPS_A_CALL: u32 = 4;

/// The result of parsing a segment.
pub struct Parsed<P: Protocol> {
    pub tally: Tally,
    pub outcome: Result<(), Reason>,
    /// Its keys are staged there. After the fast path, its only key is there instead.
    pub reader: &'static mut SegmentReader<P>,
    pub took_fast_path: bool,
}

/// Parses a segment to `shard` that has been admitted, from its offset `skip` on. Stages the keys of reads, unless
/// `keys_of` is [`NO_SHARD`](crate::keys::NO_SHARD).
#[inline(always)]
pub fn parse_segment<P: Program>(
    context: &SkBuffContext,
    shard: u32,
    keys_of: u32,
    packet: &Packet,
    skip: u32,
    stream: &mut Stream<P>,
    pairing: *mut Pairing,
) -> Option<Parsed<P>> {
    // SAFETY: the map's value for this CPU.
    let reader = unsafe { &mut *P::reader(shard)? };
    reader.begin(skip, packet.payload_length);
    reader.shard = keys_of;
    // SAFETY: the helper takes nothing.
    reader.came_at = unsafe { bpf_ktime_get_ns() };
    P::begin_segment(pairing, stream.arrived.requests());
    // SAFETY: the context, the map's value for this CPU, and a connection that is locked for this CPU or its own.
    let took_fast_path = unsafe {
        let head = &raw mut stream.head;
        P::parse_payload(context.as_ptr().cast(), reader, head, packet.payload_at, pairing) != 0
    };
    if P::TIMES_OLDEST && stream.is_timed(reader) {
        latency::start(stream, reader.came_at);
    }
    let outcome = match stream.finish(reader, packet.sequence.wrapping_add(packet.payload_length)) {
        Some(reason) => Err(reason),
        None => Ok(()),
    };
    Some(Parsed { tally: reader.tally, outcome, reader, took_fast_path })
}

/// The argument of `bpf_loop`'s callback.
#[repr(C)]
pub struct Parser<P: Protocol, H, A = ()> {
    pub context: *mut __sk_buff,
    pub reader: *mut SegmentReader<P>,
    pub head: *mut H,
    pub payload_at: u32,
    /// What the driver needs besides.
    pub attendant: A,
}

/// Takes the fast path if the segment allows it, else runs the parser's steps. Returns 1 if it took it. Called
/// through the protocol's global function.
///
/// # Safety
///
/// Each pointer is null or points to a value of its type. The verifier checks this for all callers.
#[inline(always)]
pub unsafe fn parse_payload<P: Program>(
    context: *mut __sk_buff,
    reader: *mut SegmentReader<P>,
    head: *mut P::Head,
    payload_at: u32,
    pairing: *mut Pairing,
) -> u64 {
    if reader.is_null() || head.is_null() {
        return 0;
    }
    let Some(attendant) = P::attendant(pairing) else { return 0 };
    let mut parser = Parser::<P, P::Head, P::Attendant> { context, reader, head, payload_at, attendant };
    // SAFETY: the caller's promise.
    let (reader, head) = unsafe { (&mut *reader, &mut *head) };
    let may_take_fast_path = P::may_take_fast_path(reader, head);
    if may_take_fast_path && load_window(&parser, reader) == 0 && P::try_fast_path(reader) {
        return 1;
    }
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `parser` outlives the call.
    unsafe { bpf_loop(STEPS / STEPS_A_CALL, run_steps::<P> as *mut c_void, (&raw mut parser).cast(), 0) };
    if may_take_fast_path {
        // SAFETY: as above; the callback has returned.
        unsafe { P::fill_cache(&mut *parser.reader, &*parser.head) };
    }
    0
}

/// Callback of `bpf_loop`: some steps of the parser. Returns 1 to end the loop.
unsafe extern "C" fn run_steps<P: Program>(_: u32, parser: *mut Parser<P, P::Head, P::Attendant>) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let parser = unsafe { &mut *parser };
    // SAFETY: the map's value for this CPU.
    let reader = unsafe { &mut *parser.reader };
    // SAFETY: in the socket's storage, which the stream's lock keeps for this CPU.
    let head = unsafe { &mut *parser.head };
    // Before the steps, because the verifier would follow a call after each of them.
    if head.needs_driver() {
        P::attend(reader, head, parser.attendant);
        return 0;
    }
    for _ in 0..STEPS_A_CALL {
        match reader.step(head) {
            Next::Step => {}
            Next::Done => return 1,
            Next::Load => return load_window(parser, reader),
            Next::Driver => return 0,
        }
    }
    0
}

/// Copies the next window of payload. Returns 1 if there is none, else 0.
#[inline(always)]
pub fn load_window<P: Protocol, H, A>(parser: &Parser<P, H, A>, reader: &mut SegmentReader<P>) -> i64 {
    let wanted = reader.wanted();
    if wanted == 0 {
        return 1;
    }
    // The verifier needs both bounds on the register that the helper gets. `black_box` keeps the compiler from
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
