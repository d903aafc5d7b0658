//! RESP, the protocol of Redis and Valkey.
//!
//! A request is a command: a name and its arguments. The store itself reports its commands and where their keys are
//! ([`CommandSpec`]). User space writes them to the map `COMMANDS`, by [`hash_name`].

mod command;
mod counters;

pub use command::{CommandClass, CommandSpec, Effect, MAX_COMMANDS, MAX_NAME, hash_name};
pub use counters::CommandCounters;
