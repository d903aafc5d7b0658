//! The mark of a pinned set of maps. No program touches it: the probe leaves it for the one that comes after.

use aya_ebpf::{macros::map, maps::Array};
use probe_common::pinned::Mark;

#[map]
static PINNED: Array<Mark> = Array::with_max_entries(1, 0);
