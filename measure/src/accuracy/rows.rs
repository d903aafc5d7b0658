//! The table's rows, by what they try.

pub(crate) mod addresses;
pub(crate) mod answers;
pub(crate) mod bad_network;
pub(crate) mod bodies;
pub(crate) mod connections;
pub(crate) mod contended;
pub(crate) mod dropped;
pub(crate) mod forged;
pub(crate) mod headers;
pub(crate) mod keys;
pub(crate) mod large;
pub(crate) mod older;
pub(crate) mod pipelined;
pub(crate) mod restart;
pub(crate) mod restart_pinned;
pub(crate) mod splits;

use super::case::{Row, Size};

/// All rows that share a probe, in the table's order. The restarts of a probe ([`restart`], [`restart_pinned`]) and
/// [`forged`] need their own.
pub(crate) fn all(size: Size) -> Vec<Row> {
    let storm = if size == Size::Full { contended::storm_rows() } else { Vec::new() };
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
        dropped::rows(),
        answers::rows(),
        contended::rows(),
        storm,
    ]
    .into_iter()
    .flatten()
    .collect()
}
