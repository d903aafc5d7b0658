//! The mark of a pinned set of maps.
//!
//! No kernel program accesses it. The probe writes it for the next probe.

use aya_ebpf::{macros::map, maps::Array};
use probe_common::pinned::Mark;

#[map]
static PINNED: Array<Mark> = Array::with_max_entries(1, 0);
