//! Signal `commands`: RESP commands by number.
//!
//! Unit: commands that TCP has accepted. Number 0 is every command that the store does not list.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use probe_common::{
    MAX_SHARDS,
    resp::{CommandCounters, CommandSpec, MAX_COMMANDS, Untimed},
};

use crate::atomic;

/// The store's description of each command, by the hash of its name. User space writes it.
#[map]
static COMMANDS: HashMap<u64, u64> = HashMap::with_max_entries(2 * MAX_COMMANDS as u32, 0);

#[map]
static COMMAND_COUNTS: PerCpuArray<CommandCounters> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Returns the store's description of a command.
#[inline(always)]
pub fn find(name: u64) -> Option<CommandSpec> {
    // SAFETY: user space replaces a value as a whole.
    COMMANDS.get_ptr(name).map(|packed| CommandSpec::unpack(unsafe { *packed }))
}

/// Counts a command, and queued commands that it discards.
#[inline(always)]
pub fn count(shard: u32, number: u16, discards: u32) -> Option<()> {
    let counters = COMMAND_COUNTS.get_ptr_mut(shard)?;
    // SAFETY: counters of the map's value for this CPU.
    unsafe {
        atomic::add((&raw mut (*counters).by_number).cast::<u64>().add(place(number)), 1);
        if discards > 0 {
            atomic::add((&raw mut (*counters).discarded).cast::<u64>(), u64::from(discards));
        }
    }
    Some(())
}

/// Counts discarded commands with a number.
#[inline(always)]
pub fn count_discarded(shard: u32, number: u16, count: u32) -> Option<()> {
    let counters = COMMAND_COUNTS.get_ptr_mut(shard)?;
    // SAFETY: a counter of the map's value for this CPU.
    unsafe {
        let first = (&raw mut (*counters).discarded).cast::<u64>();
        atomic::add(first.add(place(number)), u64::from(count));
    }
    Some(())
}

/// Counts commands whose latency is not measured.
#[inline(always)]
pub fn count_untimed(shard: u32, why: Untimed, count: u32) -> Option<()> {
    let counters = COMMAND_COUNTS.get_ptr_mut(shard)?;
    // SAFETY: the map's value for this CPU.
    let untimed = unsafe { &mut (*counters).untimed };
    // As in `place`.
    let counter = untimed.get_mut(core::hint::black_box(why as usize))?;
    // SAFETY: a counter of the map's value for this CPU.
    unsafe { atomic::add(counter, u64::from(count)) };
    Some(())
}

/// Where a command's counter is. Without `black_box` the compiler infers the bound and removes the mask that the verifier
/// needs.
#[inline(always)]
fn place(number: u16) -> usize {
    core::hint::black_box(number as usize) & (MAX_COMMANDS - 1)
}

const _: () = assert!(MAX_COMMANDS.is_power_of_two());
