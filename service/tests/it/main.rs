//! The server over real sockets. Contents:
//!
//! - [`http`]: half-closed and reset connections, the `Host` header
//! - [`drain`]: what a drain waits for, and what it does not wait for
//!
//! `client` starts a server and speaks to it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails the test")]

mod client;
mod drain;
mod http;
