//! Counts requests once TCP has accepted their segment.
//!
//! Ingress appends the segments of a connection while it has the connection's lock. Ingress, egress and `sock_ops`
//! remove them without a lock. The program that moves the queue's head owns the segment. Minimum kernel: 5.17
//! (`bpf_loop`).

use core::ffi::c_void;

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns, bpf_loop},
    macros::map,
    maps::{Array, PerCpuArray},
};
use probe_common::{
    key::{KEY_WORDS, KeyText, SHORT_KEY, SHORT_WORDS},
    pending::{
        Contents, Pending, SEGMENTS, SINGLE_NONE, SINGLE_TAKEN, SINGLE_WAITS, STAGED_KEYS, Segment,
        StagedKey, single_waits,
    },
    protocol::Protocol,
    requests::{Reason, Requests, Tally},
    resp::Tag,
    segment::SegmentReader,
    socket::Socket,
};

use crate::{atomic, commands, keys, request_counters};

/// Number of keys that can wait on a CPU, minus one. The loader sets it.
#[unsafe(no_mangle)]
static STAGED_MASK: Global<u32> = Global::new(STAGED_KEYS - 1);

/// Waiting keys. The loader multiplies its size by the number of CPUs.
#[map]
static STAGED: Array<StagedKey> = Array::with_max_entries(STAGED_KEYS, 0);

/// Number of keys that each CPU has staged since the start.
#[map]
static STAGED_AT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Stages a key, with its tag and the number that the tag may require, until TCP has accepted its segment. Returns its
/// position.
#[inline(always)]
pub fn stage(key: &KeyText, discards: u32) -> Option<u64> {
    let next = STAGED_AT.get_ptr_mut(0)?;
    // SAFETY: the map's value for this CPU; ingress runs in softirq, where no other program on this CPU accesses it.
    let position = unsafe { *next };
    // SAFETY: the same.
    unsafe { *next = position + 1 };
    // SAFETY: the helper takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let staged = STAGED.get_ptr_mut(place(cpu, position))?;
    // SAFETY: a slot of this CPU. Its position is invalid while it is written, and readers compare it.
    unsafe {
        (&raw mut (*staged).position).write_volatile(!position);
        let to = &raw mut (*staged).key;
        copy_short(key, to);
        if Tag::of(key.tag).discards() {
            (&raw mut (*staged).extra).write_volatile(discards);
        }
        if key.length > SHORT_KEY {
            for at in SHORT_WORDS..KEY_WORDS {
                (&raw mut (*to).words[at]).write_volatile(key.words[at]);
            }
        }
        (&raw mut (*staged).position).write_volatile(position);
    }
    Some(position)
}

/// Stages a key of the segment that is being parsed.
#[inline(always)]
pub fn stage_key<P: Protocol>(reader: &mut SegmentReader<P>, key: &KeyText, discards: u32) -> Option<()> {
    let position = stage(key, discards)?;
    if reader.staged == 0 {
        reader.staged_at = position;
    }
    reader.staged += 1;
    Some(())
}

/// Stages the key that the fast path has found.
#[inline(always)]
pub fn stage_fast_key<P: Protocol>(reader: &mut SegmentReader<P>) {
    let key: *const KeyText = &raw const reader.key;
    // SAFETY: a field that staging does not change.
    stage_key(reader, unsafe { &*key }, 0);
}

/// Stores the single segment, which has at most one short key. The caller has checked that no segment waits.
#[inline(always)]
pub fn wait_alone(
    socket: *mut Socket,
    requests: &mut Requests,
    end: u32,
    tally: Tally,
    key: Option<&KeyText>,
) {
    requests.arrived += data(tally);
    // SAFETY: the connection's storage, locked for this CPU. Others access these fields only while the segment waits.
    unsafe {
        let pending = &raw mut (*socket).pending;
        if let Some(key) = key {
            copy_short(key, &raw mut (*socket).waiting.key);
        }
        (*pending).contents = Contents::new(tally, key.is_some());
        // An exchange, so that the fields are written before.
        atomic::exchange(&raw mut (*pending).single, single_waits(end));
    }
}

/// Queues a segment with its staged keys: their number, and the position of the first.
#[inline(always)]
pub fn queue(
    socket: *mut Socket,
    requests: &mut Requests,
    end: u32,
    tally: Tally,
    (keys_at, keys): (u64, u32),
) {
    requests.arrived += data(tally);
    // SAFETY: the helper takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    // SAFETY: the connection's storage, locked for this CPU; others read only.
    unsafe {
        let tail = &raw mut (*socket).pending.tail;
        let number = *tail;
        let segment = Segment { end, tally, keys_at: keys_at as u32, keys, cpu, padding: 0 };
        (*socket).waiting.queue(number, segment);
        // An exchange, so that the segment is written before.
        atomic::exchange(tail, number + 1);
    }
}

