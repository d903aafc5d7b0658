//! Tests the server over real sockets.
//!
//! - [`http`]: half-closed and reset connections, the `Host` header
//! - [`server`]: start, drain, panics, requests refused by the server itself
//! - [`drain`]: what a drain waits for, and what it ignores
//! - [`lean`]: reads that are served without the general HTTP server, and when they are not
//! - [`overload`]: limits of connections, bodies and answers, and slow clients
//!
//! `client` starts a server and sends bytes to it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails the test")]

mod client;
mod drain;
mod http;
mod lean;
mod overload;
mod server;
