//! RESP: the parts of the kernel programs that are specific to it.
//!
//! Commands are parsed at ingress, and each one is kept for its reply ([`replies`]).

mod families;
mod replies;

use aya_ebpf::{
    EbpfContext, bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, macros::map, maps::PerCpuArray,
    programs::SkBuffContext,
};
use probe_common::{
    MAX_SHARDS,
    protocol::Parser as _,
    resp::{CommandSpec, FIRST_WORDS, Pairing, Resp, SegmentReader, head::Head, name_at_start},
    socket::Socket,
};

use crate::{
    commands, keys,
    packet::Packet,
    pending,
    program::{Program, global_functions},
};

/// Where ingress copies payload to, as for HTTP.
#[map]
static COMMAND_READERS: PerCpuArray<SegmentReader> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

impl Program for Resp {
    type Attendant = *mut Pairing;

    const TIMES_OLDEST: bool = false;

    #[inline(always)]
    fn reader(shard: u32) -> Option<*mut SegmentReader> {
        COMMAND_READERS.get_ptr_mut(shard)
    }

    #[inline(always)]
    fn begins_request(context: &SkBuffContext, packet: &Packet) -> bool {
        // SAFETY: the context and an integer.
        unsafe { begins_command(context.as_ptr().cast(), packet.payload_at, packet.payload_length) != 0 }
    }

    #[inline(always)]
    fn attend(reader: &mut SegmentReader, head: &mut Head, pairing: *mut Pairing) {
        if head.has_name() {
            let spec = commands::find(head.name_hash());
            head.named(spec.unwrap_or(CommandSpec::UNKNOWN));
            return;
        }
        // SAFETY: the connection's pairing. The connection is locked for this CPU.
        unsafe { (*pairing).check_decision(head) };
        let discards = head.discards();
        head.set_tag(head.tag(discards));
        if reader.shard != keys::NO_SHARD {
            pending::stage_key(reader, head.key(), discards);
        }
        if head.has_key() {
            head.key_taken();
        } else {
            // SAFETY: the connection's pairing. The connection is locked for this CPU.
            let untimed = unsafe { (*pairing).take(head, reader.came_at) };
            if let Some(why) = untimed {
                commands::count_untimed(reader.shard, why, 1);
            }
            head.counted(&mut reader.tally);
        }
    }

    #[inline(always)]
    fn attendant(pairing: *mut Pairing) -> Option<*mut Pairing> {
        if pairing.is_null() { None } else { Some(pairing) }
    }

    #[inline(always)]
    fn begin_segment(pairing: *mut Pairing, arrived: u32) {
        // SAFETY: the connection's pairing. The connection is locked for this CPU.
        unsafe { (*pairing).begin_segment(arrived) };
    }

    #[inline(always)]
    fn join(socket: *mut Socket<Self>) {
        // SAFETY: a socket's storage. Egress has not looked at it.
        unsafe { (*socket).pairing.join() };
    }

    #[inline(always)]
    fn lose_requests(socket: *mut Socket<Self>) {
        // SAFETY: a socket's storage.
        unsafe { (*socket).pairing.lose_commands() };
    }

    #[inline(always)]
    fn pairs_answers(socket: *mut Socket<Self>) -> bool {
        // SAFETY: a socket's storage.
        unsafe { !(*socket).pairing.has_ended() }
    }

    #[inline(always)]
    fn follow_responses(context: &SkBuffContext, socket: *mut Socket<Self>, shard: u32, packet: &Packet) {
        replies::follow(context, socket, shard, packet);
    }
}

/// Bytes of payload that [`begins_command`] reads: a power of two with [`FIRST_WORDS`].
const FIRST_BYTES: u32 = (FIRST_WORDS * 8).next_power_of_two() as u32;

/// Returns 1 if the payload begins with a command of the store. A global function, which is verified once and
/// separately.
///
/// # Safety
///
/// `context` is null or the program's context.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn begins_command(context: *mut __sk_buff, payload_at: u32, length: u32) -> u64 {
    if context.is_null() {
        return 0;
    }
    let mut bytes = [0_u64; FIRST_BYTES as usize / 8];
    // The verifier needs both bounds on the very register that the helper gets, as in `load_window`.
    let wanted = if length < FIRST_BYTES { length } else { FIRST_BYTES };
    let wanted = (core::hint::black_box(wanted.wrapping_sub(1)) & (FIRST_BYTES - 1)) + 1;
    // SAFETY: `wanted` is at most the buffer's length. What cannot be read stays zeros.
    unsafe { bpf_skb_load_bytes(context.cast(), payload_at, bytes.as_mut_ptr().cast(), wanted) };
    let Some(words) = bytes.first_chunk::<FIRST_WORDS>() else { return 0 };
    u64::from(name_at_start(*words).is_some_and(|name| commands::find(name).is_some()))
}

global_functions!(Resp, parse_commands, catch_up_commands, pairing);
