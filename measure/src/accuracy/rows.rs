//! The table's rows, by what they try.

pub mod addresses;
pub mod bad_network;
pub mod bodies;
pub mod connections;
pub mod keys;
pub mod large;
pub mod older;
pub mod pipelined;
pub mod restart;
pub mod restart_pinned;
pub mod splits;

use super::case::Row;

/// All rows that share one probe, in the table's order. The restarts of a probe ([`restart`],
/// [`restart_pinned`]) need their own.
#[must_use]
pub fn all() -> Vec<Row> {
    [
        connections::rows(),
        bodies::rows(),
        pipelined::rows(),
        splits::rows(),
        bad_network::rows(),
        large::rows(),
        addresses::rows(),
        keys::rows(),
        older::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
