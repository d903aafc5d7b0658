//! Sends requests to shards and other gateways by HTTP/1.1 (RFC 9112).
//!
//! A request goes from the caller's task straight to the socket, and the answer from the socket straight to the caller:
//! there is no task, channel or header map between. [`connector`] opens a [`connection`], which carries one request at
//! a time. [`head`] writes and parses heads, [`chunked`] decodes one form of body.

pub(crate) mod chunked;
pub(crate) mod connection;
pub(crate) mod connector;
pub(crate) mod head;