/// Drops all waiting segments, because TCP has dropped them.
#[inline(always)]
pub fn drop_all(socket: *mut Socket, requests: *mut Requests) {
    // SAFETY: the connection's storage.
    let pending = unsafe { &raw mut (*socket).pending };
    // SAFETY: an aligned word of the storage.
    let single = unsafe { (&raw const (*pending).single).read_volatile() };
    if single as u32 == SINGLE_WAITS as u32 {
        // SAFETY: as above; if the segment is taken meanwhile, it cannot be dropped.
        let dropped = data(unsafe { (*pending).contents }.tally());
        // SAFETY: as above, and a counter of the map's value for this CPU.
        unsafe {
            if atomic::replace(&raw mut (*pending).single, single, SINGLE_NONE) {
                atomic::add(&raw mut (*requests).dropped, dropped);
            }
        }
    }
    if oldest(pending).is_none() {
        return;
    }
    let mut dropping = Dropping { socket, requests };
    // `bpf_loop`, because the verifier would follow a plain loop 16 times.
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `dropping` outlives the call.
    unsafe { bpf_loop(SEGMENTS as u32, drop_oldest as *mut c_void, (&raw mut dropping).cast(), 0) };
}

/// The argument of `bpf_loop`'s callback.
#[repr(C)]
struct Dropping {
    socket: *mut Socket,
    requests: *mut Requests,
}

/// Callback of `bpf_loop`: drops the oldest segment. Returns 1 to end the loop.
unsafe extern "C" fn drop_oldest(_: u32, dropping: *mut Dropping) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let dropping = unsafe { &mut *dropping };
    // SAFETY: the connection's storage.
    let pending = unsafe { &raw mut (*dropping.socket).pending };
    let Some(number) = oldest(pending) else { return 1 };
    // SAFETY: the storage; if the segment is overwritten meanwhile, it cannot be taken.
    let dropped = data(unsafe { (*dropping.socket).waiting.segment(number).tally });
    if take(pending, number) {
        // SAFETY: a counter of the map's value for this CPU.
        unsafe { atomic::add(&raw mut (*dropping.requests).dropped, dropped) };
    }
    0
}

/// Counts every segment that TCP has accepted: those that end at or before `accepted`. A global function,
/// which is verified once and separately.
///
/// # Safety
///
/// `socket` is null or points to a socket's storage. The verifier checks this for all callers.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn count_accepted(socket: *mut Socket, shard: u32, accepted: u32) -> u64 {
    if socket.is_null() {
        return 0;
    }
    let Some(requests) = request_counters::pointer(shard) else { return 0 };
    if !count_single(socket, requests, shard, accepted) {
        return 0;
    }
    // SAFETY: the caller's promise.
    if oldest(unsafe { &raw mut (*socket).pending }).is_none() {
        return 0;
    }
    let mut counting = Counting { socket, requests, shard, accepted };
    // `bpf_loop`, because the verifier would follow a plain loop 16 times.
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `counting` outlives the call.
    unsafe { bpf_loop(SEGMENTS as u32, count_oldest as *mut c_void, (&raw mut counting).cast(), 0) };
    0
}

/// Counts the single segment if TCP has accepted it. Returns `false` if it still waits: queued segments are newer.
#[inline(always)]
fn count_single(socket: *mut Socket, requests: *mut Requests, shard: u32, accepted: u32) -> bool {
    // SAFETY: the caller of `count_accepted` guarantees it.
    let cell = unsafe { &raw mut (*socket).pending.single };
    // SAFETY: an aligned word of the storage.
    let single = unsafe { cell.read_volatile() };
    if single as u32 != SINGLE_WAITS as u32 {
        return true;
    }
    if !is_accepted((single >> 32) as u32, accepted) {
        return false;
    }
    // SAFETY: as above.
    if unsafe { !atomic::replace(cell, single, SINGLE_TAKEN) } {
        // The program that has taken it counts it.
        return true;
    }
    // SAFETY: nobody writes these fields while the segment is taken.
    unsafe {
        let contents = (*socket).pending.contents;
        count_tally(requests, contents.tally());
        if contents.has_key() {
            keys::count_read(shard, bpf_ktime_get_coarse_ns(), &(*socket).waiting.key);
        }
        atomic::exchange(cell, SINGLE_NONE);
    }
    true
}

/// Whether TCP has accepted all bytes of a segment.
#[inline(always)]
fn is_accepted(end: u32, accepted: u32) -> bool {
    end.wrapping_sub(accepted).cast_signed() <= 0
}

/// Adds a segment's requests. Atomic, because softirq may interrupt process context.
///
/// # Safety
///
/// `requests` is the map's value for this CPU.
#[inline(always)]
unsafe fn count_tally(requests: *mut Requests, tally: Tally) {
    // SAFETY: the caller guarantees it.
    unsafe {
        if tally.get > 0 {
            atomic::add(&raw mut (*requests).get, u64::from(tally.get));
        }
        if tally.set > 0 {
            atomic::add(&raw mut (*requests).set, u64::from(tally.set));
        }
        if tally.control > 0 {
            atomic::add(&raw mut (*requests).control, u64::from(tally.control));
        }
    }
}

