//! The kernel programs of the probe.
//!
//! Two programs on the root of cgroup v2, or on `CGROUP`, see every packet of every socket there: `ingress` on its way to
//! a socket, `egress` on its way from one. Both find out whether the socket is a shard's ([`shard`]), and hand the packet to the signals
//! ([`traffic`], [`requests`], [`latency`], [`keys`]), which count in arrays. Both always return 1, "pass": the probe never
//! changes traffic. A third, `socket_events`, hears of sockets that open, close or send again ([`connections`]).
//! A fourth, `socket_released`, hears of sockets that their process has closed ([`older`]).

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the target's AtomicU64 has no fetch_add; the intrinsics do work")]

mod array;
mod atomic;
mod connections;
mod handshake;
mod keys;
mod latency;
mod older;
mod packet;
mod pinned;
mod ports;
mod requests;
mod rtt;
mod shard;
mod socket;
mod traffic;

use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock, sock_ops},
    programs::{SkBuffContext, SockContext, SockOpsContext},
};
use probe_common::LAYOUT_MARK;

use crate::packet::{End, Packet};

/// What a cgroup program returns to let a packet through.
const PASS: i32 = 1;

/// Every packet before its socket takes it.
#[cgroup_skb]
pub fn ingress(context: SkBuffContext) -> i32 {
    // Saves half of the calls' cost. Twice as many steps save little more and cost the verifier three times the work.
    try_ingress::<4>(&context);
    PASS
}

/// The same for loaders without CAP_PERFMON: for them the verifier follows mispredicted branches too, and that is too
/// much with a loop inside the parser's loop, and to 6.1 with the parser inside of anything: so its steps are functions of
/// their own ([`requests::step_head`], [`requests::take_key`]).
#[cgroup_skb]
pub fn ingress_careful(context: SkBuffContext) -> i32 {
    try_ingress::<1>(&context);
    PASS
}

/// Every packet a socket sends.
#[cgroup_skb]
pub fn egress(context: SkBuffContext) -> i32 {
    try_egress(&context);
    PASS
}

/// Every change of a TCP socket.
#[sock_ops]
pub fn socket_events(context: SockOpsContext) -> u32 {
    connections::happened(&context);
    PASS as u32
}

/// Every socket that its process closes.
#[cgroup_sock(sock_release)]
pub fn socket_released(context: SockContext) -> i32 {
    older::released(&context);
    PASS
}

#[inline(always)]
fn try_ingress<const STEPS_A_CALL: u32>(context: &SkBuffContext) -> Option<()> {
    let packet = Packet::read(context, End::Destination)?;
    // The careful variant does without: verifiers before 6.16 follow it with a null that it has mispredicted to be none.
    let storage = if STEPS_A_CALL > 1 { socket::storage_of_packet(context) } else { None };
    let shard = shard::of_packet(context, &packet, End::Destination, storage)?;
    traffic::received(context, shard, &packet);
    if packet.is_reset() {
        connections::reset(shard, false);
    }
    if packet.payload_length > 0 || packet.is_last() {
        requests::received::<STEPS_A_CALL>(context, shard, &packet, storage);
    }
    Some(())
}

#[inline(always)]
fn try_egress(context: &SkBuffContext) -> Option<()> {
    let packet = Packet::read(context, End::Source)?;
    // Whether there is a storage is asked in one place: verifiers before 6.16 are led astray by a second one.
    let shard = match socket::storage_of_packet(context) {
        Some(storage) => {
            let shard = shard::of_packet(context, &packet, End::Source, Some(storage))?;
            if packet.payload_length > 0 {
                requests::answered(context, storage.as_ptr(), shard);
            }
            shard
        }
        None => shard::of_packet(context, &packet, End::Source, None)?,
    };
    traffic::sent(context, shard, &packet);
    if packet.is_reset() {
        connections::reset(shard, true);
    }
    if packet.is_last() {
        older::ended(context, shard);
    }
    Some(())
}

/// Never reached: nothing here panics, and the verifier would refuse the endless loop.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Some helpers are only for programs under a licence the GPL is compatible with.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Read by the probe from the object file before anything is loaded.
#[unsafe(link_section = "layout")]
#[unsafe(no_mangle)]
static LAYOUT: [u8; 20] = LAYOUT_MARK;
