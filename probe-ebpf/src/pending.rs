//! Counts requests once TCP has accepted their segment.
//!
//! Ingress appends the segments of a connection while it has the connection's lock. Ingress, egress and `sock_ops` take
//! them without a lock: whoever moves the queue's head owns the segment. Minimum kernel: 5.17 (`bpf_loop`).

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_loop},
    macros::map,
    maps::{Array, PerCpuArray},
};
use probe_common::{
    key::KeyText,
    pending::{INLINE, Pending, SEGMENTS, STAGED_KEYS, Segment, StagedKey},
    protocol::Protocol,
    requests::{Reason, Requests, Tally},
    segment::SegmentReader,
    socket::Socket,
};

use crate::{atomic, keys, request_counters};

/// Keys that wait, [`STAGED_KEYS`] for each CPU. The loader makes it as large as there are CPUs.
#[map]
static STAGED: Array<StagedKey> = Array::with_max_entries(STAGED_KEYS, 0);

/// How many keys each CPU has ever staged.
#[map]
static STAGED_AT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Keeps a key of the segment that is being parsed until TCP has accepted the segment.
#[inline(always)]
pub fn stage_key<P: Protocol>(reader: &mut SegmentReader<P>, key: &KeyText) -> Option<()> {
    let next = STAGED_AT.get_ptr_mut(0)?;
    // SAFETY: the map's value for this CPU; ingress runs in softirq, where nothing else on this CPU gets at it.
    let position = unsafe { *next };
    // SAFETY: the same.
    unsafe { *next = position + 1 };
    if reader.staged == 0 {
        reader.staged_at = position;
    }
    reader.staged += 1;
    // SAFETY: the helper takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let staged = STAGED.get_ptr_mut(place(cpu, position))?;
    // SAFETY: a place of this CPU's. Who reads it compares the position.
    unsafe {
        copy_key(key, &raw mut (*staged).key);
        (&raw mut (*staged).position).write_volatile(position);
    }
    Some(())
}

/// Keeps the key that the fast path has found.
#[inline(always)]
pub fn stage_fast_key<P: Protocol>(reader: &mut SegmentReader<P>) {
    let key: *const KeyText = &raw const reader.key;
    // SAFETY: a field that staging does not change.
    stage_key(reader, unsafe { &*key });
}

/// Appends a segment that has been parsed. `key` is its only one; else so many keys are staged, from a position on.
#[inline(always)]
pub fn append(
    pending: *mut Pending,
    requests: &mut Requests,
    end: u32,
    tally: Tally,
    key: Option<&KeyText>,
    (keys_at, keys): (u64, u32),
) {
    // Parsed, not yet accepted by TCP.
    requests.arrived += u64::from(tally.get) + u64::from(tally.set);
    // SAFETY: the connection's storage, locked for this CPU; others read only.
    let waiting = unsafe { &mut *pending };
    let (cpu, count) = match key {
        Some(key) => {
            copy_key(key, &raw mut waiting.key);
            (INLINE, 1)
        }
        // SAFETY: the helper takes nothing.
        None => (unsafe { bpf_get_smp_processor_id() } as u32, keys),
    };
    waiting.append(Segment { end, tally, keys_at: keys_at as u32, keys: count, cpu, padding: 0 });
    let tail = waiting.tail;
    // An exchange, so that the segment is written before.
    // SAFETY: an aligned word of the storage.
    unsafe { atomic::exchange(&raw mut (*pending).tail, tail + 1) };
}

/// Drops all that waits: TCP has dropped it.
#[inline(always)]
pub fn drop_all(pending: *mut Pending, requests: *mut Requests) {
    let mut dropping = Dropping { pending, requests };
    // A loop of the verifier's would be followed 16 times.
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `dropping` outlives the call.
    unsafe { bpf_loop(SEGMENTS as u32, drop_oldest as *mut c_void, (&raw mut dropping).cast(), 0) };
}

/// What the callback of `bpf_loop` works with.
#[repr(C)]
struct Dropping {
    pending: *mut Pending,
    requests: *mut Requests,
}

/// `bpf_loop`'s callback: drops the oldest segment; 1 ends the loop.
unsafe extern "C" fn drop_oldest(_: u32, dropping: *mut Dropping) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let dropping = unsafe { &mut *dropping };
    let Some(number) = oldest(dropping.pending) else { return 1 };
    // SAFETY: the storage; if the segment is overwritten meanwhile, it cannot be taken.
    let dropped = data(unsafe { (*dropping.pending).segment(number).tally });
    if take(dropping.pending, number) {
        // SAFETY: a counter of the map's value for this CPU.
        unsafe { atomic::add(&raw mut (*dropping.requests).dropped, dropped) };
    }
    0
}

/// Counts every segment that TCP has accepted: those that end at or before `accepted`. A global function: verified once and
/// on its own.
///
/// # Safety
///
/// `socket` is null or points to a socket's storage: the verifier holds callers to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn count_accepted(socket: *mut Socket, shard: u32, accepted: u32) -> u64 {
    if socket.is_null() {
        return 0;
    }
    let Some(requests) = request_counters::pointer(shard) else { return 0 };
    // SAFETY: the caller's promise.
    let pending = unsafe { &raw mut (*socket).pending };
    let mut counting = Counting { pending, requests, shard, accepted };
    // A loop of the verifier's would be followed 16 times.
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `counting` outlives the call.
    unsafe { bpf_loop(SEGMENTS as u32, count_oldest as *mut c_void, (&raw mut counting).cast(), 0) };
    0
}

