//! A port bitmap that rejects unrelated packets first.

use aya_ebpf::{macros::map, maps::Array};
use probe_common::ports::{WORDS, bit, word};

/// One bit for each port. User space sets a shard's bits before it adds the shard to [`SHARDS`](crate::shard).
#[map]
static PORTS: Array<u64> = Array::with_max_entries(WORDS, 0);

/// Whether an endpoint with this port may belong to a shard.
#[inline(always)]
pub fn may_be_shard(port: u16) -> bool {
    // SAFETY: a word that user space replaces as a whole.
    PORTS.get_ptr(word(port)).is_some_and(|ports| unsafe { *ports } & bit(port) != 0)
}
