//! Ways to count keys in the kernel, side by side: an object of its own for `cargo xtask bench keys`, no part of the probe.
//!
//! A packet is a list of keys, each a number of four bytes. Every program reads them all and counts each its own way;
//! `count_nothing` tells what the reading costs. The first way is the probe's own code.

#![no_std]
#![no_main]

#[path = "../array.rs"]
mod array;
mod heavy_keeper;
#[expect(dead_code, reason = "the parser's half of the module is not needed here")]
#[path = "../keys.rs"]
mod keys;
mod lru;

use core::hint::black_box;

use aya_ebpf::{helpers::generated::bpf_ktime_get_coarse_ns, macros::cgroup_skb, programs::SkBuffContext};
use probe_common::key::KeyText;

/// Keys in a packet, at most. With its headers the kernel's test packet is no longer than a page.
const KEYS_MAX: usize = 800;

/// What a cgroup program returns to let a packet through.
const PASS: i32 = 1;

/// Reads the keys and counts none.
#[cgroup_skb]
pub fn count_nothing(context: SkBuffContext) -> i32 {
    each(&context, |key| {
        // SAFETY: a reference is a pointer that is not null.
        unsafe { pass_by(key) };
    })
}

/// Sets of eight, as the probe counts.
#[cgroup_skb]
pub fn count_in_sets(context: SkBuffContext) -> i32 {
    // SAFETY: the helper takes nothing.
    each(&context, |key| keys::read(0, unsafe { bpf_ktime_get_coarse_ns() }, key))
}

/// The kernel's own map that forgets what was not used lately.
#[cgroup_skb]
pub fn count_in_lru(context: SkBuffContext) -> i32 {
    each(&context, lru::read)
}

/// Counts that decay, and a table of the keys with the largest.
#[cgroup_skb]
pub fn count_heavy(context: SkBuffContext) -> i32 {
    each(&context, heavy_keeper::read)
}

#[inline(always)]
fn each(context: &SkBuffContext, count: impl Fn(&KeyText)) -> i32 {
    let mut at = 0;
    while at < KEYS_MAX {
        let Ok(number) = context.load::<u32>(at * size_of::<u32>()) else { break };
        let mut key = KeyText::default();
        key.append(number as u64, 8);
        key.end();
        count(&key);
        at += 1;
    }
    PASS
}

/// A call like the others', of a function that does nothing.
///
/// # Safety
///
/// `key` is null or points to a key.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn pass_by(key: *const KeyText) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { key.as_ref() }.map_or(0, |key| black_box(key.hash))
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
