//! The accuracy suite: the real probe's counts against a truth that the suite knows by itself.
//!
//! Each row has an exact server of its own ([`server`]), which stands in for a shard and counts heads and bytes with a
//! reader written for this purpose ([`heads`]), and raw clients ([`client`]), which know what they have sent. One probe
//! process watches all servers ([`probe`]); what it says of a row's server is compared with the truth by the row's
//! rule ([`rule`]), and the reads by key too ([`keys`]). Rows are in [`rows`], the run in [`suite`], its presentation in [`report`].

pub(crate) mod bpffs;
pub mod case;
pub(crate) mod client;
pub(crate) mod heads;
pub(crate) mod keys;
pub mod namespace;
pub(crate) mod pinned_thread;
pub mod probe;
pub mod relay;
pub mod report;
pub(crate) mod rows;
pub(crate) mod rule;
pub(crate) mod segment;
pub(crate) mod server;
pub(crate) mod socket_option;
pub mod suite;
pub mod tcp_info;
