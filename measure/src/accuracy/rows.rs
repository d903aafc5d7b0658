//! The table's rows, by what they try.

pub(crate) mod addresses;
pub(crate) mod bad_network;
pub(crate) mod bodies;
pub(crate) mod connections;
pub(crate) mod headers;
pub(crate) mod keys;
pub(crate) mod large;
pub(crate) mod older;
pub(crate) mod pipelined;
pub(crate) mod restart;
pub(crate) mod restart_pinned;
pub(crate) mod splits;

use super::case::Row;

/// All rows that share one probe, in the table's order. The restarts of a probe ([`restart`], [`restart_pinned`]) need their
/// own.
pub(crate) fn all() -> Vec<Row> {
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
        headers::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
