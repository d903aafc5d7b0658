//! RESP: the parts of the kernel programs that are specific to it.
//!
//! Replies are not parsed. Payload from the store answers all commands that have arrived. Not seen: which of several
//! commands a reply is for. Pushed messages look like replies.

use aya_ebpf::{
    EbpfContext, bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, macros::map, maps::PerCpuArray,
    programs::SkBuffContext,
};
use probe_common::{
    MAX_SHARDS,
    protocol::Parser as _,
    resp::{CommandSpec, FIRST_WORDS, Resp, SegmentReader, head::Head, name_at_start},
    socket::Socket,
};

use crate::{
    commands, keys, latency,
    outcomes::settle,
    packet::Packet,
    pending,
    program::{Program, global_functions},
};

/// Where ingress copies payload to, as for HTTP.
#[map]
static COMMAND_READERS: PerCpuArray<SegmentReader> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

impl Program for Resp {
    #[inline(always)]
    fn reader(shard: u32) -> Option<*mut SegmentReader> {
        COMMAND_READERS.get_ptr_mut(shard)
    }

    #[inline(always)]
    fn begins_request(context: &SkBuffContext, packet: &Packet) -> bool {
        // SAFETY: the context and an integer.
        unsafe { begins_command(context.as_ptr().cast(), packet.payload_at) != 0 }
    }

    #[inline(always)]
    fn attend(reader: &mut SegmentReader, head: &mut Head) {
        if head.has_name() {
            let spec = commands::find(head.name_hash());
            head.named(spec.unwrap_or(CommandSpec::UNKNOWN));
            return;
        }
        let discards = head.discards();
        head.set_tag(head.tag(discards));
        if reader.shard != keys::NO_SHARD {
            pending::stage_key(reader, head.key(), discards);
        }
        if head.has_key() {
            head.key_taken();
        } else {
            head.counted(&mut reader.tally);
        }
    }

    #[inline(always)]
    fn follow_responses(context: &SkBuffContext, socket: *mut Socket<Self>, shard: u32, packet: &Packet) {
        follow(context, socket, shard, packet);
    }
}

/// Treats payload from the store as the reply to all commands so far.
#[inline(always)]
fn follow(context: &SkBuffContext, storage: *mut Socket<Resp>, shard: u32, packet: &Packet) -> Option<()> {
    // SAFETY: a socket's storage is valid while the program runs. Only egress writes it, under the socket's lock.
    let (responses, stream) = unsafe { (&mut (*storage).responses, &raw mut (*storage).stream) };
    responses.send(packet.sequence, packet.payload_length)?;
    // SAFETY: a byte that only egress writes, except for the reset in `Stream`.
    unsafe { (&raw mut (*stream).answered).write_volatile(1) };
    // SAFETY: a word that ingress writes as a whole.
    let arrived = unsafe { (&raw const (*stream).arrived).read_volatile() };
    let outstanding = arrived.requests().wrapping_sub(responses.answers).cast_signed();
    if outstanding <= 0 {
        return Some(());
    }
    // SAFETY: the same storage.
    unsafe { latency::stop(context, shard, stream) };
    settle(responses, shard, outstanding as u32, arrived)
}

/// Returns 1 if the payload begins with a command of the store. A global function, which is verified once and
/// separately.
///
/// # Safety
///
/// `context` is null or the program's context.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn begins_command(context: *mut __sk_buff, payload_at: u32) -> u64 {
    if context.is_null() {
        return 0;
    }
    let mut words = [0_u64; FIRST_WORDS];
    // The shortest command, `*1\r\n$4\r\nPING\r\n`, has 14 bytes. A name of up to six bytes needs no more.
    const SHORTEST: u32 = 14;
    // SAFETY: the buffer is longer than both lengths. What cannot be read stays zeros.
    unsafe {
        let to: *mut core::ffi::c_void = words.as_mut_ptr().cast();
        if bpf_skb_load_bytes(context.cast(), payload_at, to, size_of_val(&words) as u32) != 0 {
            bpf_skb_load_bytes(context.cast(), payload_at, to, SHORTEST);
        }
    }
    u64::from(name_at_start(words).is_some_and(|name| commands::find(name).is_some()))
}

global_functions!(Resp, parse_commands, catch_up_commands);
