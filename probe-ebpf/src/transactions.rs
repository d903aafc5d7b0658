//! Counts the commands that a transaction discards, by number.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use probe_common::resp::{Pairing, pairing::KEPT};

use crate::commands;

/// Counts the queued commands of a connection as discarded. `before` is the place behind its last reply. A global function:
/// verified once and on its own.
///
/// # Safety
///
/// `pairing` is null or a connection's pairing.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn discard_queued(pairing: *mut Pairing, shard: u32, before: u32) -> u64 {
    if pairing.is_null() {
        return 0;
    }
    let mut discarding = Discarding { pairing, shard, before, named: 0 };
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `discarding` outlives the call.
    unsafe { bpf_loop(KEPT as u32, discard_one as *mut c_void, (&raw mut discarding).cast(), 0) };
    // SAFETY: the caller's promise.
    let pairing = unsafe { &mut *discarding.pairing };
    let unnamed = pairing.queued().saturating_sub(discarding.named);
    if unnamed > 0 {
        commands::count_discarded(shard, 0, unnamed);
    }
    pairing.forget_queued();
    0
}

/// What the callback of `bpf_loop` works with.
#[repr(C)]
struct Discarding {
    pairing: *mut Pairing,
    shard: u32,
    before: u32,
    named: u32,
}

/// `bpf_loop`'s callback: counts the command in one slot, if it is queued.
unsafe extern "C" fn discard_one(slot: u32, discarding: *mut Discarding) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let discarding = unsafe { &mut *discarding };
    // SAFETY: the connection's pairing.
    let number = unsafe { (*discarding.pairing).queued_in(slot, discarding.before) };
    if let Some(number) = number {
        commands::count_discarded(discarding.shard, number, 1);
        discarding.named += 1;
    }
    0
}
