//! The kernel programs of the probe.
//!
//! | program | called for | work |
//! |---|---|---|
//! | `ingress` | each packet to a socket of an HTTP shard | finds the shard ([`shard`]) and passes the packet to the signals |
//! | `egress` | each packet from a socket of an HTTP shard | the same |
//! | `socket_events` | a socket that opens, closes or retransmits | [`socket_events`] |
//! | `socket_released` | a socket that a process closes | [`preexisting`] |
//!
//! The programs are attached to the root of cgroup v2, or to `CGROUP`, and see every socket there. The signals
//! ([`traffic`], [`requests`], [`latency`], [`keys`]) count in arrays. `ingress` and `egress` always return 1
//! ("pass"): the probe never changes traffic.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the target's AtomicU64 has no fetch_add; the intrinsics do work")]

mod atomic;
mod commands;
mod connections;
mod endpoint_key;
mod handshake;
mod http;
mod keys;
mod latency;
mod namespace;
mod outcomes;
mod packet;
mod parser;
mod pending;
mod pinned;
mod ports;
mod preexisting;
mod program;
mod request_counters;
mod requests;
mod resp;
mod rtt;
mod shard;
mod sock_ops;
mod socket;
mod socket_events;
mod traffic;
mod transactions;

use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock, sock_ops},
    programs::{SkBuffContext, SockContext, SockOpsContext},
};
use probe_common::{LAYOUT_MARK, http::Http, requests::Reason, resp::Resp};

use crate::{
    packet::{End, Packet, Skip},
    program::Program,
};

/// Return value of a cgroup program that lets a packet through.
const PASS: i32 = 1;

/// Called for every packet before its socket receives it.
#[cgroup_skb]
pub fn ingress(context: SkBuffContext) -> i32 {
    try_ingress::<Http>(&context);
    PASS
}

/// Called for every packet that a socket sends.
#[cgroup_skb]
pub fn egress(context: SkBuffContext) -> i32 {
    try_egress::<Http>(&context);
    PASS
}

/// `ingress` for stores that speak RESP.
#[cgroup_skb]
pub fn ingress_resp(context: SkBuffContext) -> i32 {
    try_ingress::<Resp>(&context);
    PASS
}

/// `egress` for stores that speak RESP.
#[cgroup_skb]
pub fn egress_resp(context: SkBuffContext) -> i32 {
    try_egress::<Resp>(&context);
    PASS
}

/// Called for every event of a TCP socket.
#[sock_ops]
pub fn socket_events(context: SockOpsContext) -> u32 {
    socket_events::handle(&context);
    PASS as u32
}

/// Called for every socket that its process closes.
#[cgroup_sock(sock_release)]
pub fn socket_released(context: SockContext) -> i32 {
    preexisting::released(&context);
    PASS
}

#[inline(always)]
fn try_ingress<P: Program>(context: &SkBuffContext) -> Option<()> {
    let packet = match Packet::parse(context, End::Destination) {
        Ok(packet) => packet,
        Err(skip) => return count_unreadable(context, skip, true),
    };
    let storage = socket::storage_of_packet(context);
    let shard = shard::of_packet(context, &packet, End::Destination, storage)?;
    traffic::count_received(context, shard, &packet);
    if packet.is_reset() {
        connections::count_reset(shard, false);
    }
    if packet.payload_length > 0 || packet.is_last() {
        requests::count_segment::<P>(context, shard, &packet, storage);
    }
    Some(())
}

#[inline(always)]
fn try_egress<P: Program>(context: &SkBuffContext) -> Option<()> {
    let packet = match Packet::parse(context, End::Source) {
        Ok(packet) => packet,
        Err(skip) => return count_unreadable(context, skip, false),
    };
    // Check once for a null storage. Verifiers before 6.16 lose track of a second check.
    let shard = match socket::storage_of_packet(context) {
        Some(storage) => {
            let shard = shard::of_packet(context, &packet, End::Source, Some(storage))?;
            if packet.payload_length > 0 {
                P::follow_responses(context, storage.as_ptr().cast(), shard, &packet);
            }
            requests::count_acknowledged(storage.as_ptr(), shard, &packet);
            if packet.is_reset() {
                outcomes::reset::<P>(storage.as_ptr(), shard);
            }
            shard
        }
        None => shard::of_packet(context, &packet, End::Source, None)?,
    };
    traffic::count_sent(context, shard, &packet);
    if packet.is_reset() {
        connections::count_reset(shard, true);
    }
    if packet.is_last() {
        preexisting::count_end(context, shard);
    }
    Some(())
}

/// Counts a packet whose headers could not be parsed, if its socket belongs to a shard.
#[inline(always)]
fn count_unreadable(context: &SkBuffContext, skip: Skip, is_received: bool) -> Option<()> {
    if skip == Skip::Unrelated {
        return None;
    }
    let shard = shard::of_socket(context, socket::full(socket::of_packet(context)?)?)?;
    traffic::count_unreadable(context, shard, is_received);
    if is_received {
        request_counters::add_unparsed(request_counters::counters(shard)?, Reason::Headers);
    }
    Some(())
}

/// Never reached, because nothing here panics. The verifier would refuse the endless loop.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Some helpers require a GPL-compatible license.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The probe reads it from the object file before it loads a program.
#[unsafe(link_section = "layout")]
#[unsafe(no_mangle)]
static LAYOUT: [u8; 20] = LAYOUT_MARK;