/// What the callback of `bpf_loop` works with.
#[repr(C)]
struct Counting {
    pending: *mut Pending,
    requests: *mut Requests,
    shard: u32,
    accepted: u32,
}

/// `bpf_loop`'s callback: counts the oldest segment; 1 ends the loop.
unsafe extern "C" fn count_oldest(_: u32, counting: *mut Counting) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let counting = unsafe { &mut *counting };
    let (pending, requests, shard) = (counting.pending, counting.requests, counting.shard);
    let Some(number) = oldest(pending) else { return 1 };
    // SAFETY: the same storage. If the segment is overwritten meanwhile, it cannot be taken.
    let segment = unsafe { (*pending).segment(number) };
    if segment.end.wrapping_sub(counting.accepted).cast_signed() > 0 {
        return 1;
    }
    let (tally, keys, cpu, at) = (segment.tally, segment.keys, segment.cpu, segment.keys_at);
    // SAFETY: an aligned word of the storage. Whoever has set it counts what there is to count.
    if cpu == INLINE && unsafe { atomic::exchange(&raw mut (*pending).key_in_use, 1) } != 0 {
        return 1;
    }
    let is_taken = take(pending, number);
    if is_taken {
        // SAFETY: counters of the map's value for this CPU. Atomic, because softirq may interrupt process context.
        unsafe {
            atomic::add(&raw mut (*requests).get, u64::from(tally.get));
            atomic::add(&raw mut (*requests).set, u64::from(tally.set));
            atomic::add(&raw mut (*requests).control, u64::from(tally.control));
        }
    }
    if cpu == INLINE {
        if is_taken {
            // SAFETY: the helper takes nothing; nobody writes the key while it is in use.
            unsafe { keys::count_read(shard, bpf_ktime_get_ns(), &(*pending).key) };
        }
        // SAFETY: an aligned word of the storage.
        unsafe { atomic::exchange(&raw mut (*pending).key_in_use, 0) };
        return i64::from(!is_taken);
    }
    if !is_taken {
        return 1;
    }
    if keys == 0 {
        return 0;
    }
    // SAFETY: the helper takes nothing.
    let mut staged = Staged { shard, cpu, at, lost: 0, now: unsafe { bpf_ktime_get_ns() } };
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `staged` outlives the call.
    unsafe { bpf_loop(keys, count_staged as *mut c_void, (&raw mut staged).cast(), 0) };
    if staged.lost > 0 {
        // SAFETY: as above.
        unsafe { request_counters::add_unparsed_shared(requests, Reason::Unconfirmed) };
    }
    0
}

/// What the callback of `bpf_loop` works with.
#[repr(C)]
struct Staged {
    now: u64,
    shard: u32,
    cpu: u32,
    at: u32,
    lost: u32,
}

/// `bpf_loop`'s callback: counts one staged key.
unsafe extern "C" fn count_staged(index: u32, staged: *mut Staged) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let staged = unsafe { &mut *staged };
    let position = staged.at.wrapping_add(index);
    let found = STAGED.get_ptr(place(staged.cpu, u64::from(position)));
    if let Some(found) = found
        // SAFETY: the map's value. A key that is overwritten meanwhile shows by its position, which is written last.
        && unsafe { (&raw const (*found).position).read_volatile() } as u32 == position
    {
        // SAFETY: the same.
        keys::count_read(staged.shard, staged.now, unsafe { &(*found).key });
    } else {
        staged.lost += 1;
    }
    0
}

/// The number of the oldest segment.
#[inline(always)]
fn oldest(pending: *mut Pending) -> Option<u64> {
    // SAFETY: the connection's storage: words that are read as a whole.
    let (head, tail) = unsafe {
        ((&raw const (*pending).head).read_volatile(), (&raw const (*pending).tail).read_volatile())
    };
    (head != tail).then_some(head)
}

/// Takes the oldest segment, if that still has this number.
#[inline(always)]
fn take(pending: *mut Pending, number: u64) -> bool {
    // SAFETY: an aligned word of the connection's storage.
    unsafe { atomic::replace(&raw mut (*pending).head, number, number + 1) }
}

#[inline(always)]
fn data(tally: Tally) -> u64 {
    u64::from(tally.get) + u64::from(tally.set)
}

#[inline(always)]
fn place(cpu: u32, position: u64) -> u32 {
    cpu.wrapping_mul(STAGED_KEYS).wrapping_add(position as u32 & (STAGED_KEYS - 1))
}

const KEY_WORDS: usize = size_of::<KeyText>() / 8;
const _: () = assert!(size_of::<KeyText>().is_multiple_of(8));

/// Copies a key word by word: an assignment would be a call with a loop over bytes.
#[inline(always)]
pub fn copy_key(from: &KeyText, to: *mut KeyText) {
    let (from, to) = (core::ptr::from_ref(from).cast::<u64>(), to.cast::<u64>());
    for at in 0..KEY_WORDS {
        // SAFETY: a word of either key.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
}
