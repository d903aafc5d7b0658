//! HTTP/1.x: the parts of the kernel programs that are specific to it.

mod responses;

use aya_ebpf::{macros::map, maps::PerCpuArray, programs::SkBuffContext};
use probe_common::{
    MAX_SHARDS,
    http::{Http, SegmentReader, begins_request, head::Head},
    resp::Pairing,
    socket::Socket,
};

use crate::{
    keys,
    packet::Packet,
    pending,
    program::{Program, global_functions},
};

/// Ingress copies payload into it. Ingress runs in softirq and is never nested, so one per CPU is enough. There is one
/// for each shard, because the fast path compares with the shard's last request.
#[map]
static READERS: PerCpuArray<SegmentReader> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

impl Program for Http {
    type Attendant = ();

    #[inline(always)]
    fn reader(shard: u32) -> Option<*mut SegmentReader> {
        READERS.get_ptr_mut(shard)
    }

    #[inline(always)]
    fn begins_request(context: &SkBuffContext, packet: &Packet) -> bool {
        context.load::<u32>(packet.payload_at as usize).is_ok_and(|bytes| begins_request(u32::from_le(bytes)))
    }

    #[inline(always)]
    fn attend(reader: &mut SegmentReader, head: &mut Head, (): ()) {
        if reader.shard != keys::NO_SHARD {
            pending::stage_key(reader, &head.key, 0);
        }
        head.key_taken();
    }

    #[inline(always)]
    fn attendant(_: *mut Pairing) -> Option<()> {
        Some(())
    }

    #[inline(always)]
    fn may_take_fast_path(reader: &SegmentReader, head: &Head) -> bool {
        reader.may_take_fast_path(head)
    }

    #[inline(always)]
    fn try_fast_path(reader: &mut SegmentReader) -> bool {
        reader.try_fast_path()
    }

    #[inline(always)]
    fn fill_cache(reader: &mut SegmentReader, head: &Head) {
        reader.cache_tail(head);
    }

    #[inline(always)]
    fn follow_responses(context: &SkBuffContext, socket: *mut Socket, shard: u32, packet: &Packet) {
        responses::follow(context, socket, shard, packet);
    }
}

global_functions!(Http, parse_payload, catch_up);
