//! The accuracy suite: compares the real probe's counts with independent counts.
//!
//! Each row has its own exact server ([`server`]), which takes the place of a shard. The server counts heads and bytes
//! with a parser written for this purpose ([`heads`]). Raw clients ([`client`]) record the requests that they send.
//! One probe process watches all servers ([`probe`]). Each row's rule ([`rule`]) compares the probe's counts with the
//! truth, and [`keys`] compares the reads by key. [`rows`] has the rows, [`suite`] the run, and [`report`] its
//! presentation.

pub(crate) mod bpffs;
pub mod case;
pub(crate) mod client;
pub(crate) mod heads;
pub(crate) mod keys;
pub mod namespace;
pub(crate) mod pinned_thread;
pub mod probe;
pub(crate) mod raw_client;
pub mod relay;
pub mod report;
pub(crate) mod rows;
pub(crate) mod rule;
pub(crate) mod segment;
pub(crate) mod server;
pub(crate) mod socket_option;
pub mod suite;
pub mod tcp_info;
