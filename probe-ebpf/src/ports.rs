//! Which ports a shard may have: most packets of a machine are nobody's, and this says so at once.

use aya_ebpf::{macros::map, maps::Array};
use probe_common::ports::{WORDS, bit, word};

use crate::array;

/// A bit for each port. User space sets those of [`SHARDS`](crate::shard) before it puts a shard there.
#[map]
static PORTS: Array<u64> = Array::with_max_entries(WORDS, 0);

/// Whether an endpoint with this port may be a shard's; else it is none's.
#[inline(always)]
pub fn may_be_shard(port: u16) -> bool {
    // SAFETY: a word that user space replaces as a whole.
    array::value(&PORTS, word(port)).is_some_and(|ports| unsafe { *ports } & bit(port) != 0)
}
