//! What a pinned set says of itself: its mark, and the shard of each slot.
//!
//! No kernel program accesses these maps. The probe writes them for the next probe.

use aya_ebpf::{macros::map, maps::Array};
use probe_common::{MAX_SHARDS, pinned::Mark};

#[map]
static PINNED: Array<Mark> = Array::with_max_entries(1, 0);

/// For each slot of the per-shard maps the number of its shard plus 1; 0 if it is free.
#[map]
static SLOTS: Array<u32> = Array::with_max_entries(MAX_SHARDS, 0);
