//! The kernel programs of the probe.
//!
//! Two programs on the root of cgroup v2, or on `CGROUP`, see every packet of every socket there: `ingress` sees packets to
//! a socket, `egress` packets from one. Both find the socket's shard ([`shard`]) and pass the packet to the signals
//! ([`traffic`], [`requests`], [`latency`], [`keys`]), which count in arrays. Both always return 1, "pass": the probe
//! never changes traffic. `socket_events` is called when a socket opens, closes or retransmits ([`socket_events`]).
//! `socket_released` is called when a process closes a socket ([`preexisting`]).

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the target's AtomicU64 has no fetch_add; the intrinsics do work")]

mod atomic;
mod connections;
mod endpoint_key;
mod handshake;
mod keys;
mod latency;
mod packet;
mod parser;
mod pending;
mod pinned;
mod ports;
mod preexisting;
mod request_counters;
mod requests;
mod responses;
mod rtt;
mod shard;
mod sock_ops;
mod socket;
mod socket_events;
mod traffic;

use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock, sock_ops},
    programs::{SkBuffContext, SockContext, SockOpsContext},
};
use probe_common::{LAYOUT_MARK, requests::Reason};

use crate::packet::{End, Packet, Skip};

/// What a cgroup program returns to let a packet through.
const PASS: i32 = 1;

/// Every packet before its socket takes it.
#[cgroup_skb]
pub fn ingress(context: SkBuffContext) -> i32 {
    try_ingress(&context);
    PASS
}

/// Every packet a socket sends.
#[cgroup_skb]
pub fn egress(context: SkBuffContext) -> i32 {
    try_egress(&context);
    PASS
}

/// Every event of a TCP socket.
#[sock_ops]
pub fn socket_events(context: SockOpsContext) -> u32 {
    socket_events::handle(&context);
    PASS as u32
}

/// Every socket that its process closes.
#[cgroup_sock(sock_release)]
pub fn socket_released(context: SockContext) -> i32 {
    preexisting::released(&context);
    PASS
}

#[inline(always)]
fn try_ingress(context: &SkBuffContext) -> Option<()> {
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
        requests::count_segment(context, shard, &packet, storage);
    }
    Some(())
}

#[inline(always)]
fn try_egress(context: &SkBuffContext) -> Option<()> {
    let packet = match Packet::parse(context, End::Source) {
        Ok(packet) => packet,
        Err(skip) => return count_unreadable(context, skip, false),
    };
    // One check for a null storage: verifiers before 6.16 lose track of a second one.
    let shard = match socket::storage_of_packet(context) {
        Some(storage) => {
            let shard = shard::of_packet(context, &packet, End::Source, Some(storage))?;
            if packet.payload_length > 0 {
                responses::follow(context, storage.as_ptr(), shard, &packet);
            }
            requests::count_acknowledged(storage.as_ptr(), shard, &packet);
            if packet.is_reset() {
                responses::reset(storage.as_ptr(), shard);
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

/// Counts a packet whose headers could not be followed, if its socket is a shard's.
#[inline(always)]
fn count_unreadable(context: &SkBuffContext, skip: Skip, is_received: bool) -> Option<()> {
    if skip == Skip::Unrelated {
        return None;
    }
    let shard = shard::of_socket(socket::full(socket::of_packet(context)?)?)?;
    traffic::count_unreadable(context, shard, is_received);
    if is_received {
        request_counters::add_unparsed(request_counters::counters(shard)?, Reason::Headers);
    }
    Some(())
}

/// Never reached: nothing here panics, and the verifier would refuse the endless loop.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Some helpers require a license that is compatible with the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The probe reads it from the object file before it loads anything.
#[unsafe(link_section = "layout")]
#[unsafe(no_mangle)]
static LAYOUT: [u8; 20] = LAYOUT_MARK;