/// The argument of `bpf_loop`'s callback.
#[repr(C)]
struct Counting {
    socket: *mut Socket,
    requests: *mut Requests,
    shard: u32,
    accepted: u32,
}

/// Callback of `bpf_loop`: counts the oldest queued segment. Returns 1 to end the loop.
unsafe extern "C" fn count_oldest(_: u32, counting: *mut Counting) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let counting = unsafe { &mut *counting };
    let (socket, requests, shard) = (counting.socket, counting.requests, counting.shard);
    // SAFETY: the connection's storage.
    let pending = unsafe { &raw mut (*socket).pending };
    let Some(number) = oldest(pending) else { return 1 };
    // SAFETY: the same storage. If the segment is overwritten meanwhile, it cannot be taken.
    let segment = unsafe { (*socket).waiting.segment(number) };
    if !is_accepted(segment.end, counting.accepted) {
        return 1;
    }
    let (tally, keys, cpu, at) = (segment.tally, segment.keys, segment.cpu, segment.keys_at);
    if !take(pending, number) {
        return 1;
    }
    // SAFETY: the map's value for this CPU.
    unsafe { count_tally(requests, tally) };
    if keys == 0 {
        return 0;
    }
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let mut staged = Staged { shard, cpu, at, lost: 0, now };
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `staged` outlives the call.
    unsafe { bpf_loop(keys, count_staged as *mut c_void, (&raw mut staged).cast(), 0) };
    if staged.lost > 0 {
        // SAFETY: as above.
        unsafe { request_counters::add_unparsed_shared(requests, Reason::Unconfirmed) };
    }
    0
}

/// The argument of `bpf_loop`'s callback.
#[repr(C)]
struct Staged {
    now: u64,
    shard: u32,
    cpu: u32,
    at: u32,
    lost: u32,
}

/// Callback of `bpf_loop`: counts one staged key.
unsafe extern "C" fn count_staged(index: u32, staged: *mut Staged) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let staged = unsafe { &mut *staged };
    let position = staged.at.wrapping_add(index);
    let found = STAGED.get_ptr(place(staged.cpu, u64::from(position)));
    if let Some(found) = found
        // SAFETY: the map's value. If the key is overwritten meanwhile, its position differs.
        && unsafe { (&raw const (*found).position).read_volatile() } as u32 == position
    {
        // SAFETY: the same.
        let (key, extra) = unsafe { (&(*found).key, &raw const (*found).extra) };
        let tag = Tag::of(key.tag);
        if tag.has_key() {
            keys::count_read(staged.shard, staged.now, key);
        }
        if let Some(number) = tag.number() {
            // SAFETY: the same.
            let discards = if tag.discards() { unsafe { extra.read_volatile() } } else { 0 };
            commands::count(staged.shard, number, discards);
        }
    } else {
        staged.lost += 1;
    }
    0
}

/// The number of the oldest queued segment.
#[inline(always)]
fn oldest(pending: *mut Pending) -> Option<u64> {
    // SAFETY: the connection's storage: words that are read as a whole.
    let (head, tail) = unsafe {
        ((&raw const (*pending).head).read_volatile(), (&raw const (*pending).tail).read_volatile())
    };
    (head != tail).then_some(head)
}

/// Takes the oldest queued segment, if it still has this number.
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
    let mask = STAGED_MASK.load();
    cpu.wrapping_mul(mask + 1).wrapping_add(position as u32 & mask)
}

/// Copies hash, length, tag and the first words of a key, one by one: an assignment would be a call with a loop over
/// bytes.
///
/// # Safety
///
/// `to` is valid.
#[inline(always)]
unsafe fn copy_short(from: &KeyText, to: *mut KeyText) {
    // SAFETY: the caller guarantees it.
    unsafe {
        (&raw mut (*to).hash).write_volatile(from.hash);
        (&raw mut (*to).length).write_volatile(from.length);
        (&raw mut (*to).tag).write_volatile(from.tag);
        for at in 0..SHORT_WORDS {
            (&raw mut (*to).words[at]).write_volatile(from.words[at]);
        }
    }
}

/// Words of a [`KeyText`].
const TEXT_WORDS: usize = size_of::<KeyText>() / 8;
const _: () = assert!(size_of::<KeyText>().is_multiple_of(8));

/// Copies a key in the same way.
#[inline(always)]
pub fn copy_key(from: &KeyText, to: *mut KeyText) {
    let (from, to) = (core::ptr::from_ref(from).cast::<u64>(), to.cast::<u64>());
    for at in 0..TEXT_WORDS {
        // SAFETY: a word of either key.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
}
